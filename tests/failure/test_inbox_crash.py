"""An inbox's process that dies at a named point: what becomes of the delivery, and what the sender is told."""

import asyncio
import signal
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from airweave_webhooks.testing import Message
from databases import Database, in_schema, sqlite_url
from failure.backends import INBOXES, Backend, SQLiteFile
from failure.inboxes import InboxSite, accept
from failure.servers import LoggingSender, Process, body, until

pytestmark = pytest.mark.anyio


def on_each_store(role: str) -> pytest.MarkDecorator:
    """In this role on one store, and as a process that has both on the other; the rest is for `--long`."""
    rest = [
        pytest.param(role, "sqlite", marks=pytest.mark.long),
        pytest.param("both", "postgres", marks=pytest.mark.long),
    ]
    cases = [(role, "postgres"), ("both", "sqlite"), *rest]
    return pytest.mark.parametrize(("role", "backend"), cases, indirect=["backend"])


on_inboxes = pytest.mark.parametrize("backend", INBOXES, indirect=True)


async def died(process: Process) -> None:
    """Wait until it has killed itself."""
    await until(lambda: process.exit_code is not None, "the process has died")
    assert process.exit_code == -signal.SIGKILL, process.log()


async def retry(sender: LoggingSender, message: Message, outcome: str) -> None:
    attempt = await sender.attempt(message)
    assert (attempt.status, attempt.outcome) == (200, outcome)


@on_each_store("web")
async def test_before_the_first_write(inbox_site: InboxSite, role: str) -> None:
    """Nothing was stored and nothing acknowledged: the sender comes again, and it is done once."""
    server = await inbox_site.receive(role, crash="before claim")
    async with inbox_site.sender(server) as sender, asyncio.timeout(60):
        message = sender.message(body("awaiting"))
        assert not (await sender.attempt(message)).succeeded
        await died(server)
        assert await inbox_site.states() == {}
        await inbox_site.receive("both", server.port)
        await retry(sender, message, "accepted")
        assert await inbox_site.finished() == {("done", "processed"): 1}
        await retry(sender, message, "duplicate")
    assert [entry.what for entry in inbox_site.ledger.entries()] == ["taken", "start", "effect", "done"]


@on_inboxes
@pytest.mark.parametrize("point", ["after claim", "after answer"])
async def test_when_it_is_stored(inbox_site: InboxSite, point: str) -> None:
    """Whether the sender was answered or not: a worker that starts later does it, and a retry changes nothing."""
    server = await inbox_site.receive("web", crash=point)
    async with inbox_site.sender(server) as sender, asyncio.timeout(60):
        message = sender.message(body("awaiting"))
        assert (await sender.attempt(message)).succeeded == (point == "after answer")
        await died(server)
        assert await inbox_site.states() == {("pending", None): 1}
        await inbox_site.receive("web", server.port)
        await retry(sender, message, "accepted")
        await inbox_site.worker()
        assert await inbox_site.finished() == {("done", "processed"): 1}
        await retry(sender, message, "duplicate")
    assert [entry.what for entry in inbox_site.ledger.entries()] == ["taken", "start", "effect", "done"]
    record = await inbox_site.record(message.id)
    assert (record.attempts, record.leases_lost) == (1, 0)


async def dies_while_it_works(site: InboxSite, role: str, point: str, kind: str, **settings: object) -> None:
    """Let a process die at work, a retry of the sender come meanwhile, and another process take over."""
    web = await site.receive("web", None, **settings)
    async with site.sender(web) as sender, asyncio.timeout(60):
        message = sender.message(body(kind))
        if role == "both":
            server = await site.receive(role, None, crash=point, **settings)
            async with site.sender(server) as to_server:
                await to_server.attempt(message)  # it can die before it has answered
            victim: Process = server
        else:
            victim = await site.worker(crash=point, **settings)
            await retry(sender, message, "accepted")
        await died(victim)
        await retry(sender, message, "duplicate" if point == "after settle" else "accepted")
        await site.worker(**settings)
        assert await site.finished(30) == {("done", "processed"): 1}
        await retry(sender, message, "duplicate")


@on_each_store("worker")
@pytest.mark.parametrize(
    ("point", "effects", "attempts"),
    [
        ("after take", 1, 2),
        ("after effect", 2, 2),
        ("before settle", 2, 2),
        ("after settle", 1, 1),
    ],
)
async def test_while_it_is_worked_on(inbox_site: InboxSite, role: str, point: str, effects: int, attempts: int) -> None:
    """Before the settle is durable the effect repeats when the lease has ended; after it nothing runs again."""
    await dies_while_it_works(inbox_site, role, point, "awaiting")
    starts = inbox_site.ledger.entries("taken")
    assert len(starts) == attempts
    assert len({entry.pid for entry in starts}) == attempts
    assert len(inbox_site.ledger.entries("effect")) == effects
    (name,) = {entry.id for entry in starts}
    record = await inbox_site.record(name)
    assert (record.attempts, record.leases_lost, record.fence) == (attempts, attempts - 1, attempts + 1)


@pytest.fixture
async def effects(request: pytest.FixtureRequest, backend: Backend, tmp_path: Path) -> AsyncIterator[Database]:
    """A database for the handler's effects: of the kind that the store is on."""
    url = sqlite_url(tmp_path)
    if not isinstance(backend, SQLiteFile):
        url = in_schema(request.getfixturevalue("postgres_url"), request.getfixturevalue("schema"))
    database = Database("sqlalchemy", url)
    await database.create_tables()
    yield database
    await database.close()


@on_inboxes
@pytest.mark.parametrize("point", ["before commit", "after commit", "before settle"])
async def test_with_once_there_is_one_effect(inbox_site: InboxSite, effects: Database, point: str) -> None:
    """Wherever the process dies between the start of the handler and the settle."""
    url = effects.url.replace("postgresql://", "postgresql+psycopg://", 1).replace("sqlite:", "sqlite+aiosqlite:", 1)
    await dies_while_it_works(inbox_site, "worker", point, "counted", effects=url)
    starts = inbox_site.ledger.entries("start")
    assert len(starts) == 2
    assert effects.rows() == [(starts[0].id, "effect")]


@on_inboxes
async def test_nobody_works_and_nobody_forgets(inbox_site: InboxSite) -> None:
    """What was acknowledged outlives any number of processes that only store."""
    ids = []
    port = inbox_site.port()
    async with inbox_site.sender(port) as sender, asyncio.timeout(60):
        for _ in range(3):
            server = await inbox_site.receive("web", port)
            ids += [message.id for message in await accept(sender, [body("threaded")] * 5)]
            server.kill()
        await inbox_site.worker()
        assert await inbox_site.finished() == {("done", "processed"): 15}
    assert sorted(entry.id for entry in inbox_site.ledger.entries("effect")) == sorted(ids)
