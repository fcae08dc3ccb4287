"""Many copies of many messages at the same time, at several processes that share a store."""

import asyncio
import contextlib

import pytest

from failure.servers import Site, body

pytestmark = pytest.mark.anyio

AT_ONCE = 10
"""Messages whose copies are in flight at the same time."""


@pytest.mark.timeout(1500)
async def test_copies_at_several_processes_have_one_effect_and_no_early_acknowledgement(site: Site, long: bool) -> None:
    """However many copies come at once and wherever, one of them is worked on, and none gets a 2xx before that ends."""
    processes, messages, copies = (4, 1000, 52) if long else (2, 100, 20)
    servers = [await site.serve(work=0.03, lease=30.0) for _ in range(processes)]
    senders = [site.sender(server) for server in servers]
    slots = asyncio.Semaphore(AT_ONCE)
    ids = []

    async def storm(number: int) -> None:
        message = senders[0].message(body("threaded" if number % 4 == 0 else "awaiting"))
        ids.append(message.id)
        async with slots:
            for _ in range(50):
                answers = await asyncio.gather(*(sender.concurrent(message, copies // processes) for sender in senders))
                if any(attempt.succeeded for attempts in answers for attempt in attempts):
                    break
                await asyncio.sleep(0.1)
            again = await asyncio.gather(*(sender.attempt(message) for sender in senders))
            assert [attempt.outcome for attempt in again] == ["duplicate"] * processes

    async with contextlib.AsyncExitStack() as stack:
        for sender in senders:
            await stack.enter_async_context(sender)
        await stack.enter_async_context(asyncio.timeout(1480))
        async with asyncio.TaskGroup() as group:
            for number in range(messages):
                group.create_task(storm(number))

    acknowledged = site.acknowledged()
    assert set(acknowledged) == set(ids)
    assert len(ids) == messages
    effects = site.ledger.entries("effect")
    assert len(effects) == messages
    assert {entry.id for entry in effects} == set(ids)
    assert {entry.pid for entry in effects} == {server.pid for server in servers}, "one of them did nothing"
    early = [entry.id for entry in site.ledger.entries("done") if acknowledged[entry.id] < entry.at]
    assert early == []
    outcomes = {(a.attempt.status, a.attempt.outcome, a.attempt.retry_after is None) for a in site.answers}
    assert outcomes <= {
        (200, "processed", True),
        (200, "duplicate", True),
        (409, "in_progress", False),
        (503, "unavailable", False),
    }
    assert (409, "in_progress", False) in outcomes
    processed = [answered.attempt.message_id for answered in site.answers if answered.attempt.outcome == "processed"]
    assert sorted(processed) == sorted(ids)
