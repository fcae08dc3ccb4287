"""A server that is killed again and again, and a sender that keeps coming back."""

import asyncio
import os
import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import NamedTuple

import psycopg
import pytest
from psycopg.sql import SQL, Identifier

from airweave_webhooks.integrations.psycopg import once_table
from airweave_webhooks.testing import Result
from failure.ledger import Entry
from failure.servers import Site, body, keys_of
from servers.postgres import PostgresServer

pytestmark = pytest.mark.anyio

CONCURRENCY = 8
PER_LIFE = 40
"""New deliveries for every life of the server."""


@dataclass
class Deaths:
    """What the test knows of the processes that it killed."""

    at: dict[int, float] = field(default_factory=dict[int, float])
    """When each process was surely dead."""
    settled: dict[str, int] = field(default_factory=dict[str, int])
    """After how many kills each delivery was found settled in the store first."""

    async def look(self, site: Site, ids: list[str]) -> None:
        """See which deliveries are settled, of those that were not before."""
        async with site.backend.snapshot() as store:
            found = await store.get(keys_of(name for name in ids if name not in self.settled))
        for record in found:
            if record is not None and record.state == "done":
                self.settled[record.key.key] = len(self.at)


def judge(
    ids: list[str], effects: Mapping[str, list[Entry]], acknowledged: Mapping[str, float], deaths: Deaths
) -> list[str]:
    """Say what must not have happened, by the ledger and by what the sender saw."""
    wrong = []
    killed = list(deaths.at)
    for name in ids:
        if name not in acknowledged:
            wrong.append(f"{name} was never acknowledged")
        if not effects.get(name):
            wrong.append(f"{name} is lost")
            continue
        if name in acknowledged and effects[name][0].at > acknowledged[name]:
            wrong.append(f"{name} was acknowledged before it was handled")
        if name in acknowledged and effects[name][-1].at > acknowledged[name]:
            wrong.append(f"{name} was handled again after it was acknowledged")
        for earlier, later in pairwise(effects[name]):
            if earlier.pid not in deaths.at or later.pid == earlier.pid:
                wrong.append(f"{name} was handled again, but nobody killed who handled it first")
            elif later.at < deaths.at[earlier.pid]:
                wrong.append(f"{name} was handled again while who handled it first still lived")
        if name in deaths.settled and set(killed[: deaths.settled[name]]).isdisjoint({effects[name][-1].pid}):
            wrong.append(f"{name} was handled again after it was settled")
    repeats = sum(len(entries) - 1 for entries in effects.values())
    if repeats > len(killed) * CONCURRENCY:
        wrong.append(f"{repeats} repeats are more than was in flight at {len(killed)} kills")
    return wrong


class Story(NamedTuple):
    """What happened while a server was killed again and again."""

    ids: list[str]
    deaths: Deaths
    hits: int
    """Kills that met requests in flight."""


async def live_and_die(site: Site, kills: int, kinds: Sequence[str], **settings: object) -> Story:
    """Kill a server again and again, while a sender keeps coming back until somebody answers; then resend all."""
    leases = [0.5, 4.0]  # shorter and longer than it takes to start again
    deaths = Deaths()
    sending: list[asyncio.Task[Result]] = []
    ids: list[str] = []
    port = site.port()
    hits = 0
    # Five seconds are 0.4.
    sender = site.sender(port, concurrency=CONCURRENCY, schedule=[5.0] * 1000, time_scale=0.08)
    async with sender:
        async with asyncio.TaskGroup() as group:
            for _ in range(kills):
                server = await site.serve(port, lease=random.choice(leases), work=0.025, **settings)
                for _ in range(PER_LIFE):
                    message = sender.message(body(random.choice(kinds)))
                    ids.append(message.id)
                    sending.append(group.create_task(sender.deliver(message)))
                await asyncio.sleep(random.uniform(0.05, 0.25))  # it has work for 0.25 s at least
                hits += sender.in_flight > 0
                deaths.at[server.pid] = server.kill()
                await deaths.look(site, ids)
            await site.serve(port, **settings)
        assert [task.result().message.id for task in sending] == ids
        again = await asyncio.gather(*(sender.resend(message_id) for message_id in ids))
    assert {(attempt.status, attempt.outcome) for attempt in again} == {(200, "duplicate")}
    return Story(ids, deaths, hits)


@pytest.mark.timeout(1800)
async def test_kill_at_random_moments_loses_nothing_and_repeats_only_what_was_cut_off(site: Site, long: bool) -> None:
    """Every acknowledged event is handled; an effect repeats only if its process was killed before it had settled."""
    kills = 250 if long else 6
    async with asyncio.timeout(1780):
        ids, deaths, hits = await live_and_die(site, kills, ["awaiting", "awaiting", "threaded"])
    effects = site.ledger.by_id("effect")
    repeats = sum(len(entries) - 1 for entries in effects.values())
    cut_off = len(site.ledger.entries("start")) - len(site.ledger.entries("done"))
    summary = f"{kills} kills ({hits} in mid-request), {cut_off} handlers cut off, {repeats} repeats"
    print(f"{len(ids)} deliveries, {summary}")  # noqa: T201 - shown when the test fails
    assert judge(ids, effects, site.acknowledged(), deaths) == []
    assert set(effects) == set(ids)
    assert min(hits, cut_off) > kills / 3, "too few kills hit anything for this to prove something"
    assert {(record.state, record.reason) for record in await site.records(ids)} == {("done", "processed")}
    site.backend.check()


@pytest.mark.timeout(1800)
@pytest.mark.parametrize("backend", ["postgres", "redis"], indirect=True)
async def test_with_once_nothing_is_done_twice(site: Site, long: bool, postgres_server: PostgresServer) -> None:
    """Whatever moment a process is killed in: each delivery has one effect, and no handler was left out."""
    kills = 250 if long else 6
    table = f"effects_{os.urandom(4).hex()}"
    with psycopg.connect(postgres_server.url, autocommit=True) as connection:
        connection.execute(once_table())
        connection.execute(SQL("CREATE TABLE {} (id text)").format(Identifier(table)))
    async with asyncio.timeout(1780):
        ids, _, hits = await live_and_die(site, kills, ["counted"], effects=postgres_server.url, effects_table=table)
    with psycopg.connect(postgres_server.url) as connection:
        counted = connection.execute(SQL("SELECT id FROM {}").format(Identifier(table))).fetchall()
    assert sorted(name for (name,) in counted) == sorted(ids)
    starts = site.ledger.by_id("start")
    repeated = [name for name in ids if len(starts[name]) > 1]
    print(f"{len(ids)} deliveries, {kills} kills ({hits} in mid-request), {len(repeated)} started again")  # noqa: T201
    assert len(repeated) > kills / 3, "too few were started twice for this to prove something"
