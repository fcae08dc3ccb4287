"""What a worker does first, what it leaves out, and what it gives up: order, stale events, drift, killers."""

import asyncio
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from airweave_webhooks import Delivery, SyncEvent, UnknownEvent
from airweave_webhooks.stores.inbox import Backlog
from airweave_webhooks.testing.contracts import opened
from inboxes import World, body

pytestmark = pytest.mark.anyio

JOBS = [f"00000000-0000-4000-8000-{n:012d}" for n in range(5)]


@pytest.fixture
def make(tmp_path: Path) -> Callable[..., World]:
    return lambda **settings: World(tmp_path, **settings)


def of_job(job: int, second: int, event_type: str = "sync.running") -> bytes:
    return body(event_type, sync_job_id=JOBS[job], timestamp=f"2026-11-20T09:00:{second:02d}Z")


async def test_order_by(make: Callable[..., World]) -> None:
    """One job's events one at a time, by their own time; an unfinished one blocks its job and no other."""
    world = make(first_pause=0.1, longest_pause=0.1)
    running: set[str] = set()

    @world.receiver.on("sync.*", order_by="sync_job_id")
    async def handler(event: SyncEvent, delivery: Delivery) -> None:
        job = str(event.sync_job_id)
        assert job not in running
        running.add(job)
        await asyncio.sleep(0.005)
        running.discard(job)
        world.seen.append((delivery.id, delivery.attempt))
        if delivery.id == "a1" and delivery.attempt < 3:
            raise ZeroDivisionError

    async with world.filled(
        ("a3", of_job(0, 3)), ("a1", of_job(0, 1)), ("b2", of_job(1, 2)), ("a2", of_job(0, 2)), ("b1", of_job(1, 1))
    ):
        await world.settled("a1", "a2", "a3", "b1", "b2")
    of_a = [entry for entry in world.seen if entry[0].startswith("a")]
    assert of_a == [("a1", 1), ("a1", 2), ("a1", 3), ("a2", 1), ("a3", 1)]
    assert [entry for entry in world.seen if entry[0].startswith("b")] == [("b1", 1), ("b2", 1)]
    assert world.seen.index(("b2", 1)) < world.seen.index(("a1", 3)), "the other job did not wait"


async def test_a_dead_head_blocks_nobody(make: Callable[..., World]) -> None:
    """What nobody will finish is not waited for."""
    world = make(max_attempts=1)

    @world.receiver.on("sync.*", order_by="sync_job_id")
    async def handler(delivery: Delivery) -> None:
        if delivery.id == "a1":
            raise ZeroDivisionError

    async with world.filled(("a1", of_job(0, 1)), ("a2", of_job(0, 2))):
        record = await world.settled("a1", "a2")
    assert (record.state, record.reason) == ("done", "processed")


async def test_an_event_without_the_field_has_no_order(make: Callable[..., World]) -> None:
    """The older shape has no `sync_id`; nothing waits for it."""
    world = make()
    world.receiver.on("sync.*", order_by="sync_id")(lambda: None)
    async with world.receiver:
        await world.accept("msg_1", event=body(sync_id=None))
        record = await world.settled()
    assert record.origin is not None
    assert record.origin.order == ""


async def test_stale_events_are_dropped_where_it_is_asked_for(make: Callable[..., World]) -> None:
    """A `running` after its `completed`; visibly, and only by the handler that said so."""
    world = make()

    @world.receiver.on("sync.*", order_by="sync_job_id", stale="drop", id="dropper")
    async def dropper(delivery: Delivery) -> None:
        world.seen.append(("dropper", delivery.id))

    @world.receiver.on("sync.running", order_by="sync_job_id", id="keeper", source_type="kept")
    async def keeper(delivery: Delivery) -> None:
        world.seen.append(("keeper", delivery.id))

    async with world.receiver:
        await world.accept("completed", event=of_job(0, 9, "sync.completed"))
        await world.settled("completed")
        await world.accept("running", event=of_job(0, 1))
        await world.accept("other", event=of_job(1, 1))
        kept = body("sync.running", sync_job_id=JOBS[0], timestamp="2026-11-20T09:00:02Z", source_type="kept")
        await world.accept("kept", event=kept)
        stale, other, both = [await world.settled(name) for name in ("running", "other", "kept")]
    assert world.seen == [("dropper", "completed"), ("dropper", "other"), ("keeper", "kept")]
    assert (stale.reason, stale.results) == ("stale", {"dropper": "stale"})
    assert other.reason == "processed"
    assert (both.reason, both.results) == ("processed", {"dropper": "stale", "keeper": "processed"})


async def test_what_drifted_is_kept_for_an_upgrade(make: Callable[..., World]) -> None:
    """It is dead with its body, whatever the handlers that took it as it was have made of it."""
    world = make()
    world.receiver.on("sync.completed", id="typed")(lambda: world.seen.append("typed"))
    world.receiver.on(UnknownEvent, id="unknown")(lambda: world.seen.append("unknown"))
    drifted = body(sync_job_id=["not", "an", "id"])
    async with world.receiver:
        await world.accept("msg_1", event=drifted)
        record = await world.settled()
    assert (record.state, record.reason, record.body, world.seen) == ("dead", "drift", drifted, ["unknown"])


@pytest.mark.parametrize(("event", "found"), [(body(), ("done", "ignored")), (body(sync_job_id=5), ("dead", "drift"))])
async def test_handlers_that_are_gone(make: Callable[..., World], event: bytes, found: tuple[str, str]) -> None:
    """A release that no longer handles what an older one has stored does not keep it."""
    world = make()
    world.receiver.on("*", id="gone")(lambda: None)
    await world.fill(("msg_1", event))
    newer = make()
    newer.receiver.on("sync.completed", source_type="other")(lambda: newer.seen.append(1))
    async with newer.receiver:
        record = await newer.settled()
    assert (record.state, record.reason, record.attempts, newer.seen) == (*found, 0, [])


async def test_what_lost_its_lease_twice_runs_alone(
    make: Callable[..., World], caplog: pytest.LogCaptureFixture
) -> None:
    """When the others are done, and while none is started; it is not their fault if it ends the process."""
    world = make(concurrency=10)
    running: set[str] = set()

    @world.receiver.on("sync.*")
    async def handler(delivery: Delivery) -> None:
        running.add(delivery.id)
        world.seen.append((delivery.id, frozenset(running)))
        await asyncio.sleep(0.05)
        running.discard(delivery.id)

    await world.fill(("suspicious", body()))
    await world.lose_leases(2)
    async with world.receiver:
        await world.accept(*[f"msg_{n}" for n in range(5)])
        await world.settled(*[f"msg_{n}" for n in range(5)])
        record = await world.settled("suspicious")
    assert dict(world.seen)["suspicious"] == {"suspicious"}
    assert (record.reason, record.attempts, record.leases_lost) == ("processed", 3, 2)
    assert "delivery suspicious has lost its lease 2 times, as if it ended its process: it runs alone" in caplog.text


async def test_what_always_ends_its_process_is_dead_without_another_start(make: Callable[..., World]) -> None:
    """Starts are counted when they are made, so that the limit holds for those that nobody came back from."""
    world = make(max_attempts=3)
    world.receiver.on("sync.*", id="killer")(lambda: world.seen.append(1))
    await world.fill(("msg_1", body()))
    await world.lose_leases(3)
    async with world.receiver:
        record = await world.settled()
    assert (record.state, record.reason, record.attempts, world.seen) == ("dead", "exhausted", 3, [])
    assert record.error == "NeverReturned: killer: the process died, or stood still, in attempt 3"
    assert [note.what for note in record.notes] == ["lease_lost"] * 3 + ["exhausted"]


async def test_a_body_that_cannot_be_read_any_more(make: Callable[..., World]) -> None:
    """It is tried as often as any other, and then dead: it blocks nobody, and is there to be looked at."""
    world = make(max_attempts=2)
    world.receiver.on("sync.*")(lambda: None)
    await world.fill(("msg_1", body()))
    async with opened(lambda: world.store):
        await world.store._file.write(lambda connection: connection.execute("UPDATE deliveries SET body = x'ff'"))
    async with world.receiver:
        record = await world.settled()
    assert (record.state, record.reason, record.attempts) == ("dead", "exhausted", 2)
    assert (record.error or "").startswith("InvalidPayload: ")


async def test_others_are_waited_for_but_not_for_ever(
    make: Callable[..., World], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A long handler keeps a suspect waiting, and the suspect keeps nobody else waiting for it."""
    monkeypatch.setattr("airweave_webhooks.worker.DRAIN_FOR", 0.1)
    monkeypatch.setattr("airweave_webhooks.worker.DRAIN_AGAIN_AFTER", 0.2)
    world = make(concurrency=2)
    go = asyncio.Event()

    @world.receiver.on("sync.*")
    async def handler(delivery: Delivery) -> None:
        world.seen.append(delivery.id)
        if delivery.id == "long":
            await go.wait()

    await world.fill(("suspicious", body()))
    await world.lose_leases(2)
    await world.fill(("long", body()))
    world.receiver.on("search.failed", id="late")(lambda: None)

    async def leave(seconds: float) -> None:
        await world.store._file.write(
            lambda connection: connection.execute(
                "UPDATE deliveries SET lease_until = ? WHERE key = 'suspicious'", [time.time() + seconds]
            )
        )

    async with opened(lambda: world.store):
        await leave(600)  # so that the long one is started first
    async with world.receiver:
        await world.until(lambda: world.seen == ["long"])
        await leave(-1)
        world.receiver._pipelines[asyncio.get_running_loop()]._worker.note(Backlog(suspects=1))  # type: ignore[union-attr]
        await world.accept("msg_1")
        await world.settled("msg_1")
        assert "suspicious" not in world.seen
        go.set()
        await world.settled("suspicious")
    assert world.seen == ["long", "msg_1", "suspicious"]


async def test_a_suspect_that_nobody_may_have_stops_nothing(make: Callable[..., World]) -> None:
    """Others are not waited for again and again for the sake of one that waits for its order."""
    world = make()
    go = asyncio.Event()

    @world.receiver.on("sync.*")
    async def handler(delivery: Delivery) -> None:
        if delivery.id == "long":
            await go.wait()

    async with world.receiver:
        worker = world.receiver._pipelines[asyncio.get_running_loop()]._worker
        assert worker is not None
        worker.note(Backlog(suspects=1))
        await asyncio.sleep(0.1)
        await world.accept("long")
        await world.settled("long", state="leased")
        worker.note(Backlog(suspects=1))
        await world.accept("msg_1")
        await world.settled("msg_1")
        go.set()
