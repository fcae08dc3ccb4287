"""Deliveries that fail always, block their thread, or end their process: the others are done all the same."""

import asyncio
import random
from collections.abc import Mapping

import pytest

from failure.backends import INBOXES
from failure.inboxes import InboxSite
from failure.servers import Process, body

pytestmark = [pytest.mark.anyio, pytest.mark.parametrize("backend", INBOXES, indirect=True)]

MAX_ATTEMPTS = 4


async def supervise(site: InboxSite, most: int, **settings: object) -> list[Process]:
    """Start a worker, and another one whenever it has died, until a minute's work is done. Return the dead ones."""
    done = asyncio.create_task(site.finished(60))
    dead: list[Process] = []
    try:
        while not done.done():
            assert len(dead) <= most, f"{len(dead)} workers died"
            worker = site.start_worker(**settings)
            while worker.exit_code is None and not done.done():
                await asyncio.sleep(0.02)
            if worker.exit_code is not None:
                dead.append(worker)
        await done
    finally:
        done.cancel()
    return dead


@pytest.mark.timeout(600)
@pytest.mark.parametrize("kind", ["killer", "quitter"])
async def test_what_ends_its_process_ends_dead_and_takes_nobody_along(inbox_site: InboxSite, kind: str) -> None:
    """It is started as often as the limit says; a neighbour loses its lease twice at most, and is done."""
    kinds = {f"good_{n}": "threaded" if n % 4 == 0 else "awaiting" for n in range(30)}
    kinds |= {"killer": kind, "poison": "poison"}
    await inbox_site.fill((name, body(kinds[name])) for name in random.sample(sorted(kinds), len(kinds)))
    dead = await supervise(inbox_site, MAX_ATTEMPTS, max_attempts=MAX_ATTEMPTS, concurrency=16, work=0.02)
    assert len(dead) == MAX_ATTEMPTS
    assert len(inbox_site.ledger.entries("start", "killer")) == MAX_ATTEMPTS
    await judge(inbox_site, kinds)


@pytest.mark.timeout(600)
async def test_several_killers_at_once(inbox_site: InboxSite, long: bool) -> None:
    """Each costs as many processes as it has attempts, and not more, however many there are."""
    good, killers = (500, 5) if long else (20, 1)
    kinds = {f"good_{n}": "awaiting" for n in range(good)} | {"poison": "poison", "sluggish": "sluggish"}
    kinds |= {f"{kind}_{n}": kind for kind in ("killer", "quitter") for n in range(killers)}
    await inbox_site.fill((name, body(kinds[name])) for name in random.sample(sorted(kinds), len(kinds)))
    most = 2 * killers * 3
    dead = await supervise(inbox_site, most, max_attempts=3, concurrency=16, work=0.02)
    # Shown when the test fails. Two killers that run at the same time share a process.
    print(f"{len(dead)} processes died, of {most} at most")  # noqa: T201
    await judge(inbox_site, kinds)
    for name, kind in kinds.items():
        if kind in {"killer", "quitter"}:
            # An attempt is counted when it is given out: the other killer may end the process before it is started.
            assert 1 <= len(inbox_site.ledger.entries("start", name)) <= 3


async def judge(site: InboxSite, kinds: Mapping[str, str]) -> None:
    """Say what must have become of each."""
    effects = site.ledger.by_id("effect")
    for record in await site.records(list(kinds)):
        if kinds[record.message_id] in {"killer", "quitter", "poison"}:
            assert (record.state, record.reason) == ("dead", "exhausted"), record
            assert record.body is not None
        else:
            assert (record.state, record.reason) == ("done", "processed"), record
            assert effects[record.message_id]
            assert record.leases_lost <= 2, record


@pytest.mark.timeout(120)
async def test_handlers_that_block_keep_nobody_waiting(inbox_site: InboxSite) -> None:
    """A thread that is busy for long costs the others nothing, and keeps its lease; so does a blocked event loop."""
    slow = {f"slow_{n}": body("stuck") for n in range(4)}
    quick = {f"quick_{n}": body("quick") for n in range(100)}
    others = {"sluggish": body("sluggish"), "poison": body("poison")}
    await inbox_site.fill([*slow.items(), *others.items(), *quick.items()])
    worker = await inbox_site.worker(gate="never", shutdown_grace=0.1, max_attempts=MAX_ATTEMPTS)
    async with asyncio.timeout(60):
        while len(inbox_site.ledger.entries("effect")) < 101:
            await asyncio.sleep(0.05)
        await asyncio.sleep(1.0)  # two leases
    for record in await inbox_site.records([*slow, *others]):
        assert record.leases_lost == 0, record
    assert len(inbox_site.ledger.entries("start")) == len(slow) + 1 + MAX_ATTEMPTS
    poison = await inbox_site.record("poison")
    assert (poison.state, poison.reason, poison.attempts) == ("dead", "exhausted", MAX_ATTEMPTS)
    assert "lost the lease" not in worker.log()
    worker.terminate()
    assert await worker.ended(12) == 0, worker.log()
