"""Connections of Django's ORM in handlers, counted by the server: none stays behind, and none that is dead is used."""

import asyncio
import gc
import itertools
import time
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import psycopg
import pytest
from asgiref.sync import sync_to_async
from django.db import connections
from django.db.backends.base import base

import django_databases
from airweave_webhooks import Delivery, Inbox, Receiver, SyncCompleted, SyncFailed
from airweave_webhooks.integrations.django.models import Once
from airweave_webhooks.testing.payloads import payload
from conftest import SECRET, sign
from servers.postgres import PostgresServer

pytestmark = pytest.mark.anyio

_numbers = itertools.count()


class Database:
    """A database of the project on PostgreSQL, whose connections are counted behind Django's back."""

    def __init__(self, url: str, name: str) -> None:
        self._url = url
        self.name = name

    def query(self, statement: str) -> Any:
        with psycopg.connect(self._url, autocommit=True) as connection:
            row = connection.execute(statement.replace("NAME", f"'{self.name}'")).fetchone()
        assert row is not None
        return row[0]

    @property
    def connections(self) -> int:
        return int(self.query("SELECT count(*) FROM pg_stat_activity WHERE datname = NAME"))

    async def has(self, connections: int) -> None:
        """Wait until it has so many: the server takes a moment to end one that was closed."""
        give_up = time.monotonic() + 20
        while (found := self.connections) != connections:
            assert time.monotonic() < give_up, f"{found} connections"
            await asyncio.sleep(0.02)

    def cut_all(self) -> None:
        """End every connection, as a server does that is started anew."""
        assert self.query("SELECT count(pg_terminate_backend(pid, 5000)) FROM pg_stat_activity WHERE datname = NAME"), (
            "there was none"
        )


@pytest.fixture
def options() -> dict[str, Any]:
    return {}


@pytest.fixture
def database(postgres_server: PostgresServer, options: dict[str, Any]) -> Iterator[Database]:
    with django_databases.postgres_database(postgres_server.url) as settings:
        made = Database(postgres_server.url, settings["NAME"])
        with django_databases.known(made.name, settings | options):
            django_databases.migrate(made.name)
            connections[made.name].close()
            # What is closed must be closed by somebody, and not by chance.
            gc.collect()
            gc.disable()
            yield made
            gc.enable()
            if "OPTIONS" in options:
                connections[made.name].close_pool()  # type: ignore[attr-defined]


class Handled:
    """A receiver whose handlers ask the database, each in its own way."""

    def __init__(self, alias: str, **arguments: Any) -> None:
        self.receiver = Receiver(secrets=SECRET, **arguments)
        self.most = 0
        self.in_the_midst = asyncio.Event()
        self.go_on = asyncio.Event()

        @self.receiver.on("sync.completed")
        def ask(event: SyncCompleted) -> None:
            assert Once.objects.using(alias).count() >= 0

        @self.receiver.on("sync.failed")
        async def ask_asynchronously(event: SyncFailed) -> None:
            assert await Once.objects.using(alias).acount() >= 0

        @self.receiver.on("sync.running")
        async def read_slowly(delivery: Delivery) -> None:
            async for _ in Once.objects.using(alias).order_by("mark").aiterator(chunk_size=1):
                self.in_the_midst.set()
                await self.go_on.wait()

    async def take(self, kind: str) -> str:
        body = payload(kind)
        headers = sign(body, message_id=f"msg_{next(_numbers)}")
        return (await self.receiver.handle(headers, body)).outcome


@pytest.fixture
def handled(database: Database) -> Handled:
    return Handled(database.name)


async def test_sync_handlers_leave_no_connection(database: Database, handled: Handled) -> None:
    """Each has one of its own, and closes it."""
    async with handled.receiver:
        assert await asyncio.gather(*(handled.take("sync.completed") for _ in range(20))) == ["processed"] * 20
        await database.has(0)


@pytest.mark.parametrize(
    "options", [{"OPTIONS": {"pool": {"min_size": 1, "max_size": 2, "timeout": 10}}}], ids=["pool"]
)
async def test_sync_handlers_give_back_what_is_pooled(database: Database, handled: Handled) -> None:
    """More handlers than the pool has connections, at once and one after another."""
    async with handled.receiver:
        for _ in range(3):
            assert await asyncio.gather(*(handled.take("sync.completed") for _ in range(5))) == ["processed"] * 5
        assert database.connections <= 2  # of the pool


@pytest.mark.parametrize(("options", "left"), [({}, 0), ({"CONN_MAX_AGE": None}, 1)], ids=["closed", "kept"])
async def test_the_async_orm_leaves_what_is_meant_to_be_kept(database: Database, handled: Handled, left: int) -> None:
    """One connection for all handlers, for as long as the setting says."""
    async with handled.receiver:
        assert await asyncio.gather(*(handled.take("sync.failed") for _ in range(20))) == ["processed"] * 20
        await database.has(left)


KEPT = {"CONN_MAX_AGE": None}


@pytest.mark.parametrize("options", [KEPT, KEPT | {"CONN_HEALTH_CHECKS": True}], ids=["kept", "checked"])
@pytest.mark.parametrize("inbox", [False, True], ids=["inline", "inbox"])
async def test_a_dead_connection_is_not_used(
    database: Database, options: dict[str, Any], inbox: bool, tmp_path: Path
) -> None:
    """The server cut what was kept: one handler meets that, as a request would; none where Django checks it."""
    mode = Inbox(first_pause=0.01, poll=0.01) if inbox else None
    handled = Handled(database.name, mode=mode, store=f"sqlite:///{tmp_path}/deliveries.db")

    async def done() -> int:
        tallies = (await handled.receiver.deliveries.stats()).tallies
        return sum(tally.deliveries for tally in tallies if tally.state == "done")

    async with handled.receiver:
        assert await handled.take("sync.failed") == ("accepted" if inbox else "processed")
        if inbox:
            while await done() < 1:
                await asyncio.sleep(0.01)
        database.cut_all()
        outcomes = [await handled.take("sync.failed") for _ in range(3)]
        if inbox:
            while await done() < 4:
                await asyncio.sleep(0.01)
        else:
            first = "processed" if "CONN_HEALTH_CHECKS" in options else "failed"
            assert outcomes == [first, "processed", "processed"]
        await database.has(1)


@pytest.mark.parametrize("options", [{"CONN_MAX_AGE": 3600}], ids=["for an hour"])
async def test_a_connection_that_is_too_old_is_not_used(
    database: Database, handled: Handled, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What has lain idle for longer than CONN_MAX_AGE is closed before a handler gets it: the server may have, too."""
    async with handled.receiver:
        assert await handled.take("sync.failed") == "processed"
        database.cut_all()
        monkeypatch.setattr(base, "time", SimpleNamespace(monotonic=lambda: time.monotonic() + 3601))
        assert await handled.take("sync.failed") == "processed"


async def test_others_do_not_close_what_is_being_read(database: Database, handled: Handled) -> None:
    """A handler that reads row by row shares its connection with others, which come and go meanwhile."""
    rows = [Once(mark=str(number), tenant="", key="", generation=0) for number in range(5)]
    await Once.objects.using(database.name).abulk_create(rows)
    await sync_to_async(connections.close_all)()
    async with handled.receiver:
        reading = asyncio.create_task(handled.take("sync.running"))
        await handled.in_the_midst.wait()
        assert [await handled.take("sync.failed") for _ in range(2)] == ["processed"] * 2
        handled.go_on.set()
        assert await reading == "processed"
        await database.has(0)
