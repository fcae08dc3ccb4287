"""What can stand in `on(…)`, which events that lets through, and what is refused where it is written."""

import functools
import re
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any, Final
from uuid import UUID

import pytest
from pydantic import BaseModel

from airweave_webhooks import (
    CollectionEvent,
    Delivery,
    Event,
    Router,
    SearchEvent,
    SourceConnectionEvent,
    SyncCancelled,
    SyncCompleted,
    SyncEvent,
    SyncFailed,
    UnknownEvent,
)
from airweave_webhooks.errors import ConfigurationError, RoutingError
from airweave_webhooks.events import EVENT_TYPES, parse
from airweave_webhooks.testing.payloads import LEGACY, payload, payload_names

KNOWN: Final = frozenset(EVENT_TYPES)
NEW: Final = "moon.landed"
SAMPLES: Final = [parse(payload(name)) for name in payload_names() if name != LEGACY]
SAMPLES.append(parse(b'{"event_type":"%b","timestamp":"2026-11-20T09:00:00Z"}' % NEW.encode()))

ORGANIZATION: Final = "7c1f6f0e-6d0a-4f0e-9b57-0d7f2f3a9e10"
COLLECTION: Final = "7d444840-9dc0-41d1-b245-5ffdce74fad2"
OTHER: Final = "00000000-0000-4000-8000-000000000000"


def let_through(*patterns: Any, **options: Any) -> set[str]:
    """The types of those sample events, one a type and a new one, that a handler with these patterns gets."""
    router = Router()
    on: Any = router.on
    on(*patterns, **options)(lambda: None)
    return {event.event_type for event in SAMPLES if router.table.match(event).handlers}


def of(domain: str) -> set[str]:
    return {name for name in KNOWN if name.startswith(f"{domain}.")}


def refusal(*patterns: Any, handler: Callable[..., Any] = lambda: None, **options: Any) -> str:
    """What `on()` says when it refuses."""
    on: Any = Router().on
    with pytest.raises(RoutingError) as caught:
        on(*patterns, **options)(handler)
    return str(caught.value)


def test_the_samples_hold_every_type() -> None:
    """What these tests say about types, they say about all of them."""
    assert {event.event_type for event in SAMPLES} == {*KNOWN, NEW}


@pytest.mark.parametrize("name", sorted(KNOWN))
def test_a_name_means_its_type(name: str) -> None:
    """Each event name lets through its own type and no other."""
    assert let_through(name) == {name}


@pytest.mark.parametrize("domain", sorted({name.partition(".")[0] for name in KNOWN}))
def test_a_glob_means_its_domain(domain: str) -> None:
    """`"domain.*"` lets through every type of that domain and no other."""
    assert let_through(f"{domain}.*") == of(domain) != set()


def test_a_star_means_everything() -> None:
    """`"*"` lets through all types, those that this version does not know included."""
    assert let_through("*") == {*KNOWN, NEW}


@pytest.mark.parametrize(
    ("cls", "types"),
    [
        (SyncCompleted, {"sync.completed"}),
        (SyncEvent, of("sync")),
        (SourceConnectionEvent, of("source_connection")),
        (CollectionEvent, of("collection")),
        (SearchEvent, of("search")),
        (Event, {*KNOWN, NEW}),
        (UnknownEvent, {NEW}),
    ],
)
def test_a_class_means_itself_and_what_derives_from_it(cls: type[Event], types: set[str]) -> None:
    """A class, a domain's base, `Event` and `UnknownEvent` let through their instances."""
    assert let_through(cls) == types


def test_patterns_add_up() -> None:
    """Names, globs, classes and bases can stand in one `on()`; an event gets through if any of them takes it."""
    assert let_through("sync.failed", "collection.*", SyncCancelled, SourceConnectionEvent) == {
        "sync.failed",
        "sync.cancelled",
        *of("collection"),
        *of("source_connection"),
    }


def test_patterns_that_overlap_make_one_handler() -> None:
    """An event that several patterns of one `on()` take runs the handler once."""
    router = Router()
    on: Any = router.on
    on("sync.*", "sync.completed", SyncCompleted, Event)(lambda: None)
    assert len(router.table.match(parse(payload("sync.completed"))).handlers) == 1


@pytest.mark.parametrize("collection", [list, tuple, set, frozenset, dict.fromkeys])
def test_a_filter_takes_a_value_or_a_collection(collection: Callable[[list[str]], object]) -> None:
    """A field must equal the value, or one of the collection's."""
    assert let_through("sync.*", source_type="github") == of("sync")
    assert let_through("sync.*", source_type="slack") == set()
    assert let_through("sync.*", source_type=collection(["slack", "github"])) == of("sync")
    assert let_through("sync.*", source_type=collection(["slack", "jira"])) == set()


@pytest.mark.parametrize(
    "spell", [str, str.upper, UUID, lambda text: f"{{{text}}}", lambda text: text.replace("-", "")]
)
def test_an_id_filter_takes_any_spelling(spell: Callable[[str], object]) -> None:
    """A UUID matches as `UUID` and as text in any of its spellings, alone and in collections."""
    assert let_through("collection.*", collection_id=spell(COLLECTION)) == of("collection")
    assert let_through("collection.*", collection_id=spell(OTHER)) == set()
    assert let_through("collection.*", collection_id={spell(OTHER), spell(COLLECTION)}) == of("collection")


@pytest.mark.parametrize(
    ("wanted", "expected"), [(True, {"source_connection.auth_completed"}), ([True, False], of("source_connection"))]
)
def test_a_flag_filter_takes_true_false_and_both(wanted: object, expected: set[str]) -> None:
    """`is_authenticated=True` is no request for a collection, `False` is no missing filter."""
    assert let_through("source_connection.*", is_authenticated=wanted) == expected
    assert let_through("source_connection.*", is_authenticated=False) == of("source_connection") - {
        "source_connection.auth_completed"
    }


def test_filters_add_up() -> None:
    """All filters of one `on()` must fit."""
    fits = {"source_type": "github", "organization_id": ORGANIZATION}
    assert let_through("sync.completed", **fits) == {"sync.completed"}
    assert let_through("sync.completed", **fits, collection_id=OTHER) == set()


def test_a_filter_keeps_out_what_lacks_its_field() -> None:
    """Over several types a filter lets through only those that have the field."""
    assert let_through("*", tool_name="search") == {"search.tool_called"}
    assert "organization.created" not in let_through(Event, source_type="github")


def test_a_filter_looks_at_fields_that_this_version_does_not_know() -> None:
    """A field that Airweave adds to a type can be filtered by before we name it."""
    router = Router()
    router.on("*", tier="fast")(lambda: None)
    grown = payload("sync.completed")[:-1] + b',"tier":"fast"}'
    assert router.table.match(parse(grown)).handlers


@pytest.mark.parametrize("value", [b'{"name":"fast"}', b"[1]"])
def test_a_new_field_of_any_kind_is_no_error(value: bytes) -> None:
    """A new field that has the name of a filter, and holds what no filter could, does not fit and does not raise."""
    router = Router()
    router.on("*", tier="fast")(lambda: None)
    grown = payload("sync.completed")[:-1] + b',"tier":' + value + b"}"
    assert not router.table.match(parse(grown)).handlers


def test_a_filter_that_fits_no_instance_is_refused_or_fits() -> None:
    """`UnknownEvent` either has the organization of its payload, or refuses to be filtered by it."""
    router = Router()
    router.on(UnknownEvent, organization_id=ORGANIZATION)(lambda: None)
    landed = parse(b'{"event_type":"moon.landed","organization_id":"%b"}' % ORGANIZATION.encode())
    assert router.table.match(landed).handlers


def test_a_predicate_chooses() -> None:
    """`when` sees the event, and its truth decides."""
    assert let_through("sync.*", when=lambda event: event.error) == {"sync.failed"}
    assert let_through("*", when=lambda event: isinstance(event, UnknownEvent)) == {NEW}


def test_a_predicate_sees_only_what_the_filters_let_through() -> None:
    """A predicate can rely on the patterns and filters beside it."""
    asked: list[str] = []

    def when(event: Event) -> bool:
        asked.append(event.event_type)
        return True

    let_through("collection.*", collection_id=OTHER, when=when)
    assert asked == []
    let_through("collection.created", collection_id=COLLECTION, when=when)
    assert asked == ["collection.created"]


def handler_without_annotation(event):  # type: ignore[no-untyped-def]
    """Takes who knows what."""


def handler_of_failures(event: SyncFailed | SyncCancelled) -> None:
    """Takes two of the six."""


def generator(event: SyncCompleted) -> Iterator[None]:
    yield


async def async_generator(event: SyncCompleted) -> AsyncIterator[None]:
    yield


class Foreign(BaseModel):
    """A model, but no event."""


class Derived(SyncCompleted):
    """An event class that no payload ever becomes."""


@pytest.mark.parametrize(
    ("patterns", "options", "message"),
    [
        (["sync.complete"], {}, "on('sync.complete'): no such event; did you mean 'sync.completed'?"),
        (["sync"], {}, "on('sync'): no such event; did you mean 'sync.*'?"),
        (["syncs.*"], {}, "on('syncs.*'): no such event; did you mean 'sync.*'?"),
        (["Sync.Completed"], {}, "did you mean 'sync.completed'?"),
        (["sync.failed", "colection.created"], {}, "did you mean 'collection.created'?"),
        (["zzz"], {}, "on('zzz'): no such event (for a type that this version does not know, use on(UnknownEvent"),
        ([], {}, "on() needs at least one event"),
        ([Foreign], {}, "on(Foreign): not one of Airweave's event classes"),
        ([BaseModel], {}, "on(BaseModel): not one of Airweave's event classes"),
        ([object], {}, "on(object): not one of Airweave's event classes"),
        ([Derived], {}, "on(Derived): not one of Airweave's event classes"),
        ([["sync.completed"]], {}, "on() takes event names and event classes, not ['sync.completed']"),
        ([SyncCompleted | SyncFailed], {}, "on() takes event names and event classes, not "),
        (["sync.*"], {"sourcetype": "github"}, "no such filter; did you mean 'source_type'?"),
        (["sync.*"], {"collection": "docs"}, "no such filter; did you mean 'collection_id'?"),
        (["sync.*"], {"zzz": 1}, "on(…, zzz=…): no such filter"),
        (["sync.failed"], {"tool_name": "x"}, "SyncFailed has no such field, so this handler would never run"),
        (["collection.created", "collection.deleted"], {"tier": "x"}, "CollectionCreated, CollectionDeleted has no"),
        (["sync.*"], {"source_type": []}, "on(…, source_type=[]): an empty collection matches nothing"),
        (["sync.*"], {"sync_id": ()}, "on(…, sync_id=()): an empty collection matches nothing"),
        (["sync.*"], {"source_type": 7}, "on(…, source_type=7): takes str, not int"),
        (["sync.*"], {"source_type": ["github", None]}, "on(…, source_type=None): takes str, not NoneType"),
        (["search.*"], {"billable": "yes"}, "on(…, billable='yes'): takes bool, not str"),
        (["search.*"], {"billable": 1}, "on(…, billable=1): takes bool, not int"),
        (["sync.*"], {"sync_id": "engineering"}, "on(…, sync_id='engineering'): not a UUID"),
        (["sync.*"], {"sync_id": [OTHER, 5]}, "on(…, sync_id=5): not a UUID"),
    ],
)
def test_what_could_never_run_is_refused(patterns: list[object], options: dict[str, Any], message: str) -> None:
    """A pattern or filter that means nothing fails where it is written, and names the nearest that means something."""
    assert message in refusal(*patterns, **options)


def test_a_forgotten_pair_of_parentheses_is_refused() -> None:
    """`@receiver.on` straight over a function says how to write it."""
    on: Any = Router().on
    with pytest.raises(RoutingError, match=re.escape("write @receiver.on('sync.completed'), with the parentheses")):
        on(handler_of_failures)


@pytest.mark.parametrize("handler", [generator, async_generator, functools.partial(generator)])
def test_a_generator_is_no_handler(handler: Callable[..., Any]) -> None:
    """A handler with a `yield` would only make a generator that nobody runs."""
    assert "it has a `yield`, so calling it would not run it" in refusal("sync.completed", handler=handler)


def test_what_cannot_be_called_is_no_handler() -> None:
    """`on()` decorates functions only."""
    nothing: Any = 5
    assert refusal("sync.completed", handler=nothing) == "on() decorates functions, not 5"


def test_a_parameter_without_annotation_is_refused() -> None:
    """The message names the handler, the parameter, and what can be annotated."""
    message = refusal("sync.completed", handler=handler_without_annotation)
    assert f"handler {__name__}.handler_without_annotation" in message
    assert "the parameter 'event' has no annotation; annotate it with an event class, Delivery, or a type" in message


def test_an_annotation_for_type_checkers_only_is_refused() -> None:
    """An annotation that does not exist at run time is named, with the remedy."""
    namespace: dict[str, Any] = {"SyncCompleted": SyncCompleted}
    exec(  # the way a module with `from __future__ import annotations` and `if TYPE_CHECKING:` looks at run time
        "from __future__ import annotations\ndef handler(event: SyncCompleted, session: Session) -> None: ...",
        namespace,
    )
    message = refusal("sync.completed", handler=namespace["handler"])
    assert "the annotation 'Session' is not known at run time; import it outside of `if TYPE_CHECKING:`" in message


@pytest.mark.parametrize("annotation", ["SyncCompleted[", "Event.missing"])
def test_an_annotation_that_cannot_be_evaluated_is_refused(annotation: str) -> None:
    """An annotation that is no expression, or names nothing, is our error and names the handler."""

    def handler(event: Any) -> None: ...

    handler.__annotations__["event"] = annotation
    with pytest.raises(ConfigurationError, match="handler"):
        Router().on("sync.completed")(handler)


def test_a_callable_without_signature_is_refused() -> None:
    """A built-in that hides its parameters cannot be filled."""
    assert "its parameters cannot be read" in refusal("sync.completed", handler=max)


def test_a_parameter_must_take_all_that_gets_through() -> None:
    """A handler of two types under a glob of six is refused, with the four that it could not take."""
    message = refusal("sync.*", handler=handler_of_failures)
    assert "its parameter 'event' takes SyncFailed | SyncCancelled, but its patterns also let through" in message
    assert "SyncCancelling, SyncCompleted, SyncPending, SyncRunning; widen the annotation, or narrow" in message


@pytest.mark.parametrize(
    ("patterns", "annotation"),
    [
        (["sync.failed", "sync.cancelled"], SyncFailed | SyncCancelled),
        (["sync.*"], SyncEvent),
        (["sync.*", "collection.*"], SyncEvent | CollectionEvent),
        (["*"], Event),
        ([SyncFailed], SyncFailed | UnknownEvent),
        (["sync.*"], Delivery),
    ],
)
def test_a_parameter_may_take_more(patterns: list[Any], annotation: object) -> None:
    """Unions, bases and `Delivery` take everything that their patterns let through."""

    def handler(event: Any) -> None: ...

    handler.__annotations__["event"] = annotation
    on: Any = Router().on
    assert on(*patterns)(handler) is handler


def test_a_star_lets_through_the_unknown_too() -> None:
    """A handler of `"*"` that cannot take an `UnknownEvent` is refused."""

    def handler(event: SyncEvent | CollectionEvent | SourceConnectionEvent | SearchEvent) -> None: ...

    assert "UnknownEvent" in refusal("*", handler=handler)
