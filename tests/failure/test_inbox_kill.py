"""What is acknowledged survives: who receives and who works are killed at random moments, again and again."""

import asyncio
import random
from itertools import pairwise

import pytest

from airweave_webhooks.testing import Result
from failure.backends import INBOXES
from failure.inboxes import InboxSite
from failure.servers import Port, Process, body

pytestmark = [pytest.mark.anyio, pytest.mark.parametrize("backend", INBOXES, indirect=True)]

CONCURRENCY = 8
KINDS = ["awaiting", "awaiting", "threaded"]


class Victims:
    """Processes that are started, and killed when they have worked for a moment.

    Args:
        site: where.
        role: what they do.
        port: where they listen, if they do.
    """

    def __init__(self, site: InboxSite, role: str, port: Port) -> None:
        self._site = site
        self._role = role
        self._port = port
        self.dead_at: dict[int, float] = {}
        """When each was surely dead."""

    async def start(self) -> Process:
        settings = {"concurrency": CONCURRENCY, "work": 0.05}
        if self._role == "worker":
            return await self._site.worker(**settings)
        return await self._site.receive(self._role, self._port, **settings)

    async def live_and_die(self, times: int) -> None:
        for _ in range(times):
            process = await self.start()
            await self._at_work(process.pid)
            await asyncio.sleep(random.uniform(0, 0.3))
            self.dead_at[process.pid] = process.kill()

    async def _at_work(self, pid: int) -> None:
        """Wait until a process runs handlers, if it is one that does and they have not all been run."""
        for _ in range(0 if self._role == "web" else 500):
            if any(entry.pid == pid for entry in self._site.ledger.entries("start")):
                return
            await asyncio.sleep(0.01)


@pytest.mark.timeout(3000)
@pytest.mark.parametrize("roles", [("web", "worker"), ("both",)], ids="-".join)
async def test_nothing_acknowledged_is_lost(inbox_site: InboxSite, roles: tuple[str, ...], long: bool) -> None:
    """Every effect is there, and repeated only if whoever did it first was killed before it had settled."""
    count, kills = (10_000, 150) if long else (200, 3)
    port = inbox_site.port()
    victims = [Victims(inbox_site, role, port) for role in roles]
    sending: list[asyncio.Task[Result]] = []
    # Five seconds are 0.2.
    sender = inbox_site.sender(port, concurrency=16, schedule=[5.0] * 5000, time_scale=0.04)
    async with sender, asyncio.timeout(2900):
        async with asyncio.TaskGroup() as group:
            sending += [
                group.create_task(sender.deliver(sender.message(body(random.choice(KINDS))))) for _ in range(count)
            ]
            async with asyncio.TaskGroup() as deaths:
                for victim in victims:
                    deaths.create_task(victim.live_and_die(kills))
            for victim in victims:
                await victim.start()
        ids = [task.result().message.id for task in sending]
        assert all(task.result().succeeded for task in sending)
        states = await inbox_site.finished(600 if long else 60)
        again = [await sender.resend(name) for name in random.sample(ids, 20)]
    assert {(attempt.status, attempt.outcome) for attempt in again} == {(200, "duplicate")}
    dead_at = victims[-1].dead_at
    effects = inbox_site.ledger.by_id("effect")
    repeats = sum(len(entries) - 1 for entries in effects.values())
    cut_off = len(inbox_site.ledger.entries("start")) - len(inbox_site.ledger.entries("done"))
    # Shown when the test fails.
    print(f"{count} deliveries, {kills} kills of each, {cut_off} handlers cut off, {repeats} repeats")  # noqa: T201
    assert set(effects) == set(ids), "lost"
    assert states == {("done", "processed"): count}
    wrong = [
        name
        for name, entries in effects.items()
        for earlier, later in pairwise(entries)
        if dead_at.get(earlier.pid, later.at) >= later.at or earlier.pid == later.pid
    ]
    assert wrong == [], "repeated although nobody killed who did it first"
    assert repeats <= kills * CONCURRENCY
    assert cut_off > kills / 3, "too few kills hit anything for this to prove something"
    records = await inbox_site.records(ids)
    assert sum(record.leases_lost for record in records) <= kills * CONCURRENCY
    inbox_site.backend.check()
