"""The test kit's client: what it sends, what it says of it, and that its assertions can fail."""

import asyncio
from collections import Counter
from collections.abc import Iterator
from contextvars import ContextVar
from pathlib import Path
from typing import Any

import pytest
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.types import ASGIApp, Receive, Scope, Send
from starlette.types import Message as ASGIMessage

from airweave_webhooks import Delivery, Inbox, Receiver, Reject, Retry, SyncCompleted, SyncFailed, natural_key
from airweave_webhooks.errors import ConfigurationError
from airweave_webhooks.telemetry import Observer
from airweave_webhooks.testing import AsyncClient, Client, Clock, Message, Sent, events
from airweave_webhooks.testing.bench import Sendable
from airweave_webhooks.testing.crashes import CrashPoint
from airweave_webhooks.testing.scenarios import TEST_SECRET


class Shop:
    """A user's program: a receiver with handlers, and what they did."""

    def __init__(self, **arguments: Any) -> None:
        self.done: list[str] = []
        self.receiver = receiver = Receiver(store="sqlite:///must-not-be-made.db", **arguments)

        @receiver.on("sync.completed", id="refresh")
        async def refresh(event: SyncCompleted) -> None:
            self.do(event.collection_readable_id)

        @receiver.on("sync.failed", id="alert")
        def alert(event: SyncFailed) -> None:
            self.do(event.error or "no reason")

        @receiver.on("sync.failed", id="also", when=lambda event: event.error == "two")
        async def also(event: SyncFailed) -> None:
            raise KeyError(event.error)

    def do(self, what: str) -> None:
        match what:
            case "broken" | "two":
                raise ValueError(what)
            case "retry":
                raise Retry("not now", after=30)
            case "reject":
                raise Reject("never")
            case _:
                self.done.append(what)


@pytest.fixture
def shop() -> Shop:
    return Shop()


@pytest.fixture
def client(shop: Shop) -> Iterator[Client]:
    with Client(shop.receiver) as client:
        yield client


@pytest.fixture
def box() -> Shop:
    """A shop that works later."""
    return Shop(mode=Inbox(max_attempts=3))


@pytest.fixture
def inbox(box: Shop) -> Iterator[Client]:
    with Client(box.receiver) as client:
        yield client


def test_a_handler_gets_what_is_sent(
    shop: Shop, client: Client, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No secret is configured, and the receiver's own store is left alone."""
    monkeypatch.chdir(tmp_path)
    sent = client.send(events.sync_completed(collection="docs"))
    assert shop.done == ["docs"]
    assert (sent.status, sent.outcome, sent.accepted, sent.diagnosis) == (200, "processed", True, None)
    assert [(run.handler, run.delivery.id, run.error) for run in sent.runs] == [("refresh", sent.id, None)]
    assert list(client.runs) == list(sent.runs)
    assert not Path("must-not-be-made.db").exists()


def test_afterwards_the_receiver_is_as_it_was(shop: Shop) -> None:
    _ = shop.receiver.table
    before = dict(vars(shop.receiver))
    with Client(shop.receiver) as client:
        client.send(events.sync_completed())
    after = dict(vars(shop.receiver))
    assert {name: after[name] for name in before} == before


def test_an_open_receiver_cannot_be_put_on_the_bench(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AIRWEAVE_WEBHOOK_SECRET", TEST_SECRET)
    receiver = Receiver()

    async def main() -> None:
        async with receiver:
            with pytest.raises(ConfigurationError, match="is open: its parts can be replaced only before"):
                Client(receiver).__enter__()

    asyncio.run(main())


def test_the_users_observer_is_told_too() -> None:
    told: list[str] = []

    class Mine(Observer):
        def handler_finished(self, delivery: Delivery, handler: str, seconds: float, error: Any) -> None:
            told.append(handler)

    shop = Shop(observer=Mine())
    with Client(shop.receiver) as client:
        client.send(events.sync_completed())
    assert told == ["refresh"]
    assert len(client.runs) == 1


@pytest.mark.parametrize(
    "what", [events.legacy(collection="old"), b'{"event_type":"new.thing"}', events.unknown("a.b")]
)
def test_whatever_is_sent_is_signed(client: Client, what: Sendable) -> None:
    assert client.send(what).status == 200


def test_an_id_of_ones_own(client: Client) -> None:
    sent = client.send(events.sync_completed(), id="msg_mine")
    assert sent.id == "msg_mine"
    assert client.send(sent).outcome == "duplicate"
    assert client.send(sent.message).outcome == "duplicate"
    assert client.send(sent, id="msg_other").outcome == "processed"


def test_what_a_handler_raises_reaches_the_test(client: Client) -> None:
    """With the handler's own frames, and no other, in the traceback."""
    with pytest.raises(ValueError, match="broken") as error:
        client.send(events.sync_completed(collection="broken"))
    assert "refresh" in [frame.name for frame in error.traceback]
    assert not any("execution.py" in str(frame.path) for frame in error.traceback)


def test_what_several_handlers_raise_comes_together(client: Client) -> None:
    with pytest.raises(ExceptionGroup) as group:
        client.send(events.sync_failed(error="two"))
    assert [type(error) for error in group.value.exceptions] == [ValueError, KeyError]


def test_errors_can_stay_inside(client: Client) -> None:
    """Then the test sees what the sender sees; and they do not come out later."""
    client.raise_errors = False
    sent = client.send(events.sync_completed(collection="broken"))
    assert (sent.status, sent.outcome) == (500, "failed")
    assert isinstance(sent.runs[0].error, ValueError)
    client.raise_errors = True
    assert client.send(events.sync_completed()).status == 200


def test_verdicts_are_no_errors(client: Client) -> None:
    sent = client.send(events.sync_completed(collection="retry"))
    assert (sent.status, sent.outcome, sent.retry_after) == (503, "retry", 30)
    sent = client.send(events.sync_completed(collection="reject"))
    assert (sent.status, sent.outcome) == (200, "rejected")
    client.assert_rejected(sent)


def test_duplicates(shop: Shop, client: Client) -> None:
    sent = client.duplicate(events.sync_completed(collection="docs"))
    assert [one.outcome for one in sent] == ["processed", "duplicate"]
    assert [len(one.runs) for one in sent] == [1, 0]
    assert shop.done == ["docs"]
    client.assert_handled_once(sent)


def test_copies_at_once(shop: Shop, client: Client) -> None:
    sent = client.concurrent(events.sync_failed(error="x"), 6)
    assert Counter(one.status for one in sent) == {200: 1, 409: 5}
    assert shop.done == ["x"]
    client.assert_handled_once(sent)


def test_another_order(shop: Shop, client: Client) -> None:
    sent = client.reorder([events.sync_completed(collection="first"), events.sync_completed(collection="second")])
    assert shop.done == ["second", "first"]
    client.assert_handled_once(sent)


def test_what_is_not_airweaves_is_refused(shop: Shop, client: Client) -> None:
    tampered, stale = client.tampered(events.sync_completed()), client.stale(events.sync_completed())
    assert (tampered.status, stale.status) == (401, 401)
    assert "no secret of ours signed this" in str(tampered.diagnosis)
    assert str(stale.diagnosis).startswith("stale: signed 360")
    client.assert_rejected(tampered, stale)
    assert shop.done == []
    assert client.store.records == []


def test_stale_is_stale_whatever_is_tolerated() -> None:
    with Client(Shop(tolerance=7200.0).receiver) as client:
        client.assert_rejected(client.stale(events.sync_completed()))


def test_a_rotation_goes_unnoticed(client: Client) -> None:
    assert client.rotated_secret(events.sync_completed()).outcome == "processed"


def test_the_clock_stands_still_until_it_is_told() -> None:
    clock = Clock(1_800_000_000)
    assert clock() == clock.now().timestamp() == 1_800_000_000
    clock.advance(61)
    assert clock() == 1_800_000_061
    assert repr(clock) == "<Clock 2027-01-15T08:01:01+00:00>"
    clock.advance(-60)
    assert clock() == 1_800_000_001


def test_tenants() -> None:
    """Each is served with the test's secret, and has records of its own."""
    receiver = Receiver(secrets=lambda tenant: None)
    seen: list[str | None] = []

    @receiver.on("sync.completed")
    async def note(delivery: Delivery) -> None:
        seen.append(delivery.tenant)

    with Client(receiver) as client:
        sent = client.send(events.sync_completed(), tenant="acme")
        assert client.send(sent, tenant="other").outcome == "processed"
        assert [one.outcome for one in client.duplicate(sent, tenant="acme")] == ["duplicate"] * 2
        client.concurrent(events.sync_completed(), 2, tenant="acme")
        client.reorder([events.sync_completed()], tenant="acme")
        assert client.tampered(sent, tenant="acme").status == 401
        assert client.stale(sent, tenant="acme").status == 401
        assert client.rotated_secret(events.sync_completed(), tenant="acme").status == 200
    assert seen == ["acme", "other", "acme", "acme", "acme"]


def test_one_message_of_two_tenants_is_two_deliveries() -> None:
    receiver = Receiver(secrets=lambda tenant: None)

    @receiver.on("sync.completed")
    async def note(delivery: Delivery) -> None:
        if delivery.tenant == "other":
            raise Reject("not here")

    with Client(receiver) as client:
        sent = client.send(events.sync_completed(), tenant="acme")
        other = client.send(sent, tenant="other")
        client.assert_handled_once(sent)
        client.assert_rejected(other)
        with pytest.raises(AssertionError, match="it was not rejected"):
            client.assert_rejected(sent)


@pytest.mark.parametrize("tenant", ["a b", "a?b", "a#b", "50%", "%41", "ä", "{x}"])
def test_any_tenants_name(tenant: str) -> None:
    receiver = Receiver(secrets=lambda tenant: None)

    @receiver.on("sync.completed")
    async def note() -> None: ...

    with Client(receiver) as client:
        (run,) = client.send(events.sync_completed(), tenant=tenant).runs
    assert run.delivery.tenant == tenant


def test_a_path_with_a_tenant_needs_one() -> None:
    receiver = Receiver(secrets=lambda tenant: None)
    app = Starlette(routes=[receiver.route("/hooks/{tenant}")])
    with (
        Client(receiver, app=app, path="/hooks/{tenant}") as client,
        pytest.raises(ConfigurationError, match=r"/hooks/\{tenant\} names a tenant: say for whom it is"),
    ):
        client.send(events.sync_completed())


def test_an_application_of_ones_own(shop: Shop) -> None:
    """With its middleware: here one that spoils every body, which shows."""

    class Spoiler:
        def __init__(self, app: ASGIApp) -> None:
            self.app = app

        async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
            async def spoilt() -> ASGIMessage:
                message = await receive()
                return {**message, "body": message.get("body", b"").replace(b",", b", ")}

            await self.app(scope, spoilt, send)

    app = Starlette(routes=[shop.receiver.route("/hooks")], middleware=[Middleware(Spoiler)])
    with Client(shop.receiver, app=app, path="/hooks") as client:
        sent = client.send(events.sync_completed())
    assert sent.status == 413
    assert "a middleware or proxy re-encoded it" in str(sent.diagnosis)
    client.assert_rejected(sent)


def test_dependencies_can_be_overridden() -> None:
    receiver = Receiver()
    receiver.provide(list[str], lambda: ["real"])
    got: list[list[str]] = []

    @receiver.on("sync.completed")
    async def use(things: list[str]) -> None:
        got.append(things)

    with Client(receiver) as client:
        with client.override(list[str], lambda: ["fake"]):
            client.send(events.sync_completed())
        client.send(events.sync_completed())
    assert got == [["fake"], ["real"]]


@pytest.mark.parametrize(("point", "runs", "repeats"), [("claim", 0, 1), ("handler", 1, 1), ("settle", 1, 0)])
def test_a_crash_inline(shop: Shop, client: Client, point: CrashPoint, runs: int, repeats: int) -> None:
    """As the crash table says: taken over when the lease has ended, or known to be done."""
    event = events.sync_completed(collection="docs")
    with client.crash_after(point):
        sent = client.send(event)
        assert (sent.status, sent.outcome, sent.accepted, len(sent.runs)) == (None, None, False, runs)
        assert client.send(sent).outcome == ("in_progress" if repeats else "duplicate")
    client.clock.advance(59)
    assert client.send(sent).outcome == ("in_progress" if repeats else "duplicate")
    client.clock.advance(2)
    assert client.send(sent).outcome == ("processed" if repeats else "duplicate")
    assert shop.done == ["docs"] * (runs + repeats)
    client.assert_no_pending()


def test_a_crash_ends_a_series(client: Client) -> None:
    """What was answered before is, and what came after is not."""
    first, *others = (client.message(events.sync_completed()) for _ in range(3))
    client.send(first)
    with client.crash_after("settle"):
        sent = client.reorder([*others, client.message(events.collection_created()), first])
    assert [one.status for one in sent] == [200, 200, None, None]


def test_a_crash_that_does_not_happen_is_an_error(client: Client) -> None:
    with pytest.raises(AssertionError, match="nothing came to the point 'settle'"), client.crash_after("settle"):
        client.tampered(events.sync_completed())
    assert client.send(events.sync_completed()).status == 200


def test_an_inbox_is_worked_on_when_the_test_says_so(box: Shop, inbox: Client) -> None:
    sent = inbox.send(events.sync_completed(collection="docs"))
    assert (sent.outcome, box.done) == ("accepted", [])
    runs = inbox.run_pending()
    assert box.done == ["docs"]
    assert [run.handler for run in runs] == ["refresh"]
    inbox.assert_handled_once(sent)
    inbox.assert_no_pending()
    assert inbox.run_pending() == []


def test_an_inbox_in_order() -> None:
    """One after the other where a handler says so, and all of them in one call."""
    receiver = Receiver(mode=Inbox())
    seen: list[str] = []

    @receiver.on("sync.*", order_by="sync_job_id", concurrency=1)
    async def note(delivery: Delivery) -> None:
        seen.append(delivery.event.event_type)

    job = events.sync_completed().sync_job_id
    with Client(receiver) as client:
        running, completed = events.sync_running(sync_job_id=job), events.sync_completed(sync_job_id=job)
        client.reorder([running, completed])
        client.run_pending()
    assert seen == ["sync.running", "sync.completed"]


def test_attempts_of_an_inbox(inbox: Client) -> None:
    """What failed is due again when the clock has gone on, and is dead in the end."""
    sent = inbox.send(events.sync_completed(collection="broken"))
    with pytest.raises(ValueError, match="broken"):
        inbox.run_pending()
    assert inbox.run_pending() == []
    inbox.raise_errors = False
    for _ in range(2):
        inbox.clock.advance(3600)
        assert [run.handler for run in inbox.run_pending()] == ["refresh"]
    inbox.assert_dead(sent)
    inbox.assert_dead(sent, reason="exhausted")
    inbox.assert_no_pending()


@pytest.mark.parametrize(("point", "effects"), [("claim", 1), ("handler", 2), ("settle", 1)])
def test_a_crash_of_a_worker(box: Shop, inbox: Client, point: CrashPoint, effects: int) -> None:
    sent = inbox.send(events.sync_completed(collection="docs"))
    with inbox.crash_after(point):
        inbox.run_pending()
    assert inbox.run_pending() == []
    inbox.clock.advance(61)
    inbox.run_pending()
    assert box.done == ["docs"] * effects
    assert inbox.send(sent).outcome == "duplicate"


def test_a_crash_before_an_acknowledgement(box: Shop, inbox: Client) -> None:
    """What was put into the inbox is worked on, though the sender was not told, and sends it again."""
    with inbox.crash_after("claim"):
        sent = inbox.send(events.sync_completed(collection="docs"))
    assert sent.status is None
    assert inbox.send(sent).outcome == "accepted"
    inbox.run_pending()
    assert box.done == ["docs"]


def test_what_kills_its_process_again_and_again_runs_alone(inbox: Client) -> None:
    """A delivery that has lost its lease twice is still worked on."""
    sent = inbox.send(events.sync_completed())
    for _ in range(2):
        with inbox.crash_after("claim"):
            inbox.run_pending()
        inbox.clock.advance(61)
    inbox.run_pending()
    inbox.assert_handled_once(sent)


def test_without_an_inbox_nothing_is_pending(client: Client) -> None:
    assert client.run_pending() == []


def test_handled_once_can_fail(client: Client, inbox: Client) -> None:
    with client.crash_after("handler"):
        once = client.send(events.sync_completed(collection="docs"))
    client.clock.advance(61)
    twice = [once, client.send(once)]
    client.raise_errors = False
    cases: list[tuple[Sent | list[Sent], str]] = [
        (twice, "refresh succeeded 2 times, not once\n  msg_"),
        (client.send(events.sync_completed(collection="broken")), "refresh succeeded never, not once"),
        (client.send(events.collection_created()), "no handler ran\n  msg_"),
        ([client.send(events.sync_completed()), client.send(events.collection_created())], "no handler ran\n  msg_"),
        (client.tampered(events.sync_completed()), "was answered 401 unauthorized (no secret of ours"),
        ([], "nothing was sent"),
    ]
    for sent, message in cases:
        with pytest.raises(AssertionError) as error:
            client.assert_handled_once(sent)
        assert message in str(error.value)
    with pytest.raises(AssertionError, match=r"accepted; run_pending\(\) runs its handlers\n.*sync.completed pending"):
        inbox.assert_handled_once(inbox.send(events.sync_completed()))
    with pytest.raises(AssertionError, match="200 ignored; no handler matches it"):
        client.assert_handled_once(client.send(events.collection_created()))


def test_the_report_says_what_happened(client: Client) -> None:
    client.raise_errors = False
    sent = client.send(events.sync_completed(collection="broken"), id="msg_1")
    with pytest.raises(AssertionError) as error:
        client.assert_handled_once(sent)
    assert str(error.value).splitlines() == [
        "refresh succeeded never, not once",
        "  msg_1 was answered 500 failed",
        "  refresh ran in attempt 1: ValueError: broken",
        "  the store has msg_1 sync.completed pending (failed): ValueError: broken",
    ]


def test_the_report_of_a_crash(client: Client) -> None:
    with client.crash_after("handler"):
        sent = client.send(events.sync_completed(), id="msg_1")
    client.clock.advance(61)
    again = client.send(sent)
    with pytest.raises(AssertionError) as error:
        client.assert_handled_once(sent, again)
    assert str(error.value).splitlines() == [
        "refresh succeeded 2 times, not once",
        "  msg_1 was answered not at all: the process crashed",
        "  msg_1 was answered 200 processed",
        "  refresh ran in attempt 1: succeeded",
        "  refresh ran in attempt 2: succeeded",
        "  the store has msg_1 sync.completed done (processed)",
    ]


def test_one_event_under_two_ids() -> None:
    """Is one delivery, where the receiver says so."""
    receiver = Receiver(key=natural_key)
    other = Receiver()
    for each in (receiver, other):

        @each.on("sync.completed", id="refresh")
        async def refresh() -> None: ...

    event = events.sync_completed()
    with Client(receiver) as client:
        client.assert_handled_once(client.send(event), client.send(event))
    with Client(other) as client:
        client.assert_handled_once(client.send(event), client.send(event))  # two deliveries, handled once each
        assert len(client.runs) == 2


def test_one_event_under_two_ids_in_an_inbox() -> None:
    """Both are accepted, and worked on once."""
    receiver = Receiver(mode=Inbox(max_attempts=1), key=natural_key)

    @receiver.on("sync.*")
    async def refresh(delivery: Delivery) -> None:
        if isinstance(delivery.event, SyncFailed):
            raise Reject("never")

    handled, rejected = events.sync_completed(), events.sync_failed()
    with Client(receiver) as client:
        sent = [client.send(handled), client.send(handled)]
        refused = [client.send(rejected), client.send(rejected)]
        client.run_pending()
        assert len(client.runs) == 2
        client.assert_handled_once(sent)
        client.assert_handled_once(sent[1])
        client.assert_rejected(refused)
        client.assert_dead(refused, reason="rejected")


def test_a_crash_before_anybody_knows_the_key() -> None:
    receiver = Receiver(key=natural_key)

    @receiver.on("sync.completed")
    async def refresh() -> None: ...

    with Client(receiver) as client:
        with client.crash_after("claim"):
            crashed = client.send(events.sync_completed())
        client.clock.advance(61)
        client.assert_handled_once(crashed, client.send(crashed))


def test_nothing_is_checked_where_nothing_was_sent(client: Client) -> None:
    for check in (client.assert_handled_once, client.assert_rejected, client.assert_dead):
        with pytest.raises(AssertionError, match="nothing was sent, so there is nothing to check"):
            check([])


def test_a_long_report_is_cut(inbox: Client) -> None:
    sent = [inbox.send(events.sync_completed()) for _ in range(25)]
    with pytest.raises(AssertionError) as error:
        inbox.assert_handled_once(sent)
    lines = str(error.value).splitlines()
    assert lines[21] == lines[42] == "  … and 5 more"
    with pytest.raises(AssertionError, match=r"25 not finished:(?s:.*)… and 5 more$"):
        inbox.assert_no_pending()


def test_a_report_names_what_was_not_handled(client: Client) -> None:
    """And nothing else of the many that were."""
    with pytest.raises(AssertionError, match="no handler ran\n  msg_2 was") as error:
        client.assert_handled_once(
            client.send(events.sync_completed(), id="msg_1"), client.send(events.collection_created(), id="msg_2")
        )
    assert "msg_1" not in str(error.value)


def test_an_answer_of_somebody_else(shop: Shop) -> None:
    app = Starlette(routes=[shop.receiver.route("/hooks")])
    with (
        Client(shop.receiver, app=app) as client,
        pytest.raises(AssertionError, match="answered 404, but not by the receiver: is it mounted at the client's"),
    ):
        client.assert_rejected(client.send(events.sync_completed()))


def test_a_record_is_as_it_was_when_it_was_read(inbox: Client) -> None:
    inbox.send(events.sync_completed())
    before = inbox.store.records
    inbox.run_pending()
    assert [record.state for record in (*before, *inbox.store.records)] == ["pending", "done"]


def test_a_client_is_used_in_its_block(shop: Shop) -> None:
    """Outside of it, it would meet the receiver as it is in production."""
    with pytest.raises(ConfigurationError, match="use a client in a `with` block"):
        Client(shop.receiver).send(events.sync_completed())
    with Client(shop.receiver) as outer:
        with Client(shop.receiver) as inner:
            with pytest.raises(ValueError, match="broken"):
                inner.send(events.sync_completed(collection="broken"))
            with pytest.raises(ConfigurationError, match="does not use this client's store"):
                outer.send(events.sync_completed())
        assert outer.send(events.sync_completed()).outcome == "processed"  # it raises nothing that inner has raised


@pytest.mark.anyio
async def test_an_async_client_is_used_in_its_block(shop: Shop) -> None:
    with pytest.raises(ConfigurationError, match="use a client inside its `with` block"):
        await AsyncClient(shop.receiver).send(events.sync_completed())


def test_a_handler_cannot_use_the_client_that_runs_it(shop: Shop, client: Client) -> None:
    @shop.receiver.on("collection.created")
    def from_a_thread() -> None:
        client.send(events.sync_completed())

    @shop.receiver.on("collection.deleted")
    async def on_the_loop() -> None:
        client.send(events.sync_completed())

    for event in (events.collection_created(), events.collection_deleted()):
        with pytest.raises(ConfigurationError, match="use an AsyncClient"):
            client.send(event)


def test_handlers_see_the_tests_context_variables(shop: Shop, client: Client) -> None:
    """As they are now, and not as they were when the client was first used."""
    variable = ContextVar("variable", default="before")
    seen: list[str] = []

    @shop.receiver.on("collection.created")
    async def look() -> None:
        seen.append(variable.get())

    client.send(events.collection_created())
    variable.set("now")
    client.send(events.collection_created())
    assert seen == ["before", "now"]


def test_what_is_only_a_duplicate_is_not_claimed(client: Client) -> None:
    sent = client.send(events.sync_completed())
    with pytest.raises(AssertionError, match="nothing came to the point 'claim'"), client.crash_after("claim"):
        assert client.send(sent).outcome == "duplicate"


def test_run_pending_leaves_nothing_that_is_due() -> None:
    """Also where each line waits for its first, and few run at once."""
    receiver = Receiver(mode=Inbox())

    @receiver.on("sync.*", order_by="collection_readable_id", concurrency=2)
    async def note() -> None: ...

    with Client(receiver) as client:
        sent = client.reorder([events.sync_completed(collection="one") for _ in range(5)])
        client.run_pending()
        client.assert_handled_once(sent)
        client.assert_no_pending()


def test_what_has_an_order_runs_one_at_a_time_by_its_own_time() -> None:
    receiver = Receiver(mode=Inbox())
    seen: list[str] = []

    @receiver.on("sync.*", order_by="collection_readable_id")
    async def note(delivery: Delivery) -> None:
        seen.append(f"{delivery.id} begins")
        await asyncio.sleep(0.001)
        seen.append(f"{delivery.id} ends")

    with Client(receiver) as client:
        for second in (2, 1):
            time = f"2026-11-20T09:00:0{second}Z"
            client.send(events.sync_completed(collection="one", timestamp=time), id=f"msg_{second}")
        client.run_pending()
    assert seen == ["msg_1 begins", "msg_1 ends", "msg_2 begins", "msg_2 ends"]


def test_a_worker_that_finds_nothing_does_not_crash(inbox: Client) -> None:
    with pytest.raises(AssertionError, match="nothing came to the point 'claim'"), inbox.crash_after("claim"):
        inbox.run_pending()


def test_what_an_application_raises_is_raised_where_a_crash_was_expected(shop: Shop) -> None:
    async def broken(scope: Scope, receive: Receive, send: Send) -> None:
        raise ZeroDivisionError

    with (
        Client(shop.receiver, app=broken) as client,
        pytest.raises(ZeroDivisionError),
        client.crash_after("claim"),
    ):
        client.send(events.sync_completed())


def test_rejected_can_fail(client: Client) -> None:
    """Not rejected: what was handled, what is a duplicate under way, and what nobody handles."""
    for sent in (client.send(events.sync_completed()), client.send(events.collection_created())):
        with pytest.raises(AssertionError, match="it was not rejected\n  msg_"):
            client.assert_rejected(sent)
    with pytest.raises(AssertionError, match="it was not rejected"):
        client.assert_rejected(client.concurrent(events.sync_failed(), 2))
    handled = client.send(events.sync_completed())
    with pytest.raises(AssertionError, match="it was not rejected"):
        client.assert_rejected(client.stale(handled))  # refused now, but handled before


def test_dead_can_fail(client: Client, inbox: Client) -> None:
    with pytest.raises(AssertionError, match="it is not dead\n"):
        inbox.assert_dead(inbox.send(events.sync_completed()))
    rejected = client.send(events.sync_completed(collection="reject"))
    with pytest.raises(AssertionError, match=r"it is not dead \(exhausted\)"):
        client.assert_dead(rejected, reason="exhausted")
    with pytest.raises(AssertionError, match="it is not dead"):
        client.assert_dead(client.tampered(events.sync_completed()))


def test_no_pending_can_fail(client: Client, inbox: Client) -> None:
    inbox.send(events.sync_completed(), id="msg_1")
    inbox.send(events.sync_completed(collection="broken"), id="msg_2")
    inbox.raise_errors = False
    with pytest.raises(AssertionError, match=r"2 not finished:\n  msg_1 sync.completed pending; due"):
        inbox.assert_no_pending()
    inbox.run_pending()
    with pytest.raises(AssertionError, match=r"1 not finished:\n  msg_2 .* pending \(failed\): ValueError: broken;"):
        inbox.assert_no_pending()
    with client.crash_after("claim"):
        client.send(events.sync_completed(), id="msg_3")
    with pytest.raises(AssertionError, match=r"msg_3 sync.completed leased; its lease ends .* UTC, in 60 s"):
        client.assert_no_pending()


@pytest.mark.anyio
async def test_in_a_loop_of_the_tests_own(shop: Shop) -> None:
    """An `AsyncClient` does all that a `Client` does, on the loop of the test."""
    loops: list[asyncio.AbstractEventLoop] = []

    @shop.receiver.on("collection.created")
    async def note() -> None:
        loops.append(asyncio.get_running_loop())

    with AsyncClient(shop.receiver) as client:
        await client.send(events.collection_created(), id="msg_1")
        assert loops == [asyncio.get_running_loop()]
        client.assert_handled_once(await client.duplicate(events.sync_completed()))
        client.assert_handled_once(await client.concurrent(events.sync_completed(), 3))
        client.assert_handled_once(await client.reorder([events.sync_completed(), events.sync_failed()]))
        client.assert_rejected(await client.tampered(events.sync_completed()), await client.stale(events.sync_failed()))
        client.assert_handled_once(await client.rotated_secret(events.sync_completed()))
        assert await client.run_pending() == []
        with pytest.raises(ValueError, match="broken"):
            await client.send(events.sync_completed(collection="broken"))


@pytest.mark.anyio
async def test_a_client_says_when_it_should_be_awaited(client: Client) -> None:
    with pytest.raises(ConfigurationError, match="use an AsyncClient"):
        client.send(events.sync_completed())


def test_a_message_is_shown_without_its_body() -> None:
    assert repr(Message("msg_1", b"confidential", 1.0)) == "Message(id='msg_1', created=1.0)"
