"""A worker that starts, or comes back, in front of a long backlog."""

import asyncio
import time

import pytest

from failure.backends import INBOXES
from failure.inboxes import InboxSite
from failure.servers import Process, body, until

pytestmark = [pytest.mark.anyio, pytest.mark.parametrize("backend", INBOXES, indirect=True)]

RESUMES_WITHIN = 10.0
"""Seconds."""
STEADY = 1000
"""Deliveries done, after which a worker surely has got going."""
MORE_MEMORY = 30 * 2**20
"""Bytes."""


async def watched(site: InboxSite, worker: Process, count: int, before: int, seconds: float) -> int:
    """Wait until so many effects more are there than before, and return the worker's peak memory."""
    most = 0

    def done() -> bool:
        nonlocal most
        most = max(most, worker.peak_memory())
        return len(site.ledger.entries("effect")) >= before + count

    give_up = time.monotonic() + seconds
    while not done():
        assert time.monotonic() < give_up, "the backlog is not worked on"
        await asyncio.sleep(0.2)
    return most


@pytest.mark.timeout(1500)
async def test_a_restart_with_a_long_backlog(inbox_site: InboxSite, long: bool) -> None:
    """The first handler and steady work within 10 s, after a kill too, and no memory for what waits."""
    backlog = 100_000 if long else 5000
    async with asyncio.timeout(1480):
        await inbox_site.fill((f"few_{n}", body("quick")) for n in range(STEADY))
        worker = await inbox_site.worker(concurrency=100)
        small = await watched(inbox_site, worker, STEADY, 0, 60)
        # A machine that has much else to do takes longer, with a backlog or without.
        limit = max(RESUMES_WITHIN, 3 * (inbox_site.ledger.entries("effect")[STEADY - 1].at - worker.started))
        worker.terminate()
        assert await worker.ended(20) == 0, worker.log()

        await inbox_site.fill((f"many_{n}", body("quick")) for n in range(backlog))
        done = STEADY
        for again in (False, True):
            worker = inbox_site.start_worker(concurrency=100)
            large = await watched(inbox_site, worker, STEADY, done, 60)
            entries = [entry.at for entry in inbox_site.ledger.entries("effect") if entry.pid == worker.pid]
            first, steady = entries[0] - worker.started, entries[STEADY - 1] - worker.started
            figures = f"first after {first:.2f} s, {STEADY} after {steady:.2f} s, {large / small:.2f} of the memory"
            print(f"{backlog} pending: {figures}")  # noqa: T201 - shown when the test fails
            assert max(first, steady) < limit
            assert large < small + MORE_MEMORY
            if not again:
                worker.kill()
                done = len(inbox_site.ledger.entries("effect"))
        large = await watched(inbox_site, worker, STEADY + backlog - done, done, 600 if long else 60)
        assert large < small + MORE_MEMORY
        assert await inbox_site.finished() == {("done", "processed"): STEADY + backlog}
    assert len(inbox_site.ledger.by_id("effect")) == STEADY + backlog


async def test_one_that_is_starting_up_does_not_keep_senders_waiting(inbox_site: InboxSite) -> None:
    """With a backlog to work on, deliveries are still acknowledged at once by the same process."""
    await inbox_site.fill((f"old_{n}", body("quick")) for n in range(3000))
    server = await inbox_site.receive("both", concurrency=100)
    async with inbox_site.sender(server) as sender, asyncio.timeout(60):
        took = []
        for _ in range(20):
            before = time.monotonic()
            attempt = await sender.attempt(sender.message(body("quick")))
            assert (attempt.status, attempt.outcome) == (200, "accepted")
            took.append(time.monotonic() - before)
        await until(lambda: len(inbox_site.ledger.entries("effect")) == 3020, "all is done")
    assert max(took) < 5.0, took
