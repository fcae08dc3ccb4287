"""The store's server dies, restarts, or loses connections in the midst of a commit, while deliveries come."""

import asyncio
import time
from typing import Any

import pytest

from airweave_webhooks.testing import Result
from failure.backends import ServerBackend
from failure.servers import LoggingSender, Site, body
from servers.proxy import proxied

pytestmark = [pytest.mark.anyio, pytest.mark.parametrize("backend", ["postgres", "redis"], indirect=True)]

BACK_WITHIN = 5.0
"""Seconds from the server's return to the next delivery that is processed."""
LEASE = 3.0
"""Seconds. What was claimed by a call whose answer was lost belongs to nobody until then."""


class Traffic:
    """New deliveries all the time, each sent again until it is acknowledged."""

    def __init__(self, sender: LoggingSender, group: asyncio.TaskGroup) -> None:
        self._sender = sender
        self._group = group
        self._sending: list[asyncio.Task[Result]] = []
        self.ids: list[str] = []

    async def go_on(self, seconds: float) -> None:
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            message = self._sender.message(body("awaiting"))
            self.ids.append(message.id)
            self._sending.append(self._group.create_task(self._sender.deliver(message)))
            await asyncio.sleep(0.02)

    def failed(self) -> list[str]:
        return [task.result().message.id for task in self._sending if not task.result().succeeded]


async def judge(site: Site, traffic: Traffic) -> None:
    """Say what must not have happened, by the ledger, the sender and the store."""
    assert traffic.failed() == []
    effects = site.ledger.by_id("effect")
    assert set(effects) == set(traffic.ids), "lost"
    acknowledged = site.acknowledged()
    early = [name for name in traffic.ids if effects[name][0].at > acknowledged[name]]
    assert early == [], "acknowledged before it was handled"
    late = [name for name in traffic.ids if effects[name][-1].at > acknowledged[name]]
    assert late == [], "handled again after it was acknowledged"
    assert {(record.state, record.reason) for record in await site.records(traffic.ids)} == {("done", "processed")}
    statuses = {answered.attempt.status for answered in site.answers}
    assert statuses <= {200, 409, 503}, statuses
    repeats = sum(len(entries) - 1 for entries in effects.values())
    print(f"{len(traffic.ids)} deliveries, {repeats} repeats, statuses {statuses}")  # noqa: T201 - shown on failure


@pytest.mark.parametrize("way", ["stop", "kill"])
async def test_the_server_goes_and_comes_back(site: Site, backend: ServerBackend, way: str) -> None:
    """Meanwhile there is 503 and nothing else; afterwards it goes on by itself, and nothing is lost."""
    app = await site.serve(lease=LEASE)
    before = backend.connections()
    sender = site.sender(app, schedule=[5.0] * 2000, time_scale=0.04)
    async with sender, asyncio.timeout(100):
        async with asyncio.TaskGroup() as group:
            traffic = Traffic(sender, group)
            await traffic.go_on(1.0)
            gone = time.monotonic()
            await asyncio.to_thread(getattr(backend.server, way))
            await traffic.go_on(2.0)
            starts = time.monotonic()
            await asyncio.to_thread(backend.server.start)
            back = time.monotonic()
            await traffic.go_on(2.0)
        await judge(site, traffic)
    meanwhile = {a.attempt.status for a in site.answers if gone + 0.5 < a.at < starts}
    assert meanwhile == {503}
    first = min(a.at for a in site.answers if a.at > starts and a.attempt.outcome == "processed")
    assert first - back < BACK_WITHIN
    assert backend.connections() <= before + 4, "connections leak"
    assert "Traceback" not in app.log()


@pytest.mark.parametrize("moment", ["before", "during"])
async def test_connections_are_cut_in_the_midst_of_commits(site: Site, backend: ServerBackend, moment: Any) -> None:
    """Whether a commit was done or not when its answer is lost: asking again finds out, and nothing happens twice."""
    async with proxied(backend.server.port) as proxy, asyncio.timeout(100):
        app = await site.serve(lease=LEASE, store=backend.url_through(proxy.port))
        sender = site.sender(app, schedule=[5.0] * 2000, time_scale=0.04)
        async with sender:
            async with asyncio.TaskGroup() as group:
                traffic = Traffic(sender, group)
                proxy.moments, proxy.chance = (moment,), 0.1
                await traffic.go_on(4.0)
                while proxy.cuts <= 20:  # a busy machine sends less
                    await traffic.go_on(1.0)
                proxy.chance = 0.0
            await judge(site, traffic)
        assert proxy.cuts > 20
        assert proxy.most_connections < 20, "connections leak"
        effects = site.ledger.by_id("effect")
        repeated = [name for name, entries in effects.items() if len(entries) > 1]
        # A claim or a settle that was asked again is recognised; only who gave up in between leaves a lease to expire.
        assert len(repeated) <= proxy.cuts
        app.terminate()
        assert await app.ended(30) == 0, app.log()
