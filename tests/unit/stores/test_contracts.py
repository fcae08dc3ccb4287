"""Our stores keep the public contract, and the contract can tell whose clock a store goes by."""

import time
from pathlib import Path

import pytest

from airweave_webhooks.stores import MemoryStore, SQLiteStore
from airweave_webhooks.testing.contracts import DurableStoreContract, SharedStoreContract, StoreContract


class TestMemoryStore(StoreContract):
    """`memory:`."""

    def make_store(self) -> MemoryStore:
        return MemoryStore()


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
