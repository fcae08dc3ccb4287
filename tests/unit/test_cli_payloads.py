"""The bodies that `trigger` sends."""

import json
from pathlib import Path
from typing import Any

import pytest

from airweave_webhooks import UnknownEvent
from airweave_webhooks.cli.send.payloads import Catalogued, FromFile, event_type_of, put, read_changes
from airweave_webhooks.errors import OperatorError
from airweave_webhooks.events import parse
from airweave_webhooks.testing import Message
from airweave_webhooks.testing.payloads import payload, payload_names
from airweave_webhooks.testing.recording import write_recording


def made(name: str, *changes: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(Catalogued(name, read_changes(changes)).body())
    return found


@pytest.mark.parametrize("name", payload_names())
def test_each_body_is_a_new_event(name: str) -> None:
    """Of the right type, with the fields of the sample in their order, and of another identity each time."""
    catalogued = Catalogued(name)
    bodies = [catalogued.body(), catalogued.body()]
    events = [parse(body) for body in bodies]
    assert not any(isinstance(event, UnknownEvent) for event in events)
    assert list(json.loads(bodies[0])) == list(json.loads(payload(name)))
    assert events[0].event_type == catalogued.event_type == event_type_of(bodies[0])
    assert events[0].natural_key is None or events[0].natural_key != events[1].natural_key


@pytest.mark.parametrize(
    ("change", "key", "value"),
    [
        ("entities_inserted=5", "entities_inserted", 5),
        ("source_type=123", "source_type", "123"),
        ("collection_readable_id=2024-05", "collection_readable_id", "2024-05"),
        ("error=null", "error", None),
        ('error="null"', "error", "null"),
        ("error=a=b", "error", "a=b"),
        ("error=", "error", ""),
        (
            "sync_job_id=0f8fad5b-d9cb-469f-a165-70867728950e",
            "sync_job_id",
            "0f8fad5b-d9cb-469f-a165-70867728950e",
        ),
    ],
)
def test_a_field_takes_json_or_text(change: str, key: str, value: object) -> None:
    """Whichever the event's field takes; what is set stays so in every body."""
    assert made("sync.completed", change)[key] == value


def test_a_dotted_key() -> None:
    assert made("entity.batch_processed", "type_breakdown.File.inserted=7", "type_breakdown.File.updated=0")[
        "type_breakdown"
    ]["File"]["inserted"] == 7  # fmt: skip
    assert made("search.failed", "diagnostics.model.name=x")["diagnostics"] == {"model": {"name": "x"}}


@pytest.mark.parametrize(
    ("name", "changes", "message"),
    [
        ("sync.faild", [], "did you mean 'sync.failed'?"),
        ("zzz", [], "the events are: sync.pending, "),
        ("sync.failed", ["colection_name=x"], "no such field; did you mean 'collection_name'?"),
        ("sync.failed", ["entities_inserted=x"], "does not take that: Input should be a valid integer"),
        ("sync.failed", ["event_type=sync.completed"], "does not take that"),
        ("sync.failed", ["error"], "write key=value"),
        ("sync.failed", ["=x"], "write key=value"),
        ("sync.failed", ["a..b=x"], "write key=value"),
        ("sync.failed", ["source_type.name=x"], "source_type is no object"),
    ],
)
def test_what_cannot_be_made(name: str, changes: list[str], message: str) -> None:
    with pytest.raises(OperatorError) as raised:
        made(name, *changes)
    assert message in str(raised.value)


def test_a_file_is_sent_as_it_is(tmp_path: Path) -> None:
    """A payload compactly, a recorded delivery to the byte; until something is set."""
    file = tmp_path / "event.json"
    file.write_text('{ "event_type": "sync.melted", "x": 1 }')
    assert FromFile(file).body() == b'{"event_type":"sync.melted","x":1}'
    assert FromFile(file).event_type == "sync.melted"
    changed = FromFile(file, "sync.frozen", read_changes(["x=2", "y.z=3"]))
    assert changed.body() == b'{"event_type":"sync.frozen","x":2,"y":{"z":3}}'
    assert changed.event_type == "sync.frozen"
    recorded = write_recording(Message("msg_1", b" [1]", 0.0), tmp_path)
    assert FromFile(recorded).body() == b" [1]"
    assert FromFile(recorded).event_type == "delivery"


def test_files_that_cannot_be_used(tmp_path: Path) -> None:
    for body in (b"[1]", b"no json"):
        recorded = write_recording(Message("msg_1", body, 0.0), tmp_path)
        with pytest.raises(OperatorError, match="holds no JSON object in which something could be set"):
            FromFile(recorded, "sync.failed")
    with pytest.raises(OperatorError, match="airweave-webhooks send"):
        FromFile(tmp_path)


def test_what_is_no_object_takes_no_field() -> None:
    with pytest.raises(OperatorError, match="a is no object"):
        put({"a": [1]}, ("a", "b"), 1)
