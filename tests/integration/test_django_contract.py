"""The Django store keeps the public contract, on each database."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from airweave_webhooks.integrations.django import DjangoStore
from airweave_webhooks.testing.contracts import DurableStoreContract, InboxContract
from django_databases import add_database, forget_database, migrate


class TestOnSQLite(InboxContract, DurableStoreContract):
    """A file."""

    @pytest.fixture(autouse=True)
    def database(self, tmp_path: Path) -> Iterator[None]:
        add_database("contract", ENGINE="django.db.backends.sqlite3", NAME=str(tmp_path / "django.sqlite"))
        migrate("contract")
        yield
        forget_database("contract")

    def make_store(self) -> DjangoStore:
        return DjangoStore("contract")
