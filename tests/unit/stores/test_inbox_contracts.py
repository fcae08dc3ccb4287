"""Our inboxes keep the public contract."""

from pathlib import Path

import pytest

from airweave_webhooks.stores import SQLiteStore
from airweave_webhooks.testing.contracts import InboxContract


class TestSQLiteInbox(InboxContract):
    """`sqlite:///path`."""

    @pytest.fixture(autouse=True)
    def path(self, tmp_path: Path) -> None:
        self.file = tmp_path / "store.db"

    def make_store(self) -> SQLiteStore:
        return SQLiteStore(self.file)
