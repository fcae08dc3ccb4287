"""Deliveries as files: what was sent comes back to the byte, and what is no delivery is told from it."""

import json
import os
from pathlib import Path
from typing import Any

import pytest

from airweave_webhooks.errors import OperatorError
from airweave_webhooks.testing.attempts import Message
from airweave_webhooks.testing.payloads import payload, payload_names
from airweave_webhooks.testing.recording import compact, read_recordings, write_recording

SIGNED = 1_795_251_821.5


def deep(levels: int) -> bytes:
    return b'{"a":' + b"[" * levels + b"]" * levels + b"}"


BODIES = {
    **{name: payload(name) for name in payload_names()},
    "empty": b"",
    "no JSON": b"\x1b[2J not JSON",
    "no object": b"[1,2]",
    "with spaces": b'{"event_type": "sync.completed"}\n',
    "escaped": b'{"name":"caf\\u00e9"}',
    "a lone surrogate": b'{"name":"\\ud800"}',
    "twice the same": b'{"a":1,"a":2}',
    "another number": b'{"a":1e2}',
    "a long number": b'{"a":' + b"9" * 5000 + b"}",
    "deep": deep(500),
    "too deep": deep(100_000),
    "an event type that is no text": b'{"event_type":7}',
    "line ends": b'{"a":1}\r\n',
}


@pytest.mark.parametrize("body", BODIES.values(), ids=BODIES.keys())
def test_what_is_written_is_read(tmp_path: Path, body: bytes) -> None:
    """To the byte, whatever the body is."""
    message = Message("msg_1", body, SIGNED)
    file = write_recording(message, tmp_path / "new" / "folder")
    assert read_recordings(file) == read_recordings(file.parent) == [message]


def test_at_any_depth(tmp_path: Path) -> None:
    """Some could be written, and not be read."""
    for levels in (98, 99, 100, *range(850, 1010, 3)):
        message = Message("msg_1", deep(levels), SIGNED)
        assert read_recordings(write_recording(message, tmp_path)) == [message]


IDS = ["msg_1", "a/b", "../../etc/passwd", "..", ".", "", "x" * 1000, "\ud800", "\ud800é😀", "a\nb", "a\0b", "é", "CON"]


@pytest.mark.parametrize("id_", IDS, ids=ascii)
def test_any_id_has_a_file(tmp_path: Path, id_: str) -> None:
    """In the folder, under a name of its own that any system can have, and nothing beside it."""
    message = Message(id_, b'{"event_type":"../../x"}', SIGNED)
    file = write_recording(message, tmp_path)
    assert file.parent == tmp_path
    assert file.name.isascii()
    assert len(file.name) < 200
    assert read_recordings(tmp_path) == [message]
    assert list(tmp_path.iterdir()) == [file]


def test_ids_that_look_alike_have_different_files(tmp_path: Path) -> None:
    for id_ in ("a/b", "a:b", "a_b", "x" * 99, "x" * 98):
        write_recording(Message(id_, b"{}", SIGNED), tmp_path)
    assert len(read_recordings(tmp_path)) == 5


def test_the_files_are_in_the_order_of_the_signatures(tmp_path: Path) -> None:
    times = [SIGNED, SIGNED + 0.000_01, SIGNED + 1, SIGNED + 86_400, 0.0]
    for n, time in enumerate(times):
        write_recording(Message(f"msg_{9 - n}", payload("sync.failed"), time), tmp_path)
    assert [message.created for message in read_recordings(tmp_path)] == sorted(times)


def test_a_file_is_readable(tmp_path: Path) -> None:
    """Of a payload a line a field, and no signature."""
    file = write_recording(Message("msg_1", '{"event_type":"sync.failed","error":"é"}'.encode(), SIGNED), tmp_path)
    assert file.name == "20261121T090341.500000Z-sync.failed-msg_1.json"
    assert file.read_text(encoding="utf-8").splitlines() == [
        "{",
        '  "id": "msg_1",',
        '  "sent_at": "2026-11-21T09:03:41.500000Z",',
        '  "payload": {',
        '    "event_type": "sync.failed",',
        '    "error": "é"',
        "  }",
        "}",
    ]


@pytest.mark.parametrize("time", [float("nan"), float("inf"), 1e18, -1e18])
def test_a_time_outside_of_the_calendar(tmp_path: Path, time: float) -> None:
    with pytest.raises(OperatorError, match="no time of this calendar"):
        write_recording(Message("msg_1", b"{}", time), tmp_path)
    assert not list(tmp_path.iterdir())


def test_a_body_that_is_no_text(tmp_path: Path) -> None:
    with pytest.raises(OperatorError, match="its body is not UTF-8"):
        write_recording(Message("msg_1", b"\xff", SIGNED), tmp_path)


def test_a_folder_that_is_a_file(tmp_path: Path) -> None:
    (tmp_path / "folder").write_text("")
    for folder in (tmp_path / "folder", tmp_path / "folder" / "below"):
        with pytest.raises(OperatorError, match=r"cannot be written: (File exists|Not a directory)"):
            write_recording(Message("msg_1", b"{}", SIGNED), folder)


@pytest.mark.parametrize("what", ["os.fsync", "pathlib.Path.replace"])
def test_a_full_disk_leaves_no_half_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, what: str) -> None:
    """Neither under its name nor under another one."""

    def fail(*_: Any) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(what, fail)
    with pytest.raises(OperatorError, match="No space left on device"):
        write_recording(Message("msg_1", b"{}", SIGNED), tmp_path)
    assert not list(tmp_path.iterdir())


def test_what_is_interrupted_leaves_no_half_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupt(_: Any) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(os, "fsync", interrupt)
    with pytest.raises(KeyboardInterrupt):
        write_recording(Message("msg_1", b"{}", SIGNED), tmp_path)
    assert not list(tmp_path.iterdir())


def test_a_payload_alone(tmp_path: Path) -> None:
    """It gets the same id each time, and is sent as Airweave would write it."""
    file = tmp_path / "example.json"
    file.write_text(json.dumps(json.loads(payload("sync.failed")), indent=4))
    (one,) = read_recordings(file)
    (again,) = read_recordings(tmp_path)
    assert one == again
    assert one.body == payload("sync.failed")
    assert one.id.startswith("msg_")
    assert len(one.id) == 31


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "not JSON"),
        (b"{", "not JSON"),
        (b"\xff\xff\xff", "not JSON"),
        (deep(100_000), "not JSON"),
        (b'{"event_type": "x", "a": ' + b"9" * 5000 + b"}", "not JSON"),
        (b"[]", "holds no delivery"),
        (b"7", "holds no delivery"),
        (b"{}", "holds no delivery"),
        (b'{"id": "msg_1", "payload": {}}', "holds no delivery"),
        (b'{"id": 1, "payload": {}, "sent_at": "2026-01-01"}', "holds no delivery"),
        (b'{"id": "msg_1", "payload": [], "sent_at": "2026-01-01"}', "holds no delivery"),
        (b'{"id": "msg_1", "payload": {}, "sent_at": "yesterday"}', "sent_at is no time"),
    ],
)
def test_what_is_no_delivery(tmp_path: Path, content: bytes, message: str) -> None:
    """It says which file, and what is wrong with it."""
    file = tmp_path / "x.json"
    file.write_bytes(content)
    with pytest.raises(OperatorError, match=rf"x\.json: {message}"):
        read_recordings(tmp_path)


def test_times_without_a_zone_are_in_utc(tmp_path: Path) -> None:
    (tmp_path / "x.json").write_text('{"id": "msg_1", "body": "é", "sent_at": "1970-01-01T00:00:07"}')
    assert read_recordings(tmp_path) == [Message("msg_1", "é".encode(), 7.0)]


def test_where_there_is_nothing(tmp_path: Path) -> None:
    with pytest.raises(OperatorError, match="there are no deliveries in it"):
        read_recordings(tmp_path)
    with pytest.raises(OperatorError, match="nowhere: No such file"):
        read_recordings(tmp_path / "nowhere")
    (tmp_path / "folder.json").mkdir()
    with pytest.raises(OperatorError, match=r"folder\.json: Is a directory"):
        read_recordings(tmp_path)


def test_half_a_character_is_sent_as_it_is(tmp_path: Path) -> None:
    assert compact({"a": "\ud800"}) == b'{"a":"\xed\xa0\x80"}'
