"""A deployment: the server is asked to end while it works."""

import asyncio
from pathlib import Path

import pytest

from failure.servers import Site, body, until

# Whatever the store: the others need not show it again.
pytestmark = [pytest.mark.anyio, pytest.mark.parametrize("backend", ["sqlite"], indirect=True)]


@pytest.mark.parametrize("kind", ["awaiting", "threaded"])
async def test_a_handler_finishes_within_the_grace_period(site: Site, kind: str) -> None:
    """A handler that runs when the server is asked to end is waited for, and its sender gets the 200."""
    server = await site.serve(work=0.7)
    async with site.sender(server) as sender, asyncio.timeout(60):
        message = sender.message(body(kind))
        sending = asyncio.create_task(sender.attempt(message))
        await until(lambda: site.ledger.entries("start"), "the handler has started")
        server.terminate()
        attempt = await sending
        assert (attempt.status, attempt.outcome) == (200, "processed")
        assert await server.ended(30) == 0, server.log()
    assert [entry.what for entry in site.ledger.entries()] == ["start", "effect", "done"]
    record = await site.record(message.id)
    assert (record.state, record.reason) == ("done", "processed")


@pytest.mark.parametrize("kind", ["awaiting", "threaded"])
async def test_a_handler_that_outlived_its_answer_is_waited_for(site: Site, kind: str) -> None:
    """No request is left when the server closes the receiver, but a handler is: it finishes, and the retry is told."""
    server = await site.serve(work=1.0, answer_within=0.3)
    async with site.sender(server) as sender, asyncio.timeout(60):
        message = sender.message(body(kind))
        attempt = await sender.attempt(message)
        assert (attempt.status, attempt.outcome) == (503, "still_running")
        server.terminate()
        assert await server.ended(30) == 0, server.log()
        assert [entry.what for entry in site.ledger.entries()] == ["start", "effect", "done"]
        record = await site.record(message.id)
        assert (record.state, record.reason) == ("done", "processed")

        await site.serve(server.port)
        assert (await sender.attempt(message)).outcome == "duplicate"
    assert len(site.ledger.entries("effect")) == 1


async def test_a_handler_that_never_returns_does_not_keep_the_process(site: Site, tmp_path: Path) -> None:
    """A thread cannot be cancelled: the process ends all the same, and another takes the delivery over."""
    gate = tmp_path / "gate"
    server = await site.serve(gate=gate, lease=2.0, answer_within=1.0, shutdown_grace=1.0)
    async with site.sender(server) as sender, asyncio.timeout(100):
        message = sender.message(body("stuck"))
        sending = asyncio.create_task(sender.attempt(message))
        await until(lambda: site.ledger.entries("start"), "the handler has started")
        server.terminate()
        attempt = await sending
        assert (attempt.status, attempt.outcome) == (503, "still_running")
        # A second each for the answer and for the grace period, two to clean up, and the rest for a slow machine.
        assert await server.ended(12) == 0, server.log()
        record = await site.record(message.id)
        assert (record.state, record.fence) == ("leased", 1)
        assert site.ledger.entries("effect") == []

        successor = await site.serve(server.port)
        for _ in range(200):
            attempt = await sender.attempt(message)
            if attempt.outcome != "in_progress":
                break
            await asyncio.sleep(0.05)
        assert (attempt.status, attempt.outcome) == (200, "processed")
    assert [entry.pid for entry in site.ledger.entries("effect")] == [successor.pid]
    record = await site.record(message.id)
    assert (record.state, record.fence, record.leases_lost) == ("done", 2, 1)


async def test_a_handler_that_is_cancelled_gives_its_lease_back(site: Site, tmp_path: Path) -> None:
    """What the grace period is too short for is cancelled, and the next process need not wait for the lease."""
    server = await site.serve(gate=tmp_path / "gate", lease=600.0, answer_within=1.0, shutdown_grace=0.5)
    async with site.sender(server) as sender, asyncio.timeout(100):
        message = sender.message(body("gated"))
        sending = asyncio.create_task(sender.attempt(message))
        await until(lambda: site.ledger.entries("start"), "the handler has started")
        server.terminate()
        attempt = await sending
        assert (attempt.status, attempt.outcome) == (503, "still_running")
        assert await server.ended(12) == 0, server.log()
        record = await site.record(message.id)
        assert (record.state, record.reason, record.fence) == ("pending", "cancelled", 1)

        successor = await site.serve(server.port)
        assert (await sender.attempt(message)).outcome == "processed"
    assert [entry.pid for entry in site.ledger.entries("done")] == [successor.pid]
    record = await site.record(message.id)
    assert (record.state, record.fence, record.leases_lost) == ("done", 2, 0)
