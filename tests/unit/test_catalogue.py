"""What the command knows of Airweave's events: all of it from their classes."""

import inspect
import json
from typing import Any, Union

import pytest

from airweave_webhooks.cli import catalogue
from airweave_webhooks.cli.catalogue import EventType, event_types
from airweave_webhooks.errors import OperatorError
from airweave_webhooks.events import EVENT_TYPES, SyncFailed, parse
from airweave_webhooks.testing.payloads import payload

ALL = event_types()


def test_every_event_is_known_with_its_meaning() -> None:
    assert [event.name for event in ALL] == list(EVENT_TYPES)
    for event in ALL:
        assert event.cls is EVENT_TYPES[event.name]
        assert event.brief.endswith(".")
        assert len(event.brief) < 100
        assert "`" not in event.meaning


def test_what_airweave_documents() -> None:
    """As docs/events.md says: three domains, and of them not `sync.cancelling`."""
    documented = {event.name for event in ALL if event.cls.documented}
    domains = {"sync", "source_connection", "collection"}
    assert documented == {name for name in EVENT_TYPES if name.split(".")[0] in domains} - {"sync.cancelling"}


@pytest.mark.parametrize("event", ALL, ids=lambda event: event.name)
def test_the_fields_are_those_of_the_example(event: EventType) -> None:
    """In their order; what is required is in it, what can be null says so; and the key is made as it says."""
    example: dict[str, Any] = json.loads(payload(event.name))
    fields = {field.name: field for field in event.fields}
    assert fields.keys() == set(event.cls.model_fields)
    assert [name for name in fields if name in example][:2] == ["event_type", "timestamp"]
    assert {name for name, field in fields.items() if field.required} <= example.keys()
    assert {name for name, value in example.items() if value is None} <= {
        name for name, field in fields.items() if field.nullable
    }
    assert fields["event_type"].type == "str"
    assert fields["timestamp"].type == "datetime"
    assert "order by this" in fields["timestamp"].meaning
    key = parse(payload(event.name)).natural_key
    assert (event.natural_key is None) == (key is None)
    if key is not None and event.natural_key is not None:
        assert event.natural_key.partition(" ")[0].count(":") >= 1
        assert event.natural_key.startswith("<event_type>:<")


def test_how_types_are_written() -> None:
    (batch, sync, joined, search) = event_types(
        ["entity.batch_processed", "sync.completed", "organization.member_added", "search.started"]
    )
    assert fields(batch)["type_breakdown"] == "Mapping[str, EntityCounts]"
    assert fields(sync)["sync_id"] == "UUID | None"
    assert fields(joined)["affected_user_emails"] == "tuple[str, ...]"
    assert fields(search)["plan"] == "Any"
    assert catalogue._type(Union[int, None]) == "int | None"  # noqa: UP007
    (job,) = [field for field in sync.fields if field.name == "sync_job_id"]
    assert (job.also, job.required, job.nullable) == (["job_id"], True, False)


def fields(event: EventType) -> dict[str, str]:
    return {field.name: field.type for field in event.fields}


@pytest.mark.parametrize(
    ("patterns", "found"),
    [
        (["sync.failed"], ["sync.failed"]),
        (["SyncFailed", "sync.failed"], ["sync.failed"]),
        (["collection.*"], ["collection.created", "collection.updated", "collection.deleted"]),
        (["*.failed"], ["sync.failed", "search.failed"]),
        (["*"], list(EVENT_TYPES)),
    ],
)
def test_names_globs_and_classes(patterns: list[str], found: list[str]) -> None:
    assert [event.name for event in event_types(patterns)] == found


@pytest.mark.parametrize("name", ["sync.competed", "SyncCompletd", "nothing.*", ""])
def test_an_unknown_name(name: str) -> None:
    with pytest.raises(OperatorError, match="no such event"):
        event_types([name])


def test_without_the_source(monkeypatch: pytest.MonkeyPatch) -> None:
    """There are no meanings of fields; all else is there."""

    def missing(_: object) -> str:
        raise OSError("could not get source code")

    monkeypatch.setattr(inspect, "getsource", missing)
    (event,) = event_types(["sync.failed"])
    assert {field.meaning for field in event.fields} == {""}
    assert event.meaning == "A job failed; error says why."


def test_meanings_of_the_nearest_class() -> None:
    class Own(SyncFailed):
        error: str | None = None
        """What `happened`."""

    assert catalogue._meanings(Own)["error"] == "What happened."
