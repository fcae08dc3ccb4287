"""Processes on a `DjangoStore` that die at each point of the crash table: inline, with `once()`, and as an inbox."""

import asyncio
import signal
from collections import Counter
from collections.abc import Iterator

import pytest
from django.db import connections

from airweave_webhooks.testing import Attempt, Message
from django_databases import known, mariadb_database, migrate, postgres_database
from failure.backends import DjangoDatabase
from failure.inboxes import InboxSite
from failure.servers import LoggingSender, Process, body, until

pytestmark = pytest.mark.anyio

DATABASES = ["mariadb", pytest.param("postgres", marks=pytest.mark.long)]


@pytest.fixture(params=DATABASES)
def backend(request: pytest.FixtureRequest) -> Iterator[DjangoDatabase]:
    """A database with the tables of the app, and one of effects."""
    if request.param == "postgres":
        database = postgres_database(request.getfixturevalue("postgres_url"))
    else:
        database = mariadb_database(request.getfixturevalue("mariadb_address"))
    with database as settings:
        backend = DjangoDatabase(settings)
        with known(backend.namespace, settings) as alias:
            migrate(alias)
            with connections[alias].cursor() as cursor:
                cursor.execute("CREATE TABLE effects (id VARCHAR(100) NOT NULL)")
            connections[alias].close()
            yield backend


def effects(alias: str) -> Counter[str]:
    """How often each delivery had its effect."""
    with connections[alias].cursor() as cursor:
        cursor.execute("SELECT id FROM effects")
        found = Counter(name for (name,) in cursor.fetchall())
    connections[alias].close()
    return found


async def died(process: Process) -> None:
    """Wait until it has killed itself."""
    await until(lambda: process.exit_code is not None, "the process has died")
    assert process.exit_code == -signal.SIGKILL, process.log()


async def answered(sender: LoggingSender, message: Message) -> list[Attempt]:
    """Come again until it is done, and return all answers."""
    attempts = [await sender.attempt(message)]
    while not attempts[-1].succeeded:
        assert attempts[-1].status == 409, attempts[-1]
        await asyncio.sleep(0.05)
        attempts.append(await sender.attempt(message))
    return attempts


@pytest.mark.parametrize(
    ("kind", "points"),
    [
        ("awaiting", {"before claim": 1, "after claim": 1, "before settle": 2, "after settle": 1}),
        ("transacted", {"before commit": 2, "after commit": 2}),
    ],
    ids=["effects", "once"],
)
async def test_inline(inbox_site: InboxSite, kind: str, points: dict[str, int]) -> None:
    """Who comes again waits for the lease and takes over; what is settled or marked is not done again."""
    healthy, *victims = await asyncio.gather(
        inbox_site.receive("inline"), *(inbox_site.receive("inline", crash=point) for point in points)
    )
    ids: dict[str, str] = {}
    async with inbox_site.sender(healthy) as sender, asyncio.timeout(60):
        for point, victim in zip(points, victims, strict=True):
            message = sender.message(body(kind))
            ids[point] = message.id
            async with inbox_site.sender(victim) as to_victim:
                assert not (await to_victim.attempt(message)).succeeded
            await died(victim)
            outcomes = [attempt.outcome for attempt in await answered(sender, message)]
            assert outcomes[-1] == ("duplicate" if point == "after settle" else "processed")
            # Before the claim nobody knows of it, so nobody is asked to wait.
            assert (len(outcomes) == 1) == (point in {"before claim", "after settle"})
            assert (await sender.resend(message.id)).outcome == "duplicate"
    starts = inbox_site.ledger.by_id("start")
    assert {point: len(starts[name]) for point, name in ids.items()} == points
    if kind == "transacted":
        assert await asyncio.to_thread(effects, inbox_site.backend.namespace) == Counter(ids.values())


@pytest.mark.parametrize(
    ("kind", "points"),
    [
        ("awaiting", {"after take": 0, "before settle": 1, "after settle": 1}),
        ("transacted", {"before commit": 1, "after commit": 1}),
    ],
    ids=["effects", "once"],
)
async def test_an_inbox(inbox_site: InboxSite, kind: str, points: dict[str, int]) -> None:
    """What is stored is worked on, whoever dies over it, until it is settled; what is marked is done once."""
    web, deadly = await asyncio.gather(inbox_site.receive("web"), inbox_site.receive("web", crash="after claim"))
    async with inbox_site.sender(web) as sender, inbox_site.sender(deadly) as to_deadly, asyncio.timeout(60):
        message = sender.message(body(kind))
        assert not (await to_deadly.attempt(message)).succeeded
        await died(deadly)
        assert (await sender.attempt(message)).outcome == "accepted"
        for point in points:
            await died(await inbox_site.worker(crash=point))
        await inbox_site.worker()
        assert await inbox_site.finished() == {("done", "processed"): 1}
        assert (await sender.attempt(message)).outcome == "duplicate"
    settled = "after settle" in points
    assert len(inbox_site.ledger.entries("start")) == sum(points.values()) + (not settled)
    record = await inbox_site.record(message.id)
    assert record.leases_lost == len(points) - settled
    if kind == "transacted":
        assert await asyncio.to_thread(effects, inbox_site.backend.namespace) == Counter([message.id])
