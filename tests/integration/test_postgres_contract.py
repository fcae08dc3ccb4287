"""The PostgreSQL store keeps the public contract, on a real server: from a URL, and on a pool of the user's.

The pool's connections forget everything after every statement (`DISCARD ALL`), and take turns: what works on it works
behind a proxy that gives every transaction to another session.
"""

import asyncio
import os
from collections.abc import Iterator
from typing import Any, Final

import psycopg
import pytest
from hypothesis import settings
from psycopg.sql import SQL, Identifier
from psycopg_pool import AsyncConnectionPool

from airweave_webhooks import PostgresStore
from airweave_webhooks.testing.contracts import InboxContract, SharedStoreContract
from airweave_webhooks.testing.model import prove

PATIENCE: Final = 30.0
"""Seconds. A storm's last answer is as old as the storm, on a busy machine."""


@pytest.fixture(scope="session")
def used_schema(postgres_url: str) -> Iterator[tuple[str, "psycopg.Connection[Any]"]]:
    """A schema with tables, for one test after the other, and a connection to clean up with."""
    name = f"contract {os.urandom(6).hex()}"
    asyncio.run(PostgresStore(postgres_url, schema=name).migrate())
    with psycopg.connect(postgres_url, autocommit=True) as connection:
        yield name, connection
        connection.execute(SQL("DROP SCHEMA {} CASCADE").format(Identifier(name)))


@pytest.fixture
def empty_schema(used_schema: tuple[str, "psycopg.Connection[Any]"]) -> Iterator[str]:
    """The same schema without a row: to make the tables takes longer than most tests do."""
    name, connection = used_schema
    yield name
    tables = [Identifier(name, table) for table in ("deliveries", "workers")]
    with connection.transaction():
        # Waits for what a test has left under way.
        connection.execute(SQL("LOCK TABLE {}, {}").format(*tables))
        for table in tables:
            connection.execute(SQL("DELETE FROM {}").format(table))


class TestPostgresStore(InboxContract, SharedStoreContract):
    """`postgresql://…`."""

    @pytest.fixture(autouse=True)
    def place(self, postgres_url: str, empty_schema: str) -> None:
        self.url, self.schema = postgres_url, empty_schema

    def make_store(self) -> PostgresStore:
        return PostgresStore(self.url, schema=self.schema, patience=PATIENCE)


async def forget_everything(connection: "psycopg.AsyncConnection[Any]") -> None:
    await connection.set_autocommit(True)
    await connection.execute("DISCARD ALL")
    await connection.set_autocommit(False)


class StoreWithPool(PostgresStore):
    """Opens and closes its pool, as the application does."""

    def __init__(self, url: str, schema: str) -> None:
        never_prepare = {"prepare_threshold": None}  # as the driver's documentation has it for such a proxy
        self.pool = AsyncConnectionPool[Any](url, min_size=3, open=False, reset=forget_everything, kwargs=never_prepare)
        self.url = url
        self.used = False
        super().__init__(self.pool, schema=schema, patience=PATIENCE)

    async def open(self) -> None:
        if self.pool.closed:
            if self.used:  # a pool opens once: the next application has one of its own
                StoreWithPool.__init__(self, self.url, self.schema)
            self.used = True
            await self.pool.open(wait=True)
        await super().open()

    async def close(self) -> None:
        await super().close()
        if not self._loops:
            await self.pool.close()


@pytest.mark.one_case_each
class TestPostgresStoreOnAPool(TestPostgresStore):
    """`PostgresStore(pool)`."""

    def make_store(self) -> PostgresStore:
        return StoreWithPool(self.url, self.schema)


@pytest.mark.timeout(1800)
def test_it_is_what_the_model_says(postgres_url: str, schema: str, how: settings) -> None:
    """Whatever the order of the steps."""
    with psycopg.connect(postgres_url, autocommit=True) as connection:
        names: list[str] = []

        def make_store(name: str) -> PostgresStore:
            names.append(f"{schema} {name}"[-63:])
            return PostgresStore(postgres_url, schema=names[-1])

        try:
            prove(make_store, how)
        finally:
            for name in set(names):
                connection.execute(SQL("DROP SCHEMA IF EXISTS {} CASCADE").format(Identifier(name)))
