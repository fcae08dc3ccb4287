"""The examples as a user runs them: uvicorn in a process of its own, and a sender over a real socket."""

import asyncio
import contextlib
import json
import os
import re
import sqlite3
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import httpx
import psycopg
import pytest

from airweave_webhooks.events import EVENT_TYPES
from airweave_webhooks.testing import Sender
from airweave_webhooks.testing.payloads import LEGACY, payload, payload_names
from conftest import OTHER_SECRET, SECRET
from servers.postgres import PASSWORD, PostgresServer
from servers.redis import RedisServer

pytestmark = pytest.mark.anyio

EXAMPLES = Path(__file__).parents[2] / "examples"


class App:
    """An example that is served; `output` is what it printed once it was ended."""

    def __init__(self, name: str, folder: Path, **environment: str) -> None:
        self.name, self.folder = name, folder
        server = ["uvicorn", f"{name}:app", "--app-dir", str(EXAMPLES), "--port", "0"]
        if name == "flask_app":
            server = ["gunicorn", f"{name}:app", "--pythonpath", str(EXAMPLES), "--bind", "127.0.0.1:0"]
            server += ["--workers", "2", "--no-control-socket"]
        # uvicorn logs to standard error, handlers print to standard output.
        with (folder / "log").open("wb") as log, (folder / "output").open("wb") as output:
            self._process = subprocess.Popen(
                [sys.executable, "-m", *server],
                cwd=folder,
                env={**os.environ, **environment, "AIRWEAVE_WEBHOOK_SECRET": SECRET, "PYTHONUNBUFFERED": "1"},
                stdout=output,
                stderr=log,
            )
        self.url = self._running_on() + "/webhooks/airweave"

    def _running_on(self) -> str:
        while True:
            ended = self._process.poll() is not None
            log = (self.folder / "log").read_text()
            if match := re.search(r"(?:running on|Listening at:) (http://\S+)", log):
                return match[1]
            assert not ended, log
            time.sleep(0.05)

    def end(self) -> list[str]:
        """End it as a supervisor does, and return the lines it printed, but not those of uvicorn."""
        self._process.terminate()
        self._process.wait()
        lines = (self.folder / "output").read_text().splitlines()
        return [line for line in lines if not line.startswith("INFO:")]


@pytest.fixture
def app(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[App]:
    app = App(request.param, tmp_path)
    yield app
    app.end()


@pytest.fixture
def postgres_app(postgres_server: PostgresServer, tmp_path: Path) -> Iterator[App]:
    with psycopg.connect(postgres_server.url, autocommit=True) as connection:
        connection.execute("CREATE DATABASE example")
    url = postgres_server.url_of("postgres", PASSWORD, "example")
    app = App("postgres_app", tmp_path, DATABASE_URL=url)
    yield app
    app.end()


@pytest.fixture
def redis_app(redis_server: RedisServer, tmp_path: Path) -> Iterator[App]:
    app = App("redis_app", tmp_path, REDIS_URL=redis_server.url)
    yield app
    app.end()


@pytest.fixture
async def sender(app: App) -> AsyncIterator[Sender]:
    async with Sender(app.url, secrets=SECRET) as sender:
        yield sender


async def probe(sender: Sender) -> int | None:
    """The answer to a probe, when there is one: gunicorn listens before its workers have loaded the application."""
    async with asyncio.timeout(60):
        while (status := await sender.probe()) is None:
            pass  # it has waited for 5 s
    return status


async def answer(sender: Sender, name: str, **changed: Any) -> tuple[int | None, str | None, float | None]:
    attempt = await sender.attempt(sender.message({**json.loads(payload(name)), **changed}))
    return attempt.status, attempt.outcome, attempt.retry_after


async def send_every_type(sender: Sender) -> set[str]:
    """Send every sample payload; return the names of those that handlers processed, the rest must be ignored."""
    names = payload_names()
    assert set(names) == {*EVENT_TYPES, LEGACY}
    answers = {name: await answer(sender, name) for name in names}
    assert set(answers.values()) <= {(200, "processed", None), (200, "ignored", None), (200, "rejected", None)}
    return {name for name, (_, outcome, _) in answers.items() if outcome == "processed"}


@pytest.mark.parametrize("app", ["fastapi_app"], indirect=True)
async def test_fastapi(app: App, sender: Sender) -> None:
    """Every event type is answered, filters, `Retry` and `Reject` do what they say, duplicates have no effect."""
    assert await probe(sender) == 200
    assert await send_every_type(sender) == {"sync.completed", LEGACY, "sync.failed", "organization.member_added"}
    assert await answer(sender, "sync.completed", source_type="slack") == (200, "ignored", None)
    assert await answer(sender, "organization.member_added", affected_user_emails=[]) == (200, "rejected", None)

    maintenance = app.folder / "maintenance"
    maintenance.touch()
    message = sender.message(payload("sync.failed"))
    attempt = await sender.attempt(message)
    assert (attempt.status, attempt.outcome, attempt.retry_after) == (503, "retry", 600)
    maintenance.unlink()
    outcomes = [(await sender.resend(message.id)).outcome for _ in range(3)]
    assert outcomes == ["processed", "duplicate", "duplicate"]

    failed = json.loads(payload("sync.failed"))
    assert sorted(app.end()) == [
        "paging somebody: Engineering Context failed with " + failed["error"],
        "paging somebody: Engineering Context failed with " + failed["error"],
        "refreshing the cache of engineering-context-k4x9q",
        "refreshing the cache of engineering-context-k4x9q",
        "welcoming member@example.com",
    ]
    assert (app.folder / "airweave.db").exists()


@pytest.mark.parametrize("app", ["starlette_app"], indirect=True)
async def test_starlette(app: App, sender: Sender) -> None:
    """Every event type is answered, predicates, filters, `Retry` and `Reject` do what they say, a retry succeeds."""
    assert await probe(sender) == 200
    message = sender.message(payload("sync.failed"))
    attempt = await sender.attempt(message)
    assert (attempt.status, attempt.outcome, attempt.retry_after) == (503, "retry", 60)
    (app.folder / "reports").mkdir()
    outcomes = [(await sender.resend(message.id)).outcome for _ in range(3)]
    assert outcomes == ["processed", "duplicate", "duplicate"]

    assert await send_every_type(sender) == {
        "sync.completed",
        "sync.failed",
        "source_connection.created",
        "source_connection.auth_completed",
        "source_connection.deleted",
    }
    assert await answer(sender, LEGACY) == (200, "rejected", None)
    assert await answer(sender, "sync.completed", source_type="slack") == (200, "ignored", None)
    assert await answer(sender, "source_connection.created", source_type="slack") == (200, "ignored", None)
    assert await answer(sender, "sync.completed", event_type="sync.paused") == (200, "processed", None)

    sync_id = json.loads(payload("sync.completed"))["sync_id"]
    assert (app.folder / "reports" / "syncs.csv").read_text().splitlines() == [
        f"{sync_id},sync.failed,2",
        f"{sync_id},sync.completed,1",
        f"{sync_id},sync.failed,1",
    ]
    assert app.end() == [
        "source_connection.auth_completed: engineering-context-k4x9q",
        "source_connection.created: engineering-context-k4x9q",
        "source_connection.deleted: engineering-context-k4x9q",
        "an event that this version does not know: sync.paused",
    ]


@pytest.mark.parametrize("app", ["flask_app", "litestar_app", "quart_app"], indirect=True)
async def test_other_frameworks(app: App, sender: Sender) -> None:
    """Every event type is answered, copies at once have one effect, and the rest of the application is there."""
    assert await probe(sender) == 200
    failed = {"sync.failed"} if app.name == "flask_app" else set[str]()
    assert await send_every_type(sender) == {"sync.completed", LEGACY, *failed}
    message = sender.message(payload("sync.completed"))
    attempts = await sender.concurrent(message, 5)
    assert {attempt.outcome for attempt in attempts} <= {"processed", "duplicate", "in_progress"}
    assert (await sender.resend(message.id)).outcome == "duplicate"
    async with httpx.AsyncClient(trust_env=False) as client:
        index = await client.get(app.url.removesuffix("/webhooks/airweave"))
    assert (index.status_code, index.text) == (200, "the rest of the application")
    assert app.end().count("refreshing the cache of engineering-context-k4x9q") == 3


@pytest.mark.parametrize("app", ["fastapi_verified"], indirect=True)
async def test_fastapi_verified(app: App, sender: Sender) -> None:
    """Whatever is signed reaches the route, each time that it is sent."""
    message = sender.message(payload("sync.completed"))
    for _ in range(2):
        assert (await sender.attempt(message)).outcome == "done"
    stranger = Sender(app.url, secrets=OTHER_SECRET)
    async with stranger:
        assert (await stranger.attempt(stranger.message(payload("sync.completed")))).status == 401
    assert app.end() == [f"{message.id}: refreshing the cache of engineering-context-k4x9q"] * 2


@pytest.mark.parametrize("app", ["inbox_app"], indirect=True)
async def test_inbox(app: App, sender: Sender) -> None:
    """Answered at once, done later; in order, and what is stale is left out; health says how far it is."""
    health = app.url.removesuffix("/webhooks/airweave") + "/health"

    async def until(**wanted: int) -> None:
        give_up = time.monotonic() + 20
        async with httpx.AsyncClient(trust_env=False) as client:
            while True:
                found = (await client.get(health)).json()
                if {name: found[name] for name in wanted} == wanted:
                    return
                assert time.monotonic() < give_up, found
                await asyncio.sleep(0.2)

    completed = sender.message(payload("sync.completed"))
    assert (await sender.attempt(completed)).outcome == "accepted"
    await until(pending=1, dead=0)
    assert (await sender.resend(completed.id)).outcome == "accepted"
    (app.folder / "index").mkdir()
    await until(pending=0, dead=0)
    assert (await sender.resend(completed.id)).outcome == "duplicate"
    early = {"timestamp": "2026-01-01T00:00:00Z"}
    assert await answer(sender, "sync.running", **early) == (200, "accepted", None)
    assert await answer(sender, "search.completed") == (200, "ignored", None)
    await until(pending=0, dead=0)

    job = json.loads(payload("sync.completed"))["sync_job_id"]
    first, second = app.end()
    assert first == f"{job}: sync.completed"
    assert re.fullmatch("indexed engineering-context-k4x9q in attempt [2-9]", second)


async def test_postgres(postgres_app: App, postgres_server: PostgresServer) -> None:
    """A duplicate, at once or later, adds nothing."""
    url = postgres_server.url_of("postgres", PASSWORD, "example")
    async with Sender(postgres_app.url, secrets=SECRET) as sender:
        assert await send_every_type(sender) == {"sync.completed", LEGACY}
        message = sender.message({**json.loads(payload("sync.completed")), "entities_inserted": 5})
        await sender.concurrent(message, 10)
        assert (await sender.resend(message.id)).outcome == "duplicate"
    with psycopg.connect(url) as connection:
        ((name, total),) = connection.execute("SELECT name, total FROM sums").fetchall()
    samples = [json.loads(payload(kind)) for kind in ("sync.completed", LEGACY)]
    assert (name, total) == ("engineering-context-k4x9q", 5 + sum(body.get("entities_inserted", 0) for body in samples))


async def test_redis(redis_app: App, redis_server: RedisServer) -> None:
    """Every event type is answered, duplicates have no effect."""
    with redis_server.client() as client:
        client.set("answers:engineering-context-k4x9q", "stale")
        async with Sender(redis_app.url, secrets=SECRET) as sender:
            collections = {name for name in EVENT_TYPES if name.startswith("collection.")}
            assert await send_every_type(sender) == {"sync.completed", LEGACY, *collections}
            assert {(await sender.resend(name)).outcome for name in sender._sent} <= {"duplicate"}
        assert client.get("answers:engineering-context-k4x9q") is None
        assert all(client.scard(f"changes:{name}") == 1 for name in collections)


@pytest.mark.parametrize("app", ["sqlalchemy_once"], indirect=True)
async def test_sqlalchemy_once(app: App, sender: Sender) -> None:
    """Each delivery counts once: also when the receiver's record is lost, as if a crash had come before it."""
    messages = [sender.message(payload("sync.completed")) for _ in range(3)]
    for message in messages:
        assert (await sender.attempt(message)).outcome == "processed"
    for outcome in ("duplicate", "processed", "duplicate"):
        assert (await sender.resend(messages[0].id)).outcome == outcome
        if outcome == "duplicate":
            with contextlib.closing(sqlite3.connect(app.folder / "airweave.db")) as records, records:
                records.execute("DELETE FROM deliveries")
    with contextlib.closing(sqlite3.connect(app.folder / "collections.db")) as database:
        assert database.execute("SELECT * FROM collections").fetchall() == [("engineering-context-k4x9q", 3)]
