"""Opening, closing, deadlines, lost leases and outages: what happens round a delivery."""

import asyncio
import logging
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

from airweave_webhooks import (
    ConfigurationError,
    Delivery,
    Inline,
    MemoryStore,
    Observer,
    Receiver,
    Reject,
    Reply,
    SQLiteStore,
    SyncEvent,
    UnknownEvent,
    natural_key,
)
from airweave_webhooks.errors import Refused, StoreUnavailable
from airweave_webhooks.stores.base import Claim, Facts, Key, Record, Settle
from airweave_webhooks.testing.payloads import payload
from conftest import SECRET, sign

pytestmark = pytest.mark.anyio

BODY = payload("sync.completed")


def a_receiver(handler: Callable[..., Any] | None = None, **settings: Any) -> Receiver:
    receiver = Receiver(**{"secrets": SECRET} | settings)
    if handler is not None:
        receiver.on("sync.*")(handler)
    return receiver


async def send(receiver: Receiver, message_id: str = "msg_1", body: bytes = BODY) -> Reply:
    return await receiver.handle(sign(body, message_id=message_id), body)


async def record_of(receiver: Receiver, key: str = "msg_1") -> Record:
    (record,) = await receiver.store.get([Key(receiver.name, "", key)])
    assert record is not None
    return record


async def test_entering_twice_counts_references() -> None:
    """The application and the user's own block both open it; the last one to leave closes it."""
    receiver = a_receiver()
    async with receiver:
        async with receiver:
            pass
        assert (await send(receiver)).outcome == "ignored"
        assert receiver.is_open
    assert not receiver.is_open


async def test_it_can_be_opened_again() -> None:
    """And remembers what its store remembers."""
    receiver = a_receiver()
    for outcome in ("ignored", "duplicate"):
        async with receiver:
            assert (await send(receiver)).outcome == outcome


async def test_opening_needs_a_secret(monkeypatch: pytest.MonkeyPatch) -> None:
    """It is read when the receiver opens, so that an import needs none."""
    receiver = Receiver()
    with pytest.raises(ConfigurationError, match="AIRWEAVE_WEBHOOK_SECRET"):
        await receiver.__aenter__()
    monkeypatch.setenv("AIRWEAVE_WEBHOOK_SECRET", SECRET)
    async with receiver:
        assert (await send(receiver)).status == 200


async def test_opening_checks_the_handlers() -> None:
    """What no provider fills fails before the first request, not in it."""

    def handler(database: sqlite3_like) -> None: ...

    with pytest.raises(ConfigurationError, match=r"provide\(sqlite3_like"):
        await a_receiver(handler).__aenter__()


class sqlite3_like: ...


async def test_a_store_that_cannot_be_opened_stops_the_application(tmp_path: Path) -> None:
    """With a lifespan the server does not start; nothing stays half open."""
    receiver = a_receiver(store=f"sqlite:///{tmp_path}/no/a.db")
    with pytest.raises(ConfigurationError, match="create the directory"):
        await receiver.__aenter__()
    (tmp_path / "no").mkdir()
    async with receiver:
        assert (await send(receiver)).status == 200


async def test_a_misconfigured_receiver_without_lifespan_answers_503(tmp_path: Path) -> None:
    """The sender comes again, and nothing is processed unguarded."""
    handled: list[str] = []
    receiver = a_receiver(lambda: handled.append("x"), store=f"sqlite:///{tmp_path}/no/a.db")
    reply = await send(receiver)
    assert (reply.status, reply.retry_after, handled) == (503, 60, [])


async def test_two_receivers_that_would_take_each_others_deliveries() -> None:
    """Same name, same store: each would acknowledge as a duplicate what the other has handled."""
    store = MemoryStore()
    async with a_receiver(store=store):
        with pytest.raises(ConfigurationError, match="share"):
            await a_receiver(store=store).__aenter__()
        async with a_receiver(store=store, name="other") as other:
            assert (await send(other)).status == 200
    async with a_receiver(store=store) as successor:
        assert (await send(successor)).status == 200


async def test_it_works_in_several_event_loops_at_once(tmp_path: Path) -> None:
    """One receiver object, two threads with a loop each: one record."""
    handled: list[int] = []
    receiver = a_receiver(lambda: handled.append(threading.get_ident()), store=SQLiteStore(tmp_path / "a.db"))

    async def use() -> str:
        async with receiver:
            return (await send(receiver)).outcome

    outcomes = [await asyncio.to_thread(asyncio.run, use()) for _ in range(2)]
    outcomes.append(await use())
    assert outcomes == ["processed", "duplicate", "duplicate"]
    assert len(handled) == 1


async def test_closing_waits_for_handlers() -> None:
    """What runs may finish within the grace period, and is settled."""
    started = asyncio.Event()

    async def handler() -> None:
        started.set()
        await asyncio.sleep(0.1)

    receiver = a_receiver(handler)
    async with receiver:
        task = asyncio.create_task(send(receiver))
        await started.wait()
    assert (await task).outcome == "processed"


async def test_closing_cancels_async_handlers_after_the_grace(caplog: pytest.LogCaptureFixture) -> None:
    """Their delivery is released at once: the next attempt need not wait for the lease."""
    started = asyncio.Event()

    async def handler() -> None:
        started.set()
        await asyncio.sleep(60)

    receiver = a_receiver(handler, mode=Inline(shutdown_grace=0.05))
    async with receiver:
        task = asyncio.create_task(send(receiver))
        await started.wait()
    reply = await task
    assert (reply.status, reply.outcome) == (503, "unavailable")
    assert "1 handlers still run" in caplog.text
    record = await record_of(receiver)
    assert (record.state, record.reason) == ("pending", "cancelled")


async def test_closing_leaves_a_threads_lease_to_expire() -> None:
    """A thread cannot be cancelled: nobody else may start before its lease has run out."""
    started, finish = threading.Event(), threading.Event()

    def handler() -> None:
        started.set()
        finish.wait()

    receiver = a_receiver(handler, mode=Inline(shutdown_grace=0.05))
    async with receiver:
        task = asyncio.create_task(send(receiver))
        await asyncio.to_thread(started.wait)
    assert (await task).status == 503
    assert (await record_of(receiver)).state == "leased"
    finish.set()


async def test_a_handler_past_the_answer_deadline_goes_on() -> None:
    """The sender is told to come again; the retry finds the result."""
    finish = asyncio.Event()

    async def handler() -> None:
        await finish.wait()

    async with a_receiver(handler, mode=Inline(answer_within=0.05)) as receiver:
        late = await send(receiver)
        assert (late.status, late.outcome) == (503, "still_running")
        assert (await send(receiver)).outcome == "in_progress"
        finish.set()
        async with asyncio.timeout(30):
            while (outcome := (await send(receiver)).outcome) == "in_progress":
                await asyncio.sleep(0.01)
        assert outcome == "duplicate"


async def test_a_lease_is_renewed_while_the_handler_blocks_the_loop() -> None:
    """A careless `time.sleep` for three leases' time: the lease holds, because a thread of its own renews it."""

    async def handler() -> None:
        time.sleep(0.9)

    async with a_receiver(handler, mode=Inline(lease=0.3)) as receiver:
        assert (await send(receiver)).outcome == "processed"
        assert (await record_of(receiver)).leases_lost == 0


async def test_a_lost_lease_is_never_a_success(caplog: pytest.LogCaptureFixture) -> None:
    """Somebody else took over while the handler ran: its result is refused, with 409."""
    lost: list[Delivery] = []

    class Watching(Observer):
        def lease_lost(self, delivery: Delivery) -> None:
            lost.append(delivery)

    store = MemoryStore()

    async def handler(delivery: Delivery) -> None:
        record = store._find(Key("default", "", delivery.key))
        assert record is not None
        record.fence += 1

    async with a_receiver(handler, store=store, observer=Watching()) as receiver:
        reply = await send(receiver)
    assert (reply.status, reply.outcome) == (409, "lease_lost")
    assert [delivery.id for delivery in lost] == ["msg_1"]
    assert "this result is refused" in caplog.text


class FlakyStore(MemoryStore):
    """Loses the first few settles."""

    def __init__(self, failures: int) -> None:
        super().__init__()
        self.failures = failures

    async def settle(self, settles: Sequence[Settle]) -> list[bool]:
        if self.failures:
            self.failures -= 1
            raise StoreUnavailable("away")
        return await super().settle(settles)


async def test_a_settle_outlasts_an_outage() -> None:
    """The work is done: while the lease lasts, telling the store so is tried again."""
    handled: list[int] = []
    async with a_receiver(lambda: handled.append(1), store=FlakyStore(3)) as receiver:
        assert (await send(receiver)).outcome == "processed"
        assert (await send(receiver)).outcome == "duplicate"
    assert handled == [1]


async def test_a_settle_that_never_succeeds_is_no_success() -> None:
    """The crash table's third row: the effect may repeat, but it is never acknowledged without a record."""
    async with a_receiver(lambda: None, store=FlakyStore(10**6), mode=Inline(lease=0.2)) as receiver:
        assert (await send(receiver)).status == 503


async def test_an_outage_does_not_fill_the_log(caplog: pytest.LogCaptureFixture) -> None:
    """Every delivery that comes meanwhile is asked to come again; the log says so some dozens of times a minute."""
    store = MemoryStore(most_records=1)
    receiver = a_receiver(store=store)
    receiver.on("collection.*")(lambda: None)
    async with receiver:
        await store.claim([Claim(Key("default", "", "full"), "full", bytes(32), b"token", Facts("sync.completed"), 60)])
        replies = [await send(receiver, f"msg_{n}", payload("collection.created")) for n in range(200)]
    assert {(reply.status, reply.retry_after) for reply in replies} == {(503, 5)}
    assert 1 <= len(caplog.records) <= 60


async def test_handlers_that_succeeded_do_not_run_again() -> None:
    """The retry after a partial failure runs what failed, and nothing else."""
    runs: list[str] = []
    receiver = a_receiver()

    @receiver.on("sync.completed")
    async def good(delivery: Delivery) -> None:
        runs.append(f"good {delivery.attempt}")

    @receiver.on("sync.completed")
    async def flaky(delivery: Delivery) -> None:
        runs.append(f"flaky {delivery.attempt}")
        if delivery.attempt == 1:
            raise RuntimeError("first time")

    @receiver.on("sync.completed")
    async def never(delivery: Delivery) -> None:
        runs.append(f"never {delivery.attempt}")
        raise Reject("not for me")

    async with receiver:
        assert [(await send(receiver)).outcome for _ in range(2)] == ["failed", "rejected"]
        record = await record_of(receiver)
        assert (record.state, record.reason, record.attempts) == ("dead", "rejected", 2)
        assert sorted(record.results.values()) == ["processed", "processed", "rejected"]
        assert (await send(receiver)).outcome == "rejected"  # the sender's resend is the replay
    assert runs == ["good 1", "flaky 1", "never 1", "flaky 2", "never 3"]


async def test_drift_runs_who_can_and_keeps_the_body_for_who_waits() -> None:
    """A wildcard sees the drifted event now; the typed handler's event is kept for after an upgrade."""
    seen: list[Any] = []
    drifted = b'{"event_type":"sync.completed","timestamp":"2026-11-20T09:00:00Z","sync_job_id":7}'
    receiver = a_receiver()

    @receiver.on("sync.completed")
    async def typed(event: SyncEvent) -> None:
        seen.append(event)

    @receiver.on(UnknownEvent)
    async def unknown(event: UnknownEvent) -> None:
        seen.append(event.payload["sync_job_id"])

    async with receiver:
        assert (await send(receiver, body=drifted)).outcome == "accepted"
        assert (await send(receiver, body=drifted)).outcome == "accepted"
        record = await record_of(receiver)
    assert seen == [7]
    assert (record.state, record.reason, record.body) == ("dead", "drift", drifted)


async def test_one_logical_event_under_two_message_ids() -> None:
    """The publisher's own retries get new ids; the natural key catches them, and only them."""
    handled: list[str] = []

    async def handler(delivery: Delivery) -> None:
        handled.append(delivery.idempotency_key)

    async with a_receiver(handler, key=natural_key) as receiver:
        assert (await send(receiver, "msg_1")).outcome == "processed"
        assert (await send(receiver, "msg_2")).outcome == "duplicate"
        assert (await send(receiver, "msg_3", payload("sync.failed"))).outcome == "processed"
        query = payload("query.processed")
        assert [(await send(receiver, f"msg_{n}", query)).outcome for n in (4, 5, 5)] == [
            "ignored",
            "ignored",
            "duplicate",
        ]
    assert handled[0] == "default::sync.completed:0f8fad5b-d9cb-469f-a165-70867728950e:0"


async def test_a_key_function_that_fails_is_a_failure() -> None:
    """It is the user's code: 500, logged, and nothing is acknowledged."""

    def broken(_: Delivery) -> str:
        raise ZeroDivisionError

    async with a_receiver(lambda: None, key=broken) as receiver:
        assert (await send(receiver)).outcome == "failed"


async def test_the_observer_sees_everything_and_harms_nothing(caplog: pytest.LogCaptureFixture) -> None:
    """What it raises is logged; what it sees is what happened."""
    seen: list[tuple[Any, ...]] = []

    class Watching(Observer):
        def refused(self, error: Refused) -> None:
            seen.append(("refused", error.status))

        def drifted(self, delivery: Delivery) -> None:
            seen.append(("drifted", delivery.event.event_type))

        def handler_finished(
            self, delivery: Delivery, handler: str, seconds: float, error: BaseException | None
        ) -> None:
            assert seconds >= 0
            seen.append(("finished", handler.rpartition(".")[2], error))
            raise RuntimeError("a bug in the observer")

        def replied(self, delivery: Delivery, reply: Reply, seconds: float) -> None:
            assert seconds >= 0
            seen.append(("replied", reply.outcome))

    def handler() -> None: ...

    async with a_receiver(handler, observer=Watching()) as receiver:
        await send(receiver)
        await receiver.handle({}, b"")
        await send(receiver, "msg_2", b'{"event_type":"sync.dreamt"}')
    assert seen == [
        ("finished", "handler", None),
        ("replied", "processed"),
        ("refused", 400),
        ("drifted", "sync.dreamt"),
        ("replied", "ignored"),
    ]
    assert "the observer's handler_finished raised" in caplog.text


async def test_old_records_are_purged_while_it_is_open(monkeypatch: pytest.MonkeyPatch) -> None:
    """Retention needs no cron job, and a store that fails it once is asked again."""
    monkeypatch.setattr("airweave_webhooks.housekeeping.PURGE_EVERY", 0.01)
    purged = asyncio.Event()
    calls: list[dict[str, Any]] = []

    class Store(MemoryStore):
        async def purge(self, **arguments: Any) -> int:
            calls.append(arguments)
            if len(calls) == 1:
                raise StoreUnavailable("away")
            if len(calls) == 2:
                return 500
            purged.set()
            return 3

    async with a_receiver(store=Store()):
        await asyncio.wait_for(purged.wait(), 5)
    assert calls[0] == {"done_for": 30 * 86_400, "abandoned_for": 48 * 3600, "most": 500}


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"name": ""}, "1 to 100 printable"),
        ({"name": "x" * 101}, "1 to 100 printable"),
        ({"tolerance": 0}, "positive number of seconds"),
        ({"retention_days": 15}, "at least 16 days"),
        ({"secrets": []}, "at least one"),
        ({"secrets": "whsec_c2hvcnQ="}, "too weak"),
        ({"store": "mysql://"}, "no store for mysql"),
    ],
)
def test_settings_that_cannot_work(settings: dict[str, Any], message: str) -> None:
    """Said when the receiver is made, with the reason."""
    with pytest.raises(ConfigurationError, match=message):
        Receiver(**settings)


@pytest.mark.parametrize("wrong", [{"lease": 0}, {"answer_within": -1}, {"most_threads": 0}, {"shutdown_grace": -1}])
def test_modes_that_cannot_work(wrong: dict[str, Any]) -> None:
    """Said where they are written."""
    with pytest.raises(ValueError, match=next(iter(wrong))):
        Inline(**wrong)


async def test_the_body_must_be_bytes() -> None:
    """A string was decoded by somebody, and its signature cannot be checked."""
    async with a_receiver() as receiver:
        with pytest.raises(TypeError, match="raw bytes"):
            await receiver.handle(sign(BODY), BODY.decode())  # type: ignore[arg-type]


async def test_the_log_of_a_failure_has_its_traceback(caplog: pytest.LogCaptureFixture) -> None:
    """Whoever is paged sees where it broke."""

    async def handler() -> None:
        raise ZeroDivisionError("here")

    with caplog.at_level(logging.ERROR):
        async with a_receiver(handler) as receiver:
            await send(receiver)
        (record,) = [record for record in caplog.records if record.exc_info]
        assert record.exc_info is not None
        assert record.exc_info[0] is ZeroDivisionError
        assert (await record_of(receiver)).error == "ZeroDivisionError: here"
