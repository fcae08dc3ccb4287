"""Workers that are asked to end while they work, and one that is stopped for longer than its lease."""

import asyncio
from pathlib import Path

import pytest

from failure.backends import INBOXES
from failure.inboxes import InboxSite
from failure.servers import Process, body, until
from failure.test_leases import stop_between_transactions

pytestmark = [
    pytest.mark.anyio,
    pytest.mark.parametrize("backend", INBOXES, indirect=True),
]

ROLES = ["worker", "both"]


async def start(site: InboxSite, role: str, **settings: object) -> Process:
    return await (site.worker(**settings) if role == "worker" else site.receive(role, None, **settings))


async def starts(site: InboxSite, count: int) -> None:
    await until(lambda: len(site.ledger.entries("start")) >= count, f"{count} handlers have started")


@pytest.mark.parametrize("role", ROLES)
async def test_handlers_finish_within_the_grace_period(inbox_site: InboxSite, role: str) -> None:
    """What runs is done once; what has not been started is left for the next, and has cost no attempt."""
    kinds = {f"msg_{n}": "threaded" if n % 2 else "awaiting" for n in range(12)}
    await inbox_site.fill((name, body(kind)) for name, kind in kinds.items())
    async with asyncio.timeout(60):
        process = await start(inbox_site, role, work=0.7, concurrency=6)
        await starts(inbox_site, 6)
        process.terminate()
        assert await process.ended(15) == 0, process.log()
        # What was taken in the last moment is put back.
        states = await inbox_site.states()
        assert {state: sum(n for (of, _), n in states.items() if of == state) for state in ("done", "pending")} == {
            "done": 6,
            "pending": 6,
        }
        await start(inbox_site, role)
        assert await inbox_site.finished() == {("done", "processed"): 12}
    assert sorted(entry.id for entry in inbox_site.ledger.entries("effect")) == sorted(kinds)
    assert {record.attempts for record in await inbox_site.records(list(kinds))} == {1}


@pytest.mark.parametrize("role", ROLES)
async def test_handlers_that_do_not_finish_run_again(inbox_site: InboxSite, role: str, tmp_path: Path) -> None:
    """They are cancelled and given back at once, however long their lease is; the attempt was one."""
    await inbox_site.fill((f"msg_{n}", body("gated")) for n in range(5))
    async with asyncio.timeout(60):
        process = await start(inbox_site, role, gate=tmp_path / "gate", lease=600.0, shutdown_grace=0.5)
        await starts(inbox_site, 5)
        process.terminate()
        assert await process.ended(12) == 0, process.log()
        assert "closes while its worker still runs 5 deliveries" in process.log()
        assert await inbox_site.states() == {("pending", "cancelled"): 5}
        await start(inbox_site, role)
        assert await inbox_site.finished() == {("done", "processed"): 5}
    records = await inbox_site.records([f"msg_{n}" for n in range(5)])
    assert {(record.attempts, record.leases_lost) for record in records} == {(2, 0)}


@pytest.mark.parametrize("role", ROLES)
async def test_a_thread_that_never_returns_does_not_keep_the_process(
    inbox_site: InboxSite, role: str, tmp_path: Path
) -> None:
    """Its lease is left to expire, so that nobody starts it again while it may be at work; then another one does."""
    await inbox_site.fill([("stuck", body("stuck")), ("other", body("awaiting"))])
    async with asyncio.timeout(60):
        process = await start(inbox_site, role, gate=tmp_path / "gate", lease=4.0, shutdown_grace=0.5)
        await starts(inbox_site, 2)
        process.terminate()
        # The rest is for cleaning up, two seconds at most, and for a slow machine.
        assert await process.ended(12) == 0, process.log()
        record = await inbox_site.record("stuck")
        assert (record.state, record.attempts) == ("leased", 1)
        assert record.lease_until is not None
        await start(inbox_site, role)
        assert await inbox_site.finished() == {("done", "processed"): 2}
        after = await inbox_site.record("stuck")
    assert (after.attempts, after.leases_lost) == (2, 1)
    assert len(inbox_site.ledger.entries("effect", "stuck")) == 1
    assert len(inbox_site.ledger.entries("effect", "other")) == 1


@pytest.mark.timeout(1500)
async def test_a_stopped_worker_is_taken_over_and_its_result_refused(
    inbox_site: InboxSite, long: bool, tmp_path: Path
) -> None:
    """A worker that was stopped for longer than its lease cannot settle: exactly one result stands."""
    gate = tmp_path / "gate"
    async with asyncio.timeout(1480):
        holder = await inbox_site.worker(gate=gate)
        for number in range(100 if long else 2):
            gate.unlink(missing_ok=True)
            name = f"msg_{number}"
            await inbox_site.fill([(name, body("gated"))])
            await starts(inbox_site, 2 * number + 1)
            await stop_between_transactions(inbox_site, holder)
            other = await inbox_site.worker()
            assert await inbox_site.finished() == {("done", "processed"): number + 1}
            result = await inbox_site.record(name)
            other.terminate()
            assert await other.ended(15) == 0, other.log()
            gate.touch()
            holder.go_on()
            refusal = f"delivery {name}: the lease was lost while a handler ran"
            await until(lambda: refusal in holder.log(), "the stale result is refused")  # noqa: B023 - awaited here
            assert await inbox_site.record(name) == result
            assert (result.attempts, result.leases_lost) == (2, 1)
            assert result.owner.endswith(f":{other.pid}")
            first, second = inbox_site.ledger.entries("effect", name)
            assert (first.pid, second.pid) == (holder.pid, other.pid)
        assert holder.exit_code is None
    inbox_site.backend.check()
