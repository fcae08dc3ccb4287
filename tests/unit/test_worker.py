"""What a worker makes of a delivery: attempts, pauses, verdicts, limits, and its end."""

import asyncio
import contextlib
import logging
import sqlite3
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from airweave_webhooks import Delivery, Inbox, Observer, Reject, Retry, SyncEvent, UnknownEvent
from airweave_webhooks.errors import StoreUnavailable
from airweave_webhooks.stores.base import Settle
from airweave_webhooks.stores.inbox import Take, Taken
from inboxes import World, body

pytestmark = pytest.mark.anyio


@pytest.fixture
def make(tmp_path: Path) -> Callable[..., World]:
    return lambda **settings: World(tmp_path, **settings)


async def test_a_handler_runs_after_the_answer(make: Callable[..., World]) -> None:
    """The sender waits for the disk, and not for the handler."""
    world = make()
    go = asyncio.Event()

    @world.receiver.on("sync.*")
    async def handler(event: SyncEvent, delivery: Delivery) -> None:
        await go.wait()
        world.seen.append((event.event_type, delivery.id, delivery.attempt, delivery.tenant, dict(delivery.headers)))

    async with world.receiver:
        await world.accept("msg_1")
        assert (await world.record()).body == body()
        assert world.seen == []
        go.set()
        record = await world.settled()
    assert world.seen == [("sync.completed", "msg_1", 1, None, {"content-type": "application/json"})]
    assert (record.state, record.reason, record.attempts) == ("done", "processed", 1)


async def test_what_was_stored_before_is_worked_on_at_the_start(make: Callable[..., World]) -> None:
    """A crash, or a release, costs nothing that was acknowledged."""
    world = make()
    world.receiver.on("sync.*")(lambda: world.seen.append(1))
    async with world.filled(("msg_1", body()), ("msg_2", body())):
        await world.settled("msg_1", "msg_2")
    assert world.seen == [1, 1]


async def test_only_what_failed_runs_again_and_later(make: Callable[..., World]) -> None:
    """A pause that doubles, and the error of every attempt in the record."""
    world = make(first_pause=0.05, longest_pause=10.0)
    world.receiver.on("sync.*", id="good")(lambda: world.seen.append("good"))
    times: list[float] = []

    @world.receiver.on("sync.*", id="bad")
    async def bad(delivery: Delivery) -> None:
        times.append(time.monotonic())
        if delivery.attempt < 4:
            raise ZeroDivisionError(f"attempt {delivery.attempt}")

    async with world.receiver:
        await world.accept("msg_1")
        record = await world.settled()
    assert (world.seen, len(times)) == (["good"], 4)
    # At least half of each, less what the clocks may differ by.
    assert all(times[n + 1] - times[n] > 0.02 * 2**n for n in range(3))
    assert [(note.what, note.text, note.attempt) for note in record.notes] == [
        ("failed", f"ZeroDivisionError: attempt {n}", n) for n in (1, 2, 3)
    ]
    assert record.results == {"good": "processed", "bad": "processed"}


async def test_after_the_last_attempt_it_is_dead(make: Callable[..., World], caplog: pytest.LogCaptureFixture) -> None:
    """With the reason, its body, and a line in the log."""
    world = make(max_attempts=3)

    @world.receiver.on("sync.*", id="bad")
    async def bad() -> None:
        world.seen.append(1)
        raise ZeroDivisionError("always")

    with caplog.at_level(logging.ERROR):
        async with world.receiver:
            await world.accept("msg_1")
            record = await world.settled()
            assert (await world.send()).outcome == "accepted"
    assert (record.state, record.reason, record.results) == ("dead", "exhausted", {"bad": "exhausted"})
    assert (len(world.seen), record.attempts, record.error) == (3, 3, "ZeroDivisionError: always")
    assert record.body == body()
    assert "delivery msg_1 is dead (exhausted) after 3 attempts" in caplog.text


async def test_a_handler_has_a_limit_of_its_own(make: Callable[..., World]) -> None:
    """One is given up while another goes on; the record is dead when none is left."""
    world = make(max_attempts=4)

    def failing(name: str) -> Callable[[], None]:
        def handler() -> None:
            world.seen.append(name)
            raise ZeroDivisionError(name)

        return handler

    world.receiver.on("sync.*", id="once", max_attempts=1)(failing("once"))
    world.receiver.on("sync.*", id="often")(failing("often"))
    async with world.receiver:
        await world.accept("msg_1")
        record = await world.settled()
    assert sorted(world.seen) == ["often"] * 4 + ["once"]
    assert (record.state, record.results) == ("dead", {"once": "exhausted", "often": "exhausted"})


async def test_verdicts(make: Callable[..., World]) -> None:
    """`Retry` says when, `Reject` says never."""
    world = make(first_pause=30.0, longest_pause=30.0)

    @world.receiver.on("sync.completed")
    async def handler(delivery: Delivery) -> None:
        world.seen.append(time.monotonic())
        if delivery.id == "no":
            raise Reject("never")
        if delivery.attempt == 1:
            raise Retry("not yet", after=0.1)

    async with world.receiver:
        await world.accept("yes", "no")
        record = await world.settled("yes")
        assert (record.reason, record.attempts, record.notes[0].what) == ("processed", 2, "retry")
        assert world.seen[-1] - world.seen[0] >= 0.1
        record = await world.settled("no")
        assert (record.state, record.reason) == ("dead", "rejected")


def test_a_pause_is_not_longer_than_it_may_be() -> None:
    """However many attempts there were; and jitter keeps a crowd from coming back together."""
    mode = Inbox(first_pause=5.0, longest_pause=60.0)
    assert 2.5 <= mode.pause_after(1) <= 5.0
    pauses = {mode.pause_after(5000) for _ in range(20)}
    assert 30.0 <= min(pauses) < max(pauses) <= 60.0


async def test_a_handler_that_takes_too_long_has_failed(make: Callable[..., World]) -> None:
    """An async one is stopped where it waits; its own time-outs are its own."""
    world = make(max_attempts=1)

    @world.receiver.on("sync.completed", timeout=0.05, id="slow")
    async def slow() -> None:
        try:
            await asyncio.sleep(10)
        finally:
            world.seen.append("cleaned up")

    @world.receiver.on("sync.completed", timeout=5, id="own")
    async def own() -> None:
        raise TimeoutError("of its own")

    async with world.receiver:
        await world.accept("msg_1")
        record = await world.settled()
    assert world.seen == ["cleaned up"]
    assert record.error == "TimeoutError: slow ran for longer than 0.05 s\nTimeoutError: of its own"


async def test_a_thread_that_takes_too_long_is_waited_for(
    make: Callable[..., World], caplog: pytest.LogCaptureFixture
) -> None:
    """It cannot be stopped, and what it did is done: it keeps its slot and its lease, and its result counts."""
    lease = 0.8
    world = make(lease=lease, concurrency=1)
    go = threading.Event()

    @world.receiver.on("sync.completed", timeout=0.05, id="slow")
    def slow(delivery: Delivery) -> None:
        world.seen.append(delivery.id)
        go.wait(30)

    async with world.receiver:
        await world.accept("msg_1", "msg_2")
        await world.until(lambda: "still runs" in caplog.text)
        await asyncio.sleep(1.25 * lease)
        assert world.seen == ["msg_1"]
        go.set()
        record = await world.settled("msg_1")
        await world.settled("msg_2")
    assert (record.reason, record.attempts, record.leases_lost) == ("processed", 1, 0)
    assert "handler slow of delivery msg_1 still runs after 0.05 s" in caplog.text


async def test_not_more_at_once_than_the_mode_says(make: Callable[..., World]) -> None:
    """And not fewer."""
    world = make(concurrency=3)
    running: list[int] = []
    now = 0

    @world.receiver.on("sync.*")
    async def handler() -> None:
        nonlocal now
        now += 1
        running.append(now)
        await asyncio.sleep(0.01)
        now -= 1

    ids = [f"msg_{n}" for n in range(12)]
    async with world.filled(*[(name, body()) for name in ids]):
        await world.settled(*ids)
    assert max(running) == 3


async def test_a_handler_with_a_limit_keeps_no_other_waiting(make: Callable[..., World]) -> None:
    """Its own events wait in the store, where they cost no attempt."""
    world = make(concurrency=4)
    at_once = now = 0
    two, go = asyncio.Event(), asyncio.Event()

    @world.receiver.on("sync.*", concurrency=2, id="limited")
    async def limited() -> None:
        nonlocal at_once, now
        now += 1
        at_once = max(at_once, now)
        if now == 2:
            two.set()
        await go.wait()
        now -= 1

    @world.receiver.on("collection.created", id="free")
    async def free(delivery: Delivery) -> None:
        world.seen.append(delivery.id)

    names = ["sync.completed", "sync.failed", "sync.running"]
    slow = [(f"slow_{n}", body(names[n % 3])) for n in range(9)]
    quick = [(f"quick_{n}", body("collection.created")) for n in range(9)]
    async with world.filled(*slow, *quick):
        await world.settled(*[name for name, _ in quick])
        await asyncio.wait_for(two.wait(), 10)  # the quick ones may all have been taken first
        assert (now, at_once) == (2, 2)
        go.set()
        await world.settled(*[name for name, _ in slow])
        assert at_once == 2
        assert [(await world.record(name)).attempts for name, _ in slow] == [1] * 9


async def test_a_limit_for_events_of_no_known_type(make: Callable[..., World]) -> None:
    """Nobody can name their types before they come; they are put back, and cost no attempt either."""
    world = make()
    at_once = now = 0

    @world.receiver.on(UnknownEvent, concurrency=1)
    async def limited() -> None:
        nonlocal at_once, now
        now += 1
        at_once = max(at_once, now)
        await asyncio.sleep(0.02)
        now -= 1

    messages = [(f"msg_{n}", body(event_type=f"new.type_{n}")) for n in range(4)]
    async with world.filled(*messages):
        await world.settled(*[name for name, _ in messages])
    assert at_once == 1
    assert [record.attempts for record in await world.records_of(messages)] == [1] * 4


async def test_closing_waits_for_what_runs(make: Callable[..., World]) -> None:
    """And takes nothing more."""
    world = make(concurrency=1, shutdown_grace=5.0)
    started = asyncio.Event()

    @world.receiver.on("sync.*")
    async def handler(delivery: Delivery) -> None:
        started.set()
        await asyncio.sleep(0.1)
        world.seen.append(delivery.id)

    async with world.receiver:
        await world.accept("msg_1", "msg_2")
        await started.wait()
    assert world.seen == ["msg_1"]
    first, second = await world.records_of([("msg_1", b""), ("msg_2", b"")])
    assert (first.state, second.state, second.attempts) == ("done", "pending", 0)


async def test_closing_gives_back_what_does_not_end(
    make: Callable[..., World], caplog: pytest.LogCaptureFixture
) -> None:
    """With the results of the handlers that have finished; a thread's lease is left to expire."""
    world = make(shutdown_grace=0.05)
    thread = threading.Event()
    world.receiver.on("sync.completed", "sync.failed", id="first")(lambda: None)

    @world.receiver.on("sync.completed", id="slow")
    async def slow() -> None:
        world.seen.append("slow")
        await asyncio.sleep(10)

    @world.receiver.on("sync.failed", id="thread")
    def threaded() -> None:
        world.seen.append("thread")
        thread.wait(10)

    async with world.receiver:
        await world.accept("msg_1")
        await world.accept("msg_2", event=body("sync.failed"))
        await world.until(lambda: len(world.seen) == 2)
    slow_one, threaded_one = await world.records_of([("msg_1", b""), ("msg_2", b"")])
    thread.set()
    assert (slow_one.state, slow_one.reason) == ("pending", "cancelled")
    assert slow_one.results == {"first": "processed"}
    assert threaded_one.state == "leased"
    assert "closes while its worker still runs 2 deliveries" in caplog.text


async def test_a_result_of_a_lost_lease_is_refused(
    make: Callable[..., World], caplog: pytest.LogCaptureFixture
) -> None:
    """Another worker has it; this one says so and goes on."""
    lost: list[str] = []

    class Watch(Observer):
        def lease_lost(self, delivery: Delivery) -> None:
            lost.append(delivery.id)

    world = make(lease=60.0, observer=Watch())
    go = asyncio.Event()

    @world.receiver.on("sync.*")
    async def handler(delivery: Delivery) -> None:
        world.seen.append(delivery.attempt)
        if len(world.seen) == 1:
            await go.wait()

    async with world.receiver:
        await world.accept("msg_1")
        await world.until(lambda: world.seen)
        await world.store._file.write(lambda connection: connection.execute("UPDATE deliveries SET lease_until = 1"))
        await world.settled()
        go.set()
        await world.until(lambda: lost)
        record = await world.record()
    assert (lost, record.attempts, record.state) == (["msg_1"], 2, "done")
    assert "this result is refused" in caplog.text


async def test_a_lease_that_was_settled_is_not_called_lost(
    make: Callable[..., World], caplog: pytest.LogCaptureFixture
) -> None:
    """It cannot be renewed before the event loop, which may be busy, has heard of the settle; nothing is wrong."""
    world = make(lease=1.0)
    world.receiver.on("sync.*")(lambda: None)
    settle = world.store.settle

    async def slow(settles: list[Settle]) -> list[bool]:
        answers = await settle(settles)
        await asyncio.sleep(0.6)  # two rounds of renewing
        return answers

    world.store.settle = slow  # type: ignore[method-assign,assignment]
    async with world.receiver:
        await world.accept("msg_1")
        await world.settled()
    assert "lost the lease" not in caplog.text


async def test_after_an_outage_what_still_runs_is_not_taken_again(
    make: Callable[..., World], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its lease has run out, and nobody else had it: it is renewed first."""
    monkeypatch.setattr("airweave_webhooks.worker.LONGEST_OUTAGE_PAUSE", 0.05)  # sooner than the next renewal
    world = make(lease=2.0)
    world.store._file._patience = 0.1

    @world.receiver.on("sync.*")
    async def handler(delivery: Delivery) -> None:
        world.seen.append(delivery.attempt)
        await asyncio.sleep(4.5)

    async with world.receiver:
        await world.accept("msg_1")
        await world.until(lambda: world.seen)
        with contextlib.closing(sqlite3.connect(world.store.path, isolation_level=None)) as other:
            other.execute("BEGIN IMMEDIATE")
            await asyncio.sleep(3.1)
            other.execute("ROLLBACK")
        record = await world.settled()
    assert (record.reason, record.attempts, record.leases_lost, world.seen) == ("processed", 1, 0, [1])


async def test_the_observer_is_told(make: Callable[..., World]) -> None:
    """What has become of each attempt."""
    told: list[tuple[str, str, str | None]] = []

    class Watch(Observer):
        def settled(self, delivery: Delivery, state: str, reason: str | None) -> None:
            told.append((delivery.id, state, reason))

    world = make(observer=Watch())

    @world.receiver.on("sync.*")
    async def handler(delivery: Delivery) -> None:
        if delivery.attempt == 1:
            raise ZeroDivisionError

    async with world.receiver:
        await world.accept("msg_1")
        await world.settled()
    assert told == [("msg_1", "pending", "failed"), ("msg_1", "done", "processed")]


async def test_settling_is_durable_before_it_counts(make: Callable[..., World]) -> None:
    """A settle that the store refuses for good leaves the lease, and the worker alive."""
    world = make(lease=0.3)
    world.receiver.on("sync.*")(lambda: None)
    settle = world.store.settle
    fail = True

    async def failing(settles: list[Settle]) -> list[bool]:
        nonlocal fail
        if fail:
            fail = False
            raise RuntimeError("a bug in the store")
        return await settle(settles)

    world.store.settle = failing  # type: ignore[method-assign,assignment]
    async with world.receiver:
        await world.accept("msg_1")
        record = await world.settled()
    assert (record.state, record.attempts) == ("done", 2)


async def test_an_outage_of_the_store(make: Callable[..., World], caplog: pytest.LogCaptureFixture) -> None:
    """The worker says so and goes on afterwards; what a take took without an answer waits for no lease to end."""
    world = make(concurrency=1)
    world.receiver.on("sync.*")(lambda: world.seen.append(1))
    take = world.store.take
    errors: list[Exception] = [StoreUnavailable("after the commit"), StoreUnavailable("before"), ZeroDivisionError()]

    async def failing(wish: Take) -> list[Taken]:
        if errors:
            error = errors.pop(0)
            if "after" in str(error):
                assert await take(wish)
            raise error
        return await take(wish)

    world.store.take = failing  # type: ignore[method-assign,assignment]
    async with world.filled(("msg_1", body())):
        record = await world.settled()
    assert (record.attempts, record.leases_lost, world.seen) == (1, 0, [1])
    assert "the worker of receiver default waits 0.1 s: after the commit" in caplog.text
    assert "the worker of receiver default failed" in caplog.text
