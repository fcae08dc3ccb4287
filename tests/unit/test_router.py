"""In which order handlers match, how routers compose, and what happens to events that nobody knows."""

import functools
from collections.abc import Callable
from typing import Any

import pytest

from airweave_webhooks import Delivery, Event, Receiver, Router, SyncCompleted, SyncEvent, UnknownEvent
from airweave_webhooks.delivery import PROCESSED
from airweave_webhooks.errors import RoutingError
from airweave_webhooks.events import AnyEvent, parse
from airweave_webhooks.execution import run_handlers
from airweave_webhooks.routing import Matched
from airweave_webhooks.testing.payloads import payload
from conftest import SECRET, sign

pytestmark = pytest.mark.anyio

COMPLETED = parse(payload("sync.completed"))
FAILED = parse(payload("sync.failed"))
NEW = parse(b'{"event_type":"moon.landed","crew":2}')
DRIFTED = parse(b'{"event_type":"sync.completed","sync_job_id":"a number now"}')


def add(router: Router, name: str, *patterns: Any, **options: Any) -> None:
    """Register a handler that is called `name`."""
    on: Any = router.on
    on(*(patterns or ("*",)), id=name, **options)(lambda: None)


def names(router: Router, event: AnyEvent = COMPLETED) -> list[str]:
    """Which handlers get `event`, in order."""
    return [handler.id for handler in router.table.match(event).handlers]


async def run(matched: Matched) -> tuple[dict[str, str], list[BaseException]]:
    """Run handlers, sync ones on the spot: their results and errors."""

    async def at_once(call: Callable[[], Any]) -> Any:
        return call()

    delivery = Delivery("msg_1", 0, None, [], b"{}", COMPLETED, "default", "msg_1")
    outcome = await run_handlers(matched.handlers, delivery, {}, at_once, None)
    return dict(outcome.results), list(outcome.failures)


def test_handlers_match_in_the_order_of_their_registration() -> None:
    """Neither kind of pattern comes before another: only the place in the file counts."""
    router = Router()
    add(router, "glob", "sync.*")
    add(router, "name", "sync.completed")
    add(router, "other", "sync.failed")
    add(router, "star", "*")
    add(router, "class", SyncCompleted)
    assert names(router) == ["glob", "name", "star", "class"]
    assert names(router, FAILED) == ["glob", "other", "star"]


def test_order_holds_beside_filters_and_predicates() -> None:
    """Handlers with conditions stay in their places between those without."""
    router = Router()
    add(router, "1")
    add(router, "2", "sync.*", source_type="github")
    add(router, "3", "sync.*", source_type="slack")
    add(router, "4", "sync.*", when=lambda _: True)
    add(router, "5")
    assert names(router) == ["1", "2", "4", "5"]


def test_nothing_matches_where_nothing_is_registered() -> None:
    """A router without handlers matches nothing, and nobody waits."""
    assert Router().table.match(COMPLETED) == Matched(())
    assert Router().table.match(NEW) == Matched([])


def test_an_included_router_takes_its_place_in_the_order() -> None:
    """The handlers of an included router run where `include()` stands, nested ones likewise."""
    root, middle, leaf = Router(), Router(), Router()
    add(root, "root 1")
    root.include(middle)
    add(root, "root 2")
    add(middle, "middle 1")
    middle.include(leaf)
    add(middle, "middle 2")
    add(leaf, "leaf")
    assert names(root) == ["root 1", "middle 1", "leaf", "middle 2", "root 2"]
    assert names(middle) == ["middle 1", "leaf", "middle 2"]


def test_includes_are_live() -> None:
    """What an included router gets later, by decorator or by include, reaches the compiled table above."""
    root, middle, leaf = Router(), Router(), Router()
    root.include(middle)
    assert names(root) == []
    add(middle, "middle")
    assert names(root) == ["middle"]
    middle.include(leaf)
    add(leaf, "leaf")
    assert names(root) == ["middle", "leaf"]


def test_one_router_can_be_included_into_two() -> None:
    """Two receivers can share a router; a late handler reaches both."""
    one, two, shared = Router(), Router(), Router()
    one.include(shared)
    two.include(shared)
    assert (names(one), names(two)) == ([], [])
    add(shared, "late")
    assert (names(one), names(two)) == (["late"], ["late"])


def test_a_table_is_compiled_once() -> None:
    """Between changes every request gets the same table."""
    router = Router()
    add(router, "1")
    table = router.table
    assert router.table is table
    add(router, "2")
    assert router.table is not table


def test_a_circle_of_routers_is_refused() -> None:
    """A router cannot include itself, nor one that reaches it, however far away."""
    root, middle, leaf = Router(), Router(), Router()
    root.include(middle)
    middle.include(leaf)
    for inner, outer in [(root, root), (leaf, root), (leaf, middle), (middle, root)]:
        with pytest.raises(RoutingError, match="would include each other in a circle"):
            inner.include(outer)
    assert names(root) == []


def test_including_a_router_twice_is_refused() -> None:
    """The second `include()` of one router would run its handlers twice."""
    root, leaf = Router(), Router()
    add(leaf, "leaf")
    root.include(leaf)
    with pytest.raises(RoutingError, match="this router is included already, its handlers would run twice"):
        root.include(leaf)
    assert names(root) == ["leaf"]


def test_a_router_that_comes_two_ways_is_refused_at_opening() -> None:
    """A diamond of includes would run handlers twice: their ids show it."""
    root, left, right, shared = Router(), Router(), Router(), Router()
    add(shared, "shared")
    left.include(shared)
    right.include(shared)
    root.include(left)
    root.include(right)
    with pytest.raises(RoutingError, match="two handlers are called shared"):
        _ = root.table


def refresh(event: SyncEvent) -> None:
    """A handler of this module."""


async def test_one_function_decorated_twice_is_refused_at_opening() -> None:
    """Two records of results under one id would hide each other; opening the receiver says so and how to go on."""
    receiver = Receiver(secrets=SECRET)
    receiver.on("sync.completed")(refresh)
    receiver.on("sync.failed")(refresh)
    with pytest.raises(RoutingError, match="two handlers are called") as caught:
        await receiver.__aenter__()
    assert f"{__name__}.refresh: give one an id=…" in str(caught.value)
    assert "name all its events in one on()" in str(caught.value)


async def test_both_remedies_for_duplicate_ids_work() -> None:
    """An `id=` for one of them, or one `on()` with all events, opens."""
    with_id, with_events = Receiver(name="a", secrets=SECRET), Receiver(name="b", secrets=SECRET)
    with_id.on("sync.completed")(refresh)
    with_id.on("sync.failed", id="refresh after failure")(refresh)
    with_events.on("sync.completed", "sync.failed")(refresh)
    async with with_id, with_events:
        assert names(with_id) == names(with_events) == [f"{__name__}.refresh"]
        assert names(with_id, FAILED) == ["refresh after failure"]


class Callback:
    """Can be called, and has no name of its own."""

    def __call__(self, event: SyncEvent) -> None: ...

    def method(self, event: SyncEvent) -> None: ...


def test_handlers_are_named_after_what_they_are() -> None:
    """The default id is the module and name of the function, method or class, seen through decorators."""

    @functools.wraps(refresh)
    def decorated(event: SyncEvent) -> None: ...

    router = Router()
    for function in (Callback(), Callback().method, decorated):
        router.on("sync.*")(function)
    assert names(router) == [f"{__name__}.Callback", f"{__name__}.Callback.method", f"{__name__}.refresh"]


def test_a_partial_is_named_after_its_function() -> None:
    """Two partials of different functions are no duplicates of each other."""
    router = Router()
    router.on("sync.*")(functools.partial(refresh))
    router.on("sync.*")(functools.partial(Callback().method))
    assert names(router) == [f"{__name__}.refresh", f"{__name__}.Callback.method"]


def test_an_unknown_type_goes_to_whoever_asks_for_it() -> None:
    """`UnknownEvent`, `Event` and `"*"` get a type that this version does not know; nobody waits for it."""
    router = Router()
    add(router, "unknown", UnknownEvent)
    add(router, "star", "*")
    add(router, "base", Event)
    add(router, "chosen", UnknownEvent, when=lambda event: event.event_type == "moon.landed")
    add(router, "other", UnknownEvent, when=lambda event: event.event_type == "mars.landed")
    add(router, "known", "sync.*", "collection.*")
    assert names(router, NEW) == ["unknown", "star", "base", "chosen"]
    assert router.table.match(NEW).waiting is False


def test_somebody_waits_for_a_drifted_event() -> None:
    """A handler of a known type cannot take its drifted form, so the event waits for an upgrade."""
    router = Router()
    add(router, "exact", "sync.completed")
    assert router.table.match(DRIFTED) == Matched([], waiting=True)


@pytest.mark.parametrize("pattern", ["sync.*", SyncEvent, SyncCompleted])
def test_whatever_means_the_type_waits_for_its_drifted_form(pattern: Any) -> None:
    """Globs and bases wait as names do, also beside a handler that takes the drifted form as it is."""
    router = Router()
    add(router, "waits", pattern)
    add(router, "takes it", UnknownEvent)
    matched = router.table.match(DRIFTED)
    assert [handler.id for handler in matched.handlers] == ["takes it"]
    assert matched.waiting


@pytest.mark.parametrize(
    "patterns", [["*"], [Event], [UnknownEvent], ["collection.*"], ["sync.completed", UnknownEvent]]
)
def test_nobody_waits_who_took_the_drifted_form_or_wants_other_types(patterns: list[Any]) -> None:
    """A handler that gets the `UnknownEvent` has had it; one of other types never wanted it."""
    router = Router()
    add(router, "handler", *patterns)
    assert not router.table.match(DRIFTED).waiting


async def test_a_predicate_that_raises_is_its_handlers_failure() -> None:
    """The others run, before and after it, and the handler itself does not."""
    router = Router()
    ran: list[str] = []
    broken = KeyError("no such customer")

    def when(event: Event) -> bool:
        raise broken

    router.on("*", id="before")(lambda: ran.append("before"))
    router.on("*", id="broken", when=when)(lambda: ran.append("broken"))
    router.on("*", id="after")(lambda: ran.append("after"))
    results, errors = await run(router.table.match(COMPLETED))
    assert ran == ["before", "after"]
    assert results == {"before": "processed", "after": "processed"}
    assert errors == [broken]


async def test_a_predicate_that_raised_is_asked_again() -> None:
    """Its failure belongs to one delivery: the handler is as good as new for the next."""
    router = Router()
    answers: list[object] = [RuntimeError("not yet"), True]

    def when(event: Event) -> bool:
        answer = answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return True

    router.on("*", id="handler", when=when)(lambda: None)
    _, errors = await run(router.table.match(COMPLETED))
    assert len(errors) == 1
    assert await run(router.table.match(COMPLETED)) == ({"handler": "processed"}, [])


@pytest.mark.parametrize("kind", ["async", "no function"])
def test_a_predicate_that_could_never_choose_is_refused(kind: str) -> None:
    """The coroutine of an async `when` would always be true, and what cannot be called would always fail."""

    async def when(event: Event) -> bool:
        return False

    with pytest.raises(RoutingError, match="when"):
        add(Router(), "handler", "*", when=when if kind == "async" else "collection")


def test_the_function_comes_back_unchanged() -> None:
    """A decorated function is the one that was written, ready to be called in a test."""

    def plain(event: SyncCompleted, factor: int = 2) -> int:
        return event.entities_inserted * factor

    before = dict(plain.__dict__)
    decorated = Router().on("sync.completed")(plain)
    assert decorated is plain
    assert plain.__dict__ == before
    assert isinstance(COMPLETED, SyncCompleted)
    assert decorated(COMPLETED, factor=3) == 126


def test_decorators_can_be_stacked() -> None:
    """One function under two `on()` of two routers is a handler of both."""
    one, two = Router(), Router()

    @one.on("sync.completed")
    @two.on("sync.failed")
    def handler(event: SyncEvent) -> None: ...

    assert one.table.handlers[0].function is two.table.handlers[0].function is handler


async def test_a_receiver_is_a_router_that_takes_handlers_while_it_is_open() -> None:
    """A handler that is registered after the opening gets the next delivery."""
    receiver = Receiver(secrets=SECRET)
    body = payload("sync.completed")
    async with receiver:
        ignored = await receiver.handle(sign(body), body)
        assert ignored.outcome == "ignored"
        add(receiver, "late", "sync.completed")
        assert await receiver.handle(sign(body, message_id="msg_2"), body) == PROCESSED
