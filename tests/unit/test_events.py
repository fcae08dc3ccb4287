"""From bytes to events: every type, every shape that is known to arrive, and bytes that are no event at all."""

import json
from datetime import UTC, datetime, timedelta
from typing import Any, Literal, get_args, get_origin
from uuid import UUID

import pytest
from pydantic import ValidationError

from airweave_webhooks import events
from airweave_webhooks.errors import InvalidPayload
from airweave_webhooks.events import EVENT_TYPES, Event, SyncCompleted, SyncEvent, SyncFailed, UnknownEvent, parse
from airweave_webhooks.routing import patterns
from airweave_webhooks.testing.payloads import LEGACY, payload, payload_names

JOB = "0f8fad5b-d9cb-469f-a165-70867728950e"
CONNECTION = "e02fd0e4-00fd-490a-8d3d-7c1f6f0e6d0a"
COLLECTION = "7d444840-9dc0-41d1-b245-5ffdce74fad2"
ORGANIZATION = "7c1f6f0e-6d0a-4f0e-9b57-0d7f2f3a9e10"
NAMES = sorted(EVENT_TYPES)


def body(name: str = "sync.completed", without: tuple[str, ...] = (), /, **changes: Any) -> bytes:
    """A sample with fields changed, added or removed."""
    fields = {**json.loads(payload(name)), **changes}
    return json.dumps({key: value for key, value in fields.items() if key not in without}).encode()


def unknown(raw: bytes) -> UnknownEvent:
    """What `raw` becomes, which has to be an `UnknownEvent`."""
    event = parse(raw)
    assert isinstance(event, UnknownEvent)
    return event


def test_there_is_a_sample_for_every_type() -> None:
    """The samples, which users build their tests on, are complete."""
    assert payload_names() == sorted([*EVENT_TYPES, LEGACY])
    with pytest.raises(KeyError):
        payload("sync.exploded")


@pytest.mark.parametrize("name", NAMES)
def test_every_sample_parses_into_its_class(name: str) -> None:
    """A sample becomes the class of its type and domain, with every field of the class filled and none left over."""
    event = parse(payload(name))
    assert type(event) is EVENT_TYPES[name]
    assert event.event_type == name
    assert event.domain == name.partition(".")[0]
    assert event.model_fields_set == set(type(event).model_fields)
    assert event.model_extra == {}
    assert event.organization_id == UUID(ORGANIZATION)
    assert event.timestamp is not None
    assert event.timestamp.utcoffset() == timedelta(0)


@pytest.mark.parametrize("name", NAMES)
def test_every_field_keeps_its_value(name: str) -> None:
    """What is read is what was written: nothing is dropped, rounded or confused with a neighbour."""
    event = parse(payload(name))
    read = json.loads(event.model_dump_json())
    sent = json.loads(payload(name))
    moment = sent.pop("timestamp")
    assert event.timestamp == datetime.fromisoformat(moment)
    del read["timestamp"]
    assert read == sent


KINDS: dict[str, type] = {
    "timestamp": datetime,
    **dict.fromkeys(("organization_id", "sync_id", "sync_job_id", "collection_id", "source_connection_id"), UUID),
    **dict.fromkeys(("is_authenticated", "billable"), bool),
    **dict.fromkeys(("entities_inserted", "entities_updated", "entities_deleted", "entities_skipped"), int),
    **dict.fromkeys(("chunks_written", "collected", "upserted", "queries", "batch_seq", "duration_ms"), int),
    **dict.fromkeys(("inserted", "updated", "deleted", "kept"), int),
    **dict.fromkeys(("diagnostics", "type_breakdown"), dict),
    "affected_user_emails": tuple,
    "batch_duration_ms": float,
    "results": list,
}


@pytest.mark.parametrize("name", NAMES)
def test_fields_are_typed(name: str) -> None:
    """Ids are UUIDs, times are datetimes, counts are integers: never the JSON text of them."""
    kinds = {field: type(value) for field, value in parse(payload(name)) if value is not None}
    assert kinds == {field: KINDS.get(field, str) for field in kinds}


def test_the_sync_sample_in_full() -> None:
    """One sample spelt out, so that the tests above cannot be wrong together with the models."""
    event = parse(payload("sync.completed"))
    assert isinstance(event, SyncCompleted)
    assert event.timestamp == datetime(2026, 11, 20, 9, 3, 41, 803112, UTC)
    assert (event.sync_job_id, event.source_connection_id) == (UUID(JOB), UUID(CONNECTION))
    assert (event.collection_id, event.organization_id) == (UUID(COLLECTION), UUID(ORGANIZATION))
    assert (event.entities_inserted, event.entities_updated, event.entities_deleted) == (42, 7, 1)
    assert (event.entities_skipped, event.chunks_written, event.error) == (310, 188, None)
    assert (event.source_type, event.collection_readable_id) == ("github", "engineering-context-k4x9q")


def test_nested_counts_are_typed() -> None:
    """The breakdown by entity type is made of models too, and leaves room for more."""
    event = parse(body("entity.batch_processed", type_breakdown={"Page": {"inserted": 2, "moved": 1}}))
    assert isinstance(event, events.EntityBatchProcessed)
    counts = event.type_breakdown["Page"]
    assert (counts.inserted, counts.updated, counts.deleted, counts.kept) == (2, 0, 0, 0)
    assert counts.model_extra == {"moved": 1}


@pytest.mark.parametrize("name", NAMES)
def test_extra_fields_are_kept(name: str) -> None:
    """A field of the future is no drift: it is kept, also where its name is one of ours or of Python's."""
    extra = {"region": "eu", "natural_key": 1, "domain": 2, "__class__": 3, "model_config": {"extra": "forbid"}}
    event = parse(body(name, **extra))
    assert type(event) is EVENT_TYPES[name]
    assert event.model_extra == extra
    assert event.natural_key == parse(payload(name)).natural_key
    assert event.domain == name.partition(".")[0]


@pytest.mark.parametrize("name", [*NAMES, "billing.exploded"])
def test_events_are_frozen(name: str) -> None:
    """Handlers share an event: none can change it under another."""
    event = parse(payload(name)) if name in EVENT_TYPES else parse(b'{"event_type":"billing.exploded"}')
    for field in ("event_type", "timestamp", "brand_new"):
        with pytest.raises(ValidationError, match="frozen"):
            setattr(event, field, None)


COUNTS = ("entities_inserted", "entities_updated", "entities_deleted", "entities_skipped", "chunks_written")


@pytest.mark.parametrize("name", [name for name in NAMES if name.startswith("sync.")])
def test_the_documented_shape_of_sync_events(name: str) -> None:
    """Airweave's documentation shows most of them without counts and without an error: that is no drift."""
    event = parse(body(name, (*COUNTS, "error")))
    assert type(event) is EVENT_TYPES[name]
    assert isinstance(event, SyncEvent)
    assert [getattr(event, count) for count in COUNTS] == [0] * 5
    assert event.error is None


def test_the_older_shape() -> None:
    """`job_id` fills `sync_job_id`, and what the older shape lacks is None."""
    event = parse(payload(LEGACY))
    assert isinstance(event, SyncCompleted)
    assert event.sync_job_id == UUID(JOB)
    assert (event.sync_id, event.collection_id, event.organization_id) == (None, None, None)
    assert event.model_extra == {"status": "completed"}
    assert event.natural_key == parse(payload("sync.completed")).natural_key


def test_the_older_name_beside_the_newer() -> None:
    """Where both names are sent, the newer one counts."""
    event = parse(body(job_id="00000000-0000-0000-0000-000000000000"))
    assert isinstance(event, SyncCompleted)
    assert event.sync_job_id == UUID(JOB)


@pytest.mark.parametrize(
    ("text", "moment"),
    [
        ("2026-11-20T09:03:41Z", datetime(2026, 11, 20, 9, 3, 41, 0, UTC)),
        ("2026-11-20T09:03:41.5Z", datetime(2026, 11, 20, 9, 3, 41, 500_000, UTC)),
        ("2026-11-20T09:03:41.000001Z", datetime(2026, 11, 20, 9, 3, 41, 1, UTC)),
        ("2026-11-20T09:03:41+00:00", datetime(2026, 11, 20, 9, 3, 41, 0, UTC)),
        ("2026-11-20T10:03:41+01:00", datetime(2026, 11, 20, 9, 3, 41, 0, UTC)),
    ],
)
def test_timestamps(text: str, moment: datetime) -> None:
    """The fraction may be absent, short or full; the moment is the same, and aware. So it is where the type is new."""
    for name in ("sync.completed", "sync.exploded"):
        event = parse(body(event_type=name, timestamp=text))
        assert event.timestamp == moment
        assert event.timestamp.tzinfo is not None


@pytest.mark.parametrize(
    "stamp",
    [None, "", "soon", {}, [], True, float("nan"), float("inf"), 2**70, -(2**70), "2026-11-20T09:03:41", "9" * 5000],
)
def test_a_timestamp_that_is_none(stamp: object) -> None:
    """An unreadable or naive time makes an event without one: drift for a known type, and never an error."""
    assert unknown(body(timestamp=stamp)).timestamp is None
    assert unknown(body(timestamp=stamp)).drifted
    assert unknown(body(event_type="sync.exploded", timestamp=stamp)).timestamp is None


@pytest.mark.parametrize("event_type", ["sync.exploded", "billing.paid", "sync", "", "*", "SYNC.COMPLETED", "☃"])
def test_an_unknown_type(event_type: str) -> None:
    """A type that this version does not know is kept whole, and is no drift."""
    raw = body(event_type=event_type)
    event = unknown(raw)
    assert event.event_type == event_type
    assert event.payload == json.loads(raw)
    assert not event.drifted
    assert event.natural_key is None
    assert event.domain == ""
    assert event.timestamp == datetime(2026, 11, 20, 9, 3, 41, 803112, UTC)
    assert event.organization_id == UUID(ORGANIZATION)


@pytest.mark.parametrize("value", [None, "", "acme", 5, {}, [ORGANIZATION], "\ud800", float("inf")])
def test_an_organization_that_is_none(value: object) -> None:
    """An id that is no UUID makes an event without one, and never an error."""
    assert unknown(body(event_type="sync.exploded", organization_id=value)).organization_id is None
    assert unknown(body("sync.completed", ("sync_job_id",), organization_id=value)).organization_id is None


@pytest.mark.parametrize("event_type", [None, 5, 1.5, True, [], ["sync.completed"], {"sync.completed": 1}])
def test_a_type_that_is_no_text(event_type: object) -> None:
    """It is an event of no type, whose payload is all there is."""
    event = unknown(body(event_type=event_type))
    assert (event.event_type, event.drifted) == ("", False)
    assert event.payload["event_type"] == event_type


def test_no_type_at_all() -> None:
    """An object without `event_type` is an event of no type."""
    assert unknown(b"{}").payload == {}
    assert unknown(body("sync.completed", ("event_type",))).event_type == ""


REQUIRED = [
    (name, field)
    for name, cls in EVENT_TYPES.items()
    for field, info in cls.model_fields.items()
    if info.is_required() and field != "event_type"
]


@pytest.mark.parametrize(("name", "field"), REQUIRED)
def test_a_missing_field_is_drift(name: str, field: str) -> None:
    """A known type without a field that handlers rely on is `UnknownEvent`, marked, with everything that came."""
    raw = body(name, (field,))
    event = unknown(raw)
    assert (event.event_type, event.drifted) == (name, True)
    assert event.payload == json.loads(raw)


@pytest.mark.parametrize(("name", "field"), REQUIRED)
@pytest.mark.parametrize("value", [None, {"moved": "here"}])
def test_a_field_of_the_wrong_type_is_drift(name: str, field: str, value: object) -> None:
    """A field that changed its type is drift as well; its value is kept."""
    event = unknown(body(name, **{field: value}))
    assert (event.event_type, event.drifted) == (name, True)
    assert event.payload[field] == value


@pytest.mark.parametrize("field", ["sync_id", "organization_id", "entities_inserted", "error"])
def test_an_optional_field_of_the_wrong_type_is_drift(field: str) -> None:
    """A field may be absent; present, it has to fit."""
    assert unknown(body(**{field: ["wrong"]})).drifted


def test_unknown_events_cannot_be_forged_by_a_payload() -> None:
    """Fields that are called as ours are part of the payload and nothing more."""
    event = unknown(b'{"event_type":"x.y","payload":{"a":1},"drifted":true,"domain":"sync","natural_key":"k"}')
    assert (event.drifted, event.domain, event.natural_key) == (False, "", None)
    assert event.payload["payload"] == {"a": 1}


AT = "2026-11-20T"
NATURAL_KEYS: dict[str, str | None] = {
    **{name: f"{name}:{JOB}" for name in NAMES if name.startswith("sync.")},
    "source_connection.created": f"source_connection.created:{CONNECTION}",
    "source_connection.auth_completed": f"source_connection.auth_completed:{CONNECTION}:{AT}08:55:10.250000+00:00",
    "source_connection.deleted": f"source_connection.deleted:{CONNECTION}",
    "collection.created": f"collection.created:{COLLECTION}",
    "collection.updated": f"collection.updated:{COLLECTION}:{AT}08:50:00+00:00",
    "collection.deleted": f"collection.deleted:{COLLECTION}",
    "organization.created": f"organization.created:{ORGANIZATION}",
    "organization.deleted": f"organization.deleted:{ORGANIZATION}",
    "organization.member_added": f"organization.member_added:{ORGANIZATION}:member@example.com:{AT}08:00:00+00:00",
    "organization.member_removed": f"organization.member_removed:{ORGANIZATION}:member@example.com:{AT}08:00:00+00:00",
    "entity.batch_processed": f"entity.batch_processed:{JOB}:4",
    "access_control.batch_processed": f"access_control.batch_processed:{JOB}:{AT}09:01:31+00:00",
    "query.processed": None,
    "search.started": "search.started:req-1",
    "search.completed": "search.completed:req-1",
    "search.failed": "search.failed:req-2",
    "search.reranking": f"search.reranking:req-2:{AT}09:10:01+00:00",
    "search.thinking": f"search.thinking:req-2:{AT}09:10:01+00:00",
    "search.tool_called": f"search.tool_called:req-2:{AT}09:10:01+00:00",
}


@pytest.mark.parametrize("name", NAMES)
def test_natural_keys(name: str) -> None:
    """What each event is about, spelt out: stored records are found by it, so it must not change between versions."""
    assert parse(payload(name)).natural_key == NATURAL_KEYS[name]


@pytest.mark.parametrize("name", [name for name in NAMES if NATURAL_KEYS[name]])
def test_natural_keys_of_two_publications(name: str) -> None:
    """The publisher's retry has the same key, though a server may write the fields in another order or spelling."""
    sent = json.loads(payload(name))
    again = {key: sent[key] for key in reversed(sent)}
    again["timestamp"] = datetime.fromisoformat(sent["timestamp"]).isoformat(timespec="microseconds")
    for key, value in sent.items():
        if key.endswith("_id") and value and key != "request_id":
            again[key] = value.upper()
    assert parse(json.dumps(again, indent=1).encode()).natural_key == NATURAL_KEYS[name]


@pytest.mark.parametrize("name", [name for name in NAMES if name.startswith("organization.")])
def test_without_its_object_an_event_has_no_natural_key(name: str) -> None:
    """Events of different organizations never share a key because both lack the id."""
    assert parse(body(name, ("organization_id",))).natural_key is None


LATER = {"timestamp": "2026-11-20T10:00:00Z"}


@pytest.mark.parametrize(
    ("name", "change"),
    [
        ("sync.completed", {"sync_job_id": CONNECTION}),
        ("sync.completed", {"event_type": "sync.failed"}),
        ("source_connection.auth_completed", LATER),
        ("source_connection.deleted", {"source_connection_id": JOB}),
        ("collection.updated", LATER),
        ("collection.created", {"collection_id": JOB}),
        ("organization.member_added", LATER),
        ("organization.member_added", {"affected_user_emails": ["other@example.com"]}),
        ("organization.member_removed", LATER),
        ("entity.batch_processed", {"batch_seq": 5}),
        ("access_control.batch_processed", LATER),
        ("search.started", {"request_id": "req-9"}),
        ("search.thinking", LATER),
        ("search.tool_called", LATER),
        ("search.reranking", LATER),
    ],
)
def test_natural_keys_of_different_events(name: str, change: dict[str, Any]) -> None:
    """What recurs for the same object, or is about another one, has a key of its own."""
    assert parse(body(name, **change)).natural_key not in {NATURAL_KEYS[name], None}


NOT_JSON = {
    "empty": b"",
    "white space": b" \n",
    "text": b"wombat",
    "cut short": payload("sync.completed")[:-1],
    "two objects": b"{}{}",
    "trailing comma": b'{"wombat":1,}',
    "single quotes": b"{'wombat':1}",
    "raw control character": b'{"wombat":"\x00"}',
    "Latin-1": b'{"wombat":"\xe9"}',
    "cut UTF-8": b'{"wombat":"\xe2\x98"}',
    "byte order mark": b"\xef\xbb\xbf" + payload("sync.completed"),
    "compressed": b"\x1f\x8b\x08\x00wombat",
    "open brackets": b"[" * 100_000,
    "open objects": b'{"wombat":' * 100_000,
    "deep": b'{"wombat":' + b"[" * 100_000 + b"]" * 100_000 + b"}",
    "5000 digits": b'{"wombat":' + b"9" * 5000 + b"}",
    "5000 digits in a count": body().replace(b"42", b"9" * 5000),
}
NOT_AN_OBJECT = (b"null", b"true", b"1", b"1e400", b"NaN", b'"wombat"', b"[]", b'[{"wombat":1}]', b"-Infinity")


@pytest.mark.parametrize("raw", [*NOT_JSON.values(), *NOT_AN_OBJECT], ids=[*NOT_JSON, *map(repr, NOT_AN_OBJECT)])
def test_what_is_no_json_object_is_refused(raw: bytes) -> None:
    """It is an `InvalidPayload`, a 400, and never another exception; the diagnosis quotes nothing of it."""
    with pytest.raises(InvalidPayload) as caught:
        parse(raw)
    assert (caught.value.status, caught.value.outcome) == (400, "invalid")
    assert "wombat" not in caught.value.diagnosis
    assert ("not an object" in caught.value.diagnosis) == (raw in NOT_AN_OBJECT)


NOT_UTF8 = {
    "UTF-16": '{"event_type":"x"}'.encode("utf-16"),
    "UTF-16 without a mark": '{"event_type":"x"}'.encode("utf-16-le"),
    "UTF-32": '{"event_type":"x"}'.encode("utf-32"),
    "encoded surrogate": b'{"event_type":"\xed\xa0\x80"}',
}


@pytest.mark.parametrize("raw", NOT_UTF8.values(), ids=NOT_UTF8)
def test_json_in_another_encoding_is_refused(raw: bytes) -> None:
    """Only UTF-8 is sent; what is not is refused, though Python's `json` would guess the encoding."""
    with pytest.raises(InvalidPayload):
        parse(raw)


STRANGE: dict[str, tuple[bytes, type[Event]]] = {
    "2^70 in a count": (body(entities_inserted=2**70), SyncCompleted),
    "2^70 in an extra field": (body(extra=-(2**70)), SyncCompleted),
    "4000 digits": (body(extra=10**4000), SyncCompleted),
    "NaN": (body(extra=float("nan")), SyncCompleted),
    "infinity by overflow": (payload("sync.completed")[:-1] + b',"extra":1e400}', SyncCompleted),
    "NUL": (body(collection_name="\x00"), SyncCompleted),
    "the last of two types": (payload("sync.completed")[:-1] + b',"event_type":"sync.failed"}', SyncFailed),
    "nested 100 deep": (payload("sync.completed")[:-1] + b',"extra":' + b"[" * 100 + b"]" * 100 + b"}", SyncCompleted),
    "nested 500 deep": (payload("sync.completed")[:-1] + b',"extra":' + b"[" * 500 + b"]" * 500 + b"}", UnknownEvent),
    "lone surrogate in a field": (body(collection_name="\ud800"), UnknownEvent),
    "lone surrogate in a name": (body(**{"\ud800": 1}), UnknownEvent),
    "lone surrogate in the type": (body(event_type="\ud800"), UnknownEvent),
}


@pytest.mark.parametrize(("raw", "cls"), STRANGE.values(), ids=STRANGE)
def test_strange_objects_are_events(raw: bytes, cls: type[Event]) -> None:
    """JSON that other tools choke on is still an event, known or not, that nothing is lost of."""
    event = parse(raw)
    assert type(event) is cls
    if isinstance(event, UnknownEvent):
        assert event.payload == json.loads(raw)


def test_routing_knows_every_type() -> None:
    """The names that type checkers accept in `on()` are the event types and a glob for each domain."""
    names = {name for literal in get_literals(patterns.EventName) for name in get_args(literal)}
    assert names == {*EVENT_TYPES, *(f"{cls.domain}.*" for cls in EVENT_TYPES.values())}
    assert get_args(patterns.EventGlob) == ("*",)


def get_literals(annotation: object) -> list[object]:
    """The `Literal`s in a union, however deep it is built."""
    if get_origin(annotation) is Literal:
        return [annotation]
    return [literal for part in get_args(annotation) for literal in get_literals(part)]
