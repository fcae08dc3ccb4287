"""Our stores keep the public contract, and the contract can tell whose clock a store goes by."""

import time
from pathlib import Path

import pytest

from airweave_webhooks.stores import MemoryStore, SQLiteStore
from airweave_webhooks.testing import Clock
from airweave_webhooks.testing.contracts import InboxContract, SharedStoreContract, StoreContract, a_claim


class TestMemoryStore(StoreContract):
    """`memory:`."""

    def make_store(self) -> MemoryStore:
        return MemoryStore()

    async def test_done_for_more_than(self, clock: Clock) -> None:
        """Exactly as long is not more: the other stores say so, too."""
        store = MemoryStore(clock=clock)
        await self.settled(store, a_claim())
        clock.advance(10)
        assert await store.purge(done_for=10, abandoned_for=10, most=1) == 0
        clock.advance(0.001)
        assert await store.purge(done_for=10, abandoned_for=10, most=1) == 1


class TestSQLiteStore(InboxContract, SharedStoreContract):
    """`sqlite:///path`, with a clock of its own, as a server has: not the function that the machine's programs ask."""

    @pytest.fixture(autouse=True)
    def path(self, tmp_path: Path) -> None:
        self.file = tmp_path / "store.db"

    def make_store(self) -> SQLiteStore:
        return SQLiteStore(self.file, clock=lambda: time.clock_gettime(time.CLOCK_REALTIME))
