"""Our stores keep the public contract."""

from pathlib import Path

import pytest

from airweave_webhooks.stores import MemoryStore, SQLiteStore
from airweave_webhooks.testing.contracts import DurableStoreContract, StoreContract


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
