import inspect
import json
import typing
from collections.abc import Callable
from uuid import UUID

import pytest

from airweave_webhooks.errors import ConfigurationError
from airweave_webhooks.events import EVENT_TYPES, Event, SyncCompleted, SyncEvent, SyncFailed, UnknownEvent, parse
from airweave_webhooks.testing import events
from airweave_webhooks.testing.bench import body_of
from airweave_webhooks.testing.payloads import payload

NAMES = sorted(EVENT_TYPES)


def factory(name: str) -> Callable[..., Event]:
    found: Callable[..., Event] = getattr(events, name.replace(".", "_"))
    return found


@pytest.mark.parametrize("name", NAMES)
def test_every_type_has_a_factory_that_makes_its_class(name: str) -> None:
    """What is made is of the type's class, and is what a receiver reads when it is sent."""
    event = factory(name)()
    assert type(event) is EVENT_TYPES[name]
    assert parse(body_of(event)) == event


@pytest.mark.parametrize("name", NAMES)
def test_it_is_sent_as_airweave_sends_it(name: str) -> None:
    """The fields are those of Airweave's own body."""
    assert set(json.loads(body_of(factory(name)()))) == set(json.loads(payload(name)))


@pytest.mark.parametrize("name", NAMES)
def test_the_fields_that_type_checkers_know_are_the_events_own(name: str) -> None:
    """The factory's `TypedDict` has every field of the class but its type, and nothing else but the short form."""
    arguments = inspect.signature(factory(name)).parameters["fields"].annotation
    (fields,) = typing.get_args(arguments)
    known = set(typing.get_type_hints(fields)) - {"collection"}
    assert known == set(EVENT_TYPES[name].model_fields) - {"event_type"}
    assert ("collection" in typing.get_type_hints(fields)) == ("collection_readable_id" in known)


@pytest.mark.parametrize("name", [name for name in NAMES if name != "query.processed"])
def test_each_is_another_event(name: str) -> None:
    """Two of a type are two logical events, so that deduplication by the natural key takes neither for the other."""
    assert factory(name)().natural_key != factory(name)().natural_key


def test_the_same_event_has_the_same_key_and_body_each_time() -> None:
    event = events.sync_completed()
    assert body_of(event) == body_of(event)


def test_what_is_given_counts() -> None:
    event = events.sync_failed(collection="docs", error="no access", sync_job_id="0f8fad5b-d9cb-469f-a165-70867728950e")
    assert (event.collection_readable_id, event.collection_name) == ("docs", "docs")
    assert event.error == "no access"
    assert event.sync_job_id == UUID("0f8fad5b-d9cb-469f-a165-70867728950e")
    assert isinstance(event, SyncFailed)


def test_a_collections_name_and_its_short_form() -> None:
    event = events.collection_created(collection="docs", collection_name="Our docs")
    assert (event.collection_readable_id, event.collection_name) == ("docs", "Our docs")
    assert events.search_started(collection="docs").collection_readable_id == "docs"


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: factory("sync.failed")(eror="x"), "sync.failed has no field 'eror'; did you mean 'error'?"),
        (lambda: factory("query.processed")(collection="x"), "query.processed has no field 'collection'"),
        (lambda: factory("sync.failed")(event_type="sync.completed"), "sync.failed has no field 'event_type'"),
        (lambda: events.legacy(sync_job_id="x"), "sync.completed has no field 'sync_job_id'"),
    ],
)
def test_a_misspelt_field_is_an_error(make: Callable[[], object], message: str) -> None:
    with pytest.raises(TypeError) as error:
        make()
    assert str(error.value).startswith(message)


@pytest.mark.parametrize("name", [name for name in NAMES if name.startswith("sync.")])
def test_the_older_shape(name: str) -> None:
    """It has a `job_id` and no other ids, and a receiver makes the same event of it."""
    made = events.legacy(name, collection="docs", error="why")
    assert "job_id" in made
    assert not {"sync_job_id", "sync_id", "organization_id", "collection_id"} & made.keys()
    assert made["status"] == name.partition(".")[2]
    event = parse(body_of(made))
    assert type(event) is EVENT_TYPES[name]
    assert isinstance(event, SyncEvent)
    assert event.sync_job_id == UUID(made["job_id"])
    assert (event.collection_readable_id, event.error) == ("docs", "why")


def test_the_older_shape_is_one_of_syncs() -> None:
    with pytest.raises(ConfigurationError, match=r"not of 'collection.created'"):
        events.legacy("collection.created")


def test_an_unknown_type() -> None:
    event = events.unknown("invoice.paid", amount=3)
    assert isinstance(event, UnknownEvent)
    assert event.payload["amount"] == 3
    assert event.organization_id is not None
    assert event.timestamp is not None
    assert not event.drifted
    assert parse(body_of(event)) == event


def test_a_known_type_is_not_unknown() -> None:
    with pytest.raises(ConfigurationError, match=r"use events.sync_completed\(\)"):
        events.unknown("sync.completed")


def test_an_event_of_ones_own_is_sent_as_it_is() -> None:
    """What was not set is not sent."""
    event = SyncCompleted.model_validate_json(payload("legacy.sync.completed"))
    assert "entities_inserted" not in json.loads(body_of(event))
