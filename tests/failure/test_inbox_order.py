"""Several workers on one store, some of which die: one job's events one at a time, the earliest first."""

import asyncio
import random
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import pytest

from failure.backends import INBOXES
from failure.inboxes import InboxSite, accept, of_job
from failure.ledger import Entry

pytestmark = [pytest.mark.anyio, pytest.mark.parametrize("backend", INBOXES, indirect=True)]

JOBS = 20
WORKERS = 4
WORK = 0.05
"""Seconds that a handler takes on each side of its effect, on average."""


class Event(NamedTuple):
    """What the test knows of a delivery."""

    job: int
    second: int


class Run(NamedTuple):
    """One start of a handler."""

    asked: float
    """When the worker asked for what it was given."""
    started: float
    ended: float
    """When it was done, or its process dead."""
    finished: bool
    id: str


def runs_of(entries: Sequence[Entry], dead_at: Mapping[int, float]) -> list[Run]:
    """Put together what the ledger says about each start."""
    runs = []
    for position, entry in enumerate(entries):
        if entry.what != "start":
            continue
        asked = max(
            other.at
            for other in entries[:position]
            if other.what == "taken" and (other.id, other.pid) == (entry.id, entry.pid)
        )
        done = [
            other.at
            for other in entries[position:]
            if other.what == "done" and (other.id, other.pid) == (entry.id, entry.pid)
        ]
        ended = min(done, default=dead_at.get(entry.pid))
        assert ended is not None, f"{entry} has no end"
        runs.append(Run(asked, entry.at, ended, bool(done), entry.id))
    return runs


def judge(runs: Sequence[Run], events: Mapping[str, Event], accepted: Mapping[str, float]) -> list[str]:
    """Say what must not have happened among one job's events."""
    wrong: list[str] = []
    for number, run in enumerate(runs):
        wrong += [
            f"{run.id} and {other.id} ran at once"
            for other in runs[number + 1 :]
            if run.started < other.ended and other.started < run.ended
        ]
    finished = {name: max(run.ended for run in runs if run.id == name) for name in {run.id for run in runs}}
    for run in runs:
        for name, end in finished.items():
            earlier = events[name].second < events[run.id].second
            if earlier and accepted[name] < run.asked and end > run.started:
                wrong.append(f"{run.id} was started before {name}, which was there and happened earlier")
    return wrong


@pytest.mark.timeout(1500)
async def test_order_by_holds_among_workers_that_die(inbox_site: InboxSite, long: bool) -> None:
    """Half of the events wait before anybody works, the others come meanwhile; no order of coming, no kill matters."""
    count, kills = (2000, 30) if long else (200, 3)
    events: dict[str, Event] = {}
    dead_at: dict[int, float] = {}
    plan = [Event(number % JOBS, number // JOBS) for number in range(count)]
    random.shuffle(plan)
    server = await inbox_site.receive("web")
    async with inbox_site.sender(server) as sender, asyncio.timeout(1480):

        async def send(some: Sequence[Event]) -> None:
            messages = await accept(sender, [of_job(*event) for event in some])
            events.update((message.id, event) for message, event in zip(messages, some, strict=True))

        await send(plan[: count // 2])
        workers = list(await asyncio.gather(*(inbox_site.worker(work=WORK) for _ in range(WORKERS))))
        rest = plan[count // 2 :]
        part = len(rest) // kills
        for number in range(kills):
            end = None if number == kills - 1 else (number + 1) * part
            await send(rest[number * part : end])
            await asyncio.sleep(random.uniform(0.05, 0.4))
            victim = workers.pop(0)
            dead_at[victim.pid] = victim.kill()
            workers.append(await inbox_site.worker(work=WORK))
        states = await inbox_site.finished(300 if long else 60)
    assert states == {("done", "processed"): count}
    entries = inbox_site.ledger.entries()
    accepted = inbox_site.acknowledged()
    wrong, all_runs = [], 0
    for job in range(JOBS):
        runs = runs_of([entry for entry in entries if events[entry.id].job == job], dead_at)
        wrong += judge(runs, events, accepted)
        all_runs += len(runs)
    assert wrong == []
    busy = {entry.pid for entry in entries}
    print(f"{count} events, {len(busy)} workers, {kills} kills, {all_runs - count} runs cut off")  # noqa: T201 - likewise
    assert len(busy) > WORKERS, "too few workers did anything for this to prove something"
    assert all_runs > count, "no kill hit a handler"
