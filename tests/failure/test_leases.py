"""Holders of a lease that do not look alive: one that blocks its event loop, and one that was stopped."""

import asyncio
from pathlib import Path

import pytest

from failure.servers import Process, Server, Site, body

pytestmark = pytest.mark.anyio


@pytest.mark.parametrize(
    ("kind", "backend"),
    [
        *(("blocking", store) for store in ("sqlite", "postgres", "redis")),
        ("threaded", "sqlite"),
        *(pytest.param("threaded", store, marks=pytest.mark.long) for store in ("postgres", "redis")),
    ],
    indirect=["backend"],
)
async def test_a_busy_holder_keeps_its_lease(site: Site, kind: str) -> None:
    """A handler that takes three leases, even one that blocks its event loop, is not taken over meanwhile."""
    lease = 1.5
    holder = await site.serve(lease=lease, work=1.5 * lease)
    other = await site.serve(lease=lease)
    async with site.sender(holder) as to_holder, site.sender(other) as to_other, asyncio.timeout(60):
        message = to_holder.message(body(kind))
        first = asyncio.create_task(to_holder.attempt(message))
        await until_started(site, message.id, holder)
        while not first.done():
            await to_other.attempt(message)
            await asyncio.sleep(0.05)
        assert (await first).outcome == "processed"
        assert (await to_other.attempt(message)).outcome == "duplicate"
        assert (await to_holder.attempt(message)).outcome == "duplicate"

    start, _, done = site.ledger.entries(message_id=message.id)
    assert done.pid == holder.pid
    assert done.at - start.at > 2.9 * lease
    meanwhile = [a.attempt.outcome for a in site.answered(message.id) if a.port == other.port.number and a.at < done.at]
    assert set(meanwhile) == {"in_progress"}
    assert len(meanwhile) >= 5
    record = await site.record(message.id)
    assert (record.state, record.fence, record.leases_lost) == ("done", 1, 0)


@pytest.mark.timeout(1500)
async def test_a_stopped_holder_is_taken_over_and_its_result_refused(site: Site, long: bool, tmp_path: Path) -> None:
    """A process that was stopped for longer than its lease cannot settle, and never answers 2xx for it."""
    lease = 0.5
    gate = tmp_path / "gate"
    holder = await site.serve(lease=lease, gate=gate)
    other = await site.serve(lease=lease)
    async with site.sender(holder, timeout=60) as to_holder, site.sender(other) as to_other, asyncio.timeout(1480):
        for _ in range(200 if long else 3):
            gate.unlink(missing_ok=True)
            message = to_holder.message(body("gated"))
            stale = asyncio.create_task(to_holder.attempt(message))
            await until_started(site, message.id, holder)
            await stop_between_transactions(site, holder)
            while (attempt := await to_other.attempt(message)).outcome == "in_progress":
                await asyncio.sleep(0.05)
            assert attempt.outcome == "processed"
            result = await site.record(message.id)

            gate.touch()
            holder.go_on()
            refused = await stale
            assert (refused.status, refused.outcome) == (409, "lease_lost")
            assert refused.retry_after is not None
            assert await site.record(message.id) == result
            assert (result.state, result.reason, result.fence) == ("done", "processed", 2)
            assert result.owner.endswith(f":{other.pid}")
            first, second = site.ledger.entries("effect", message.id)
            assert (first.pid, second.pid) == (holder.pid, other.pid)
            assert second.at - first.at > lease / 2, "taken over from a holder whose lease had not ended"
            assert (await to_holder.attempt(message)).outcome == "duplicate"


async def until_started(site: Site, message_id: str, server: Server) -> None:
    async with asyncio.timeout(30):
        while not any(entry.pid == server.pid for entry in site.ledger.entries("start", message_id)):
            await asyncio.sleep(0.005)


async def stop_between_transactions(site: Site, server: Process) -> None:
    """Stop a server where it does not hold a lock that would stop the others too."""
    for _ in range(100):
        server.stop()
        if not site.backend.blocks_others():
            return
        server.go_on()
        await asyncio.sleep(0.01)
    pytest.fail("the server seems to hold the write lock all the time")
