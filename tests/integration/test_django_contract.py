"""The Django store keeps the public contract, on each database."""

import asyncio
import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from django.db import connections

from airweave_webhooks.integrations.django import DjangoStore
from airweave_webhooks.stores.inbox import InboxStore
from airweave_webhooks.testing.contracts import DurableStoreContract, InboxContract, SharedStoreContract, a_delivery
from airweave_webhooks.testing.contracts.workers import MEGABYTE
from django_databases import known, mariadb_database, migrate, postgres_database, sqlite_settings


@pytest.fixture(scope="session")
def empty_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A file with tables: to make them takes longer than most tests do."""
    file = tmp_path_factory.mktemp("django") / "django.sqlite"
    with known("empty", sqlite_settings(str(file))):
        migrate("empty")
    return file


@pytest.fixture(scope="session")
def postgres_alias(postgres_url: str) -> Iterator[str]:
    """A database with tables, for one test after the other."""
    with postgres_database(postgres_url) as settings, known("postgres", settings):
        migrate("postgres")
        yield "postgres"


@pytest.fixture(scope="session")
def mariadb_alias(mariadb_address: dict[str, Any]) -> Iterator[str]:
    """A database with tables, for one test after the other."""
    with mariadb_database(mariadb_address) as settings, known("mariadb", settings):
        migrate("mariadb")
        yield "mariadb"


def empty(alias: str) -> None:
    """Remove every row."""
    from airweave_webhooks.integrations.django.models import Delivery, Queue, Worker

    for model in (Delivery, Queue, Worker):
        model.objects.using(alias).all().delete()
    connections[alias].close()


class TestOnSQLite(InboxContract, DurableStoreContract):
    """A file."""

    @pytest.fixture(autouse=True)
    def database(self, tmp_path: Path, empty_file: Path) -> Iterator[None]:
        with known("contract", sqlite_settings(str(shutil.copy(empty_file, tmp_path)))):
            yield

    def make_store(self) -> DjangoStore:
        return DjangoStore("contract")


class TestOnPostgreSQL(InboxContract, SharedStoreContract):
    """A server, whose clock counts."""

    @pytest.fixture(autouse=True)
    def database(self, postgres_alias: str) -> Iterator[None]:
        yield
        empty(postgres_alias)

    def make_store(self) -> DjangoStore:
        return DjangoStore("postgres")


class TestOnMariaDB(InboxContract, SharedStoreContract):
    """A server that would rather compare texts without their case."""

    @pytest.fixture(autouse=True)
    def database(self, mariadb_alias: str) -> Iterator[None]:
        yield
        empty(mariadb_alias)

    def make_store(self) -> DjangoStore:
        return DjangoStore("mariadb")

    async def test_the_disk_fills(self, store: InboxStore) -> None:
        """As far as the server's statistics have noticed."""
        before = (await store.backlog("default")).disk
        await self.put(store, a_delivery(body=os.urandom(MEGABYTE)))
        await asyncio.to_thread(self.notice)
        assert before + MEGABYTE <= (await store.backlog("default")).disk < 100 * MEGABYTE

    def notice(self) -> None:
        with connections["mariadb"].cursor() as cursor:
            cursor.execute("ANALYZE TABLE airweave_webhooks_delivery")
            cursor.fetchall()
        connections["mariadb"].close()
