"""Our stores keep the public contract, and the contract can tell whose clock a store goes by."""

import time
from pathlib import Path

import pytest

from airweave_webhooks.stores import MemoryStore, SQLiteStore
from airweave_webhooks.testing.contracts import DurableStoreContract, SharedStoreContract, StoreContract, a_claim
from conftest import Clock


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


class TestSQLiteStore(DurableStoreContract):
    """`sqlite:///path`."""

    @pytest.fixture(autouse=True)
    def path(self, tmp_path: Path) -> None:
        self.file = tmp_path / "store.db"

    def make_store(self) -> SQLiteStore:
        return SQLiteStore(self.file)


class TestSQLiteStoreWithAClockOfItsOwn(SharedStoreContract):
    """A stand-in for a server: this function is not the one that a machine's programs ask for the time."""

    @pytest.fixture(autouse=True)
    def path(self, tmp_path: Path) -> None:
        self.file = tmp_path / "store.db"

    def make_store(self) -> SQLiteStore:
        return SQLiteStore(self.file, clock=lambda: time.clock_gettime(time.CLOCK_REALTIME))
