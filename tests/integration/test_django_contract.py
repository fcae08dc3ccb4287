"""The Django store keeps the public contract, on each database."""

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from django_databases import add_database, forget_database, migrate

from airweave_webhooks.integrations.django import DjangoStore
from airweave_webhooks.testing.contracts import InboxContract, DurableStoreContract


@pytest.fixture(scope="session")
def empty_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A file with tables: to make them takes longer than most tests do."""
    file = tmp_path_factory.mktemp("django") / "django.sqlite"
    add_database("empty", ENGINE="django.db.backends.sqlite3", NAME=str(file))
    migrate("empty")
    forget_database("empty")
    return file


class TestOnSQLite(InboxContract, DurableStoreContract):
    """A file."""

    @pytest.fixture(autouse=True)
    def database(self, tmp_path: Path, empty_file: Path) -> Iterator[None]:
        file = shutil.copy(empty_file, tmp_path)
        add_database("contract", ENGINE="django.db.backends.sqlite3", NAME=file)
        yield
        forget_database("contract")

    def make_store(self) -> DjangoStore:
        return DjangoStore("contract")
