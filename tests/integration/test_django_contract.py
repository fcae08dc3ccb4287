"""The Django store keeps the public contract, and does what the model does, on each database."""

import asyncio
import os
import shutil
from contextlib import ExitStack
from pathlib import Path

import pytest
from django.db import connections
from hypothesis import settings

from airweave_webhooks.integrations.django import DjangoStore
from airweave_webhooks.stores.inbox import InboxStore
from airweave_webhooks.testing.contracts import DurableStoreContract, InboxContract, SharedStoreContract, a_delivery
from airweave_webhooks.testing.contracts.workers import MEGABYTE
from airweave_webhooks.testing.model import QUICK, prove
from django_databases import empty, known, sqlite_settings


class TestOnSQLite(InboxContract, DurableStoreContract):
    """A file."""

    @pytest.fixture(autouse=True)
    def place(self, django_sqlite: str) -> None:
        self.alias = django_sqlite

    def make_store(self) -> DjangoStore:
        return DjangoStore(self.alias)


class TestOnPostgreSQL(InboxContract, SharedStoreContract):
    """A server, whose clock counts."""

    @pytest.fixture(autouse=True)
    def place(self, django_postgres: str) -> None:
        self.alias = django_postgres

    def make_store(self) -> DjangoStore:
        return DjangoStore(self.alias)


class TestOnMariaDB(InboxContract, SharedStoreContract):
    """A server that would rather compare texts without their case."""

    @pytest.fixture(autouse=True)
    def place(self, django_mariadb: str) -> None:
        self.alias = django_mariadb

    def make_store(self) -> DjangoStore:
        return DjangoStore(self.alias)

    async def test_the_disk_fills(self, store: InboxStore) -> None:
        """As far as the server's statistics have noticed."""
        await asyncio.to_thread(self.take_statistics)
        before = (await store.backlog("default")).disk
        await self.put(store, a_delivery(body=os.urandom(MEGABYTE)))
        await asyncio.to_thread(self.take_statistics)
        assert before + MEGABYTE <= (await store.backlog("default")).disk < 100 * MEGABYTE

    def take_statistics(self) -> None:
        with connections[self.alias].cursor() as cursor:
            cursor.execute("OPTIMIZE TABLE airweave_webhooks_delivery")  # what other tests have left, too
            cursor.fetchall()
        connections[self.alias].close()


@pytest.mark.timeout(1800)
def test_it_is_what_the_model_says_on_sqlite(tmp_path: Path, migrated_file: Path, how: settings) -> None:
    """Whatever the order of the steps."""
    with ExitStack() as files:

        def make_store(name: str) -> DjangoStore:
            if name not in connections.settings:
                files.enter_context(known(name, sqlite_settings(shutil.copy(migrated_file, tmp_path / name))))
            return DjangoStore(name)

        prove(make_store, how)


@pytest.mark.timeout(1800)
@pytest.mark.parametrize("server", ["postgres", "mariadb"])
def test_it_is_what_the_model_says(request: pytest.FixtureRequest, server: str, how: settings) -> None:
    """Likewise on servers, which take longer for each step."""
    if how is QUICK:
        how = settings(how, max_examples=6)
    alias: str = request.getfixturevalue(f"django_{server}")
    names: set[str] = set()

    def make_store(name: str) -> DjangoStore:
        if name not in names:
            names.add(name)
            empty(alias)
        return DjangoStore(alias)

    prove(make_store, how)
