"""Django under gunicorn and uvicorn: one effect for each message, no connection too many, and nothing lost."""

import asyncio
import contextlib
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psycopg
import pytest
from psycopg.conninfo import make_conninfo

from airweave_webhooks.testing import Sender
from conftest import SECRET
from django_databases import postgres_database
from django_servers import Project, Served
from failure.servers import body, until
from servers.postgres import PostgresServer

pytestmark = pytest.mark.anyio

TESTS = Path(__file__).parents[1]


class Shop(Project):
    """The project, on a database of its own on PostgreSQL."""

    def __init__(self, url: str, database: dict[str, Any], work: Path) -> None:
        self._url = make_conninfo(url, dbname=database["NAME"])
        super().__init__(TESTS, "failure.django_shop.settings", work, DATABASE=json.dumps(database))
        self.manage("migrate", "--verbosity=0")

    def query(self, statement: str) -> list[tuple[Any, ...]]:
        with psycopg.connect(self._url) as connection:
            return connection.execute(statement.encode()).fetchall()

    @property
    def connections(self) -> int:
        ((found,),) = self.query(
            "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()"
        )
        return int(found)

    @property
    def effects(self) -> list[str]:
        return [effect for (effect,) in self.query("SELECT delivery FROM django_shop_effect ORDER BY delivery")]


@pytest.fixture
def shop(postgres_server: PostgresServer, tmp_path: Path) -> Iterator[Shop]:
    with postgres_database(postgres_server.url) as database:
        yield Shop(postgres_server.url, database, tmp_path)


def kind_of(number: int) -> bytes:
    return body("awaiting" if number % 2 else "threaded")


@contextlib.asynccontextmanager
async def sending(served: Served, path: str) -> Any:
    async with Sender(served.url + path, secrets=SECRET) as sender:
        yield sender


@pytest.mark.timeout(1500)
@pytest.mark.parametrize("options", [[], ["--preload"]], ids=["", "preload"])
async def test_copies_at_four_workers_have_one_effect(shop: Shop, options: list[str], long: bool) -> None:
    """However many copies come at once, and to whichever process, one is worked on; also when they were forked late."""
    messages, copies = (500, 20) if long else (30, 6)
    with shop.served("gunicorn", "--workers=4", *options) as served:
        async with sending(served, "/webhooks/sync") as sender:
            slots = asyncio.Semaphore(3)
            ids = []

            async def storm(number: int) -> None:
                message = sender.message(kind_of(number))
                ids.append(message.id)
                async with slots:
                    attempts = await sender.concurrent(message, copies)
                    while not any(attempt.succeeded for attempt in attempts):
                        assert {a.outcome for a in attempts} <= {"in_progress", "unavailable"}
                        await asyncio.sleep(0.05)
                        attempts = await sender.concurrent(message, copies)
                    assert (await sender.resend(message.id)).outcome == "duplicate"

            async with asyncio.TaskGroup() as group:
                for number in range(messages):
                    group.create_task(storm(number))
        assert shop.effects == sorted(ids)
        assert len(shop.query("SELECT DISTINCT pid FROM django_shop_effect")) > 1, "one process did everything"
        # Each worker's store has three, and its async ORM one.
        assert shop.connections <= 16


@pytest.mark.timeout(1500)
@pytest.mark.parametrize(
    ("server", "options", "path"),
    [("gunicorn", ["--workers=4"], "/webhooks/sync"), ("uvicorn", [], "/webhooks/async")],
    ids=["gunicorn", "uvicorn"],
)
async def test_requests_leave_no_connections(
    shop: Shop, server: str, options: list[str], path: str, long: bool
) -> None:
    """After thousands of deliveries the database has as many connections as after some, and each had its effect."""
    requests = 10_000 if long else 250
    with shop.served(server, *options) as served:
        async with sending(served, path) as sender:
            slots = asyncio.Semaphore(16)

            async def send(number: int) -> None:
                async with slots:
                    message = sender.message(kind_of(number))
                    while not (attempt := await sender.attempt(message)).succeeded:
                        assert attempt.outcome in {"in_progress", "unavailable"}, attempt
                        await asyncio.sleep(0.05)

            async def send_all(most: int) -> None:
                for first in range(0, most, 1000):
                    await asyncio.gather(*(send(number) for number in range(first, min(first + 1000, most))))

            await send_all(100)
            before = shop.connections
            await send_all(requests)
            await until(lambda: shop.connections <= before, f"no more than {before} connections")
        assert len(shop.effects) == requests + 100
        assert len(set(shop.effects)) == requests + 100
        assert "Traceback" not in served.log


@pytest.mark.parametrize("path", ["/webhooks/async", "/webhooks/sync"])
async def test_a_client_that_hangs_up_loses_nothing(shop: Shop, path: str, tmp_path: Path) -> None:
    """Under uvicorn Django cancels the view; the handler goes on, and so does its work in the database."""
    with shop.served("uvicorn") as served:
        async with sending(served, path) as sender:
            message = sender.message(body("gated"))
            asking = asyncio.create_task(sender.attempt(message))
            await until((tmp_path / "started").exists, "the handler has started")
            asking.cancel()
            await asyncio.gather(asking, return_exceptions=True)
            # Whoever comes meanwhile is told so: the first one is still at work.
            assert (await sender.attempt(message)).outcome == "in_progress"
            (tmp_path / "gate").touch()
            await until(lambda: shop.effects, "the handler has done its work")
            while (attempt := await sender.attempt(message)).outcome == "in_progress":
                await asyncio.sleep(0.05)
            assert attempt.outcome == "duplicate"
        assert shop.effects == [message.id]
        assert "Traceback" not in served.log


async def test_a_server_that_is_stopped_lets_handlers_finish(shop: Shop, tmp_path: Path) -> None:
    """uvicorn ends its process by a signal, which would cut them off: the receiver is closed before."""
    with shop.served("uvicorn", "--lifespan=on") as served:
        async with sending(served, "/webhooks/async") as sender:
            message = sender.message(body("gated"))
            asking = asyncio.create_task(sender.attempt(message))
            await until((tmp_path / "started").exists, "the handler has started")
            asking.cancel()
            await asyncio.gather(asking, return_exceptions=True)
        served.process.terminate()
        await until(lambda: "Waiting for application shutdown" in served.log, "the server stops")
        (tmp_path / "gate").touch()
        await asyncio.to_thread(served.process.wait, 30)
        assert "Traceback" not in served.log
    assert shop.effects == [message.id]
    assert shop.query("SELECT state FROM airweave_webhooks_delivery") == [("done",)]


def test_a_test_database_can_be_dropped(postgres_server: PostgresServer, tmp_path: Path) -> None:
    """`manage.py test` ends well, though receivers are open, and connections of async handlers live long."""
    with postgres_database(postgres_server.url) as database:
        shop = Shop(postgres_server.url, {**database, "CONN_MAX_AGE": None}, tmp_path)
        assert "Ran 2 tests" in shop.manage("test", "failure.django_shop.posting", "--noinput")
