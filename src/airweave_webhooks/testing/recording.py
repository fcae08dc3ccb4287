"""Deliveries as files: for people to read and change, for tests to replay, for `airweave-webhooks send`.

A file holds one delivery: its id, when it was signed, and its payload as JSON. It holds no signature: whoever sends it
again signs it anew.
"""

import contextlib
import hashlib
import json
import os
import re
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final, cast

from airweave_webhooks.errors import OperatorError
from airweave_webhooks.testing.attempts import Message

LONGEST_NAME: Final = 60
"""Characters of an id, or of an event type, in a file's name."""
DEEPEST: Final = 100
"""Levels of a payload; one that is nested more deeply is kept as text."""


def write_recording(message: Message, folder: Path) -> Path:
    """Write a delivery into `folder`, as a whole or not at all.

    Args:
        message: its body can be anything; what is no compact JSON object is kept as text, to the byte.
        folder: is made if it is missing.

    Returns:
        The file, `<time>-<event type>-<id>.json`: sorted by name they are in the order in which they were signed.

    Raises:
        OperatorError: it cannot be written, or its body is not UTF-8.
    """
    try:
        text = message.body.decode()
    except UnicodeDecodeError as error:
        raise OperatorError(f"message {message.id!r} cannot be recorded: its body is not UTF-8 ({error})") from None
    try:
        signed = datetime.fromtimestamp(message.created, UTC)
    except (ValueError, OverflowError, OSError):
        raise OperatorError(
            f"message {message.id!r} cannot be recorded: {message.created!r} is no time of this calendar"
        ) from None
    payload = _payload_of(text)
    kind = str((payload or {}).get("event_type", "delivery"))
    file = folder / f"{signed:%Y%m%dT%H%M%S.%fZ}-{_name(kind)}-{_name(message.id)}.json"
    unfinished = file.with_suffix(f".{os.getpid()}.tmp")
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with unfinished.open("wb") as stream:
            stream.write(_content(message.id, signed, text, payload))
            stream.flush()
            os.fsync(stream.fileno())  # who records acknowledges then
        unfinished.replace(file)
    except OSError as error:
        raise OperatorError(f"{file}: cannot be written: {error.strerror}") from None
    finally:
        with contextlib.suppress(OSError):  # it has its name by now, or is of no use
            unfinished.unlink()
    return file


def _content(id_: str, signed: datetime, text: str, payload: dict[str, Any] | None) -> bytes:
    head = {"id": id_, "sent_at": signed.isoformat().replace("+00:00", "Z")}
    return _readable(head | ({"body": text} if payload is None else {"payload": payload}))


def _readable(content: Mapping[str, Any]) -> bytes:
    try:
        return json.dumps(content, indent=2, ensure_ascii=False).encode() + b"\n"
    except UnicodeEncodeError:  # an id can hold half a character, which UTF-8 does not know
        return json.dumps(content, indent=2).encode() + b"\n"


def read_recordings(path: Path) -> list[Message]:
    """Read a delivery from a file, or all from a folder, in the order of the names.

    A file can also hold nothing but a payload, such as one of Airweave's examples: then it has no id, and gets the
    same one each time it is read, made of its content.

    Raises:
        OperatorError: there is none, or a file holds something else; says which and what.
    """
    try:
        files = sorted(path.glob("*.json")) if path.is_dir() else [path]
        if not files:
            raise OperatorError(f"{path}: there are no deliveries in it: files called *.json")
        return [_read(file) for file in files]
    except OSError as error:
        raise OperatorError(f"{error.filename or path}: {error.strerror}") from None


def recorded(content: object, where: object) -> Message | None:
    """The delivery that a file's JSON holds, if it is one that `write_recording` wrote, or that looks the same.

    Args:
        content: the JSON.
        where: the file, for messages.

    Raises:
        OperatorError: its time is none.
    """
    match content:
        case {"id": str(id_), "payload": dict(), "sent_at": str(sent_at)}:
            return Message(id_, compact(cast("dict[str, Any]", content)["payload"]), _time(where, sent_at))
        case {"id": str(id_), "body": str(text), "sent_at": str(sent_at)}:
            return Message(id_, text.encode("utf-8", "surrogatepass"), _time(where, sent_at))
        case _:
            return None


def _read(file: Path) -> Message:
    raw = file.read_bytes()
    try:
        content: object = json.loads(raw)
        if (message := recorded(content, file)) is not None:
            return message
        match content:
            case {"event_type": str()}:
                digest = hashlib.sha256(raw).hexdigest()
                return Message(f"msg_{digest[:27]}", compact(cast("dict[str, Any]", content)), file.stat().st_mtime)
            case _:
                pass
    except (ValueError, RecursionError) as error:
        raise OperatorError(f"{file}: not JSON: {error}") from None
    raise OperatorError(f"{file}: holds no delivery: neither id, sent_at and payload (or body), nor an event's payload")


def _time(where: object, text: str) -> float:
    try:
        moment = datetime.fromisoformat(text)
        return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()
    except (ValueError, OverflowError) as error:
        raise OperatorError(f"{where}: sent_at is no time: {error}") from None


def compact(payload: Mapping[str, Any]) -> bytes:
    """Write a payload as Airweave does: compact UTF-8."""
    return json.dumps(payload, separators=(",", ":"), ensure_ascii=False).encode("utf-8", "surrogatepass")


def _payload_of(text: str) -> dict[str, Any] | None:
    """The payload, if writing it compactly gives the body again."""
    try:
        payload: object = json.loads(text)
        if isinstance(payload, dict):
            payload = cast("dict[str, Any]", payload)
            return payload if not _is_deep(payload) and compact(payload) == text.encode() else None
    except (ValueError, RecursionError):
        pass
    return None


def _is_deep(value: object) -> bool:
    """Whether a value is nested so deeply that some program, ours included, may not be able to read it."""
    level = [value]
    for _ in range(DEEPEST):
        level = [child for each in level for child in _children(each)]
        if not level:
            return False
    return True


def _children(value: object) -> Iterable[object]:
    if isinstance(value, dict):
        return cast("dict[str, object]", value).values()
    return cast("list[object]", value) if isinstance(value, list) else ()


def _name(text: str) -> str:
    """What of a text from outside is fit for a file's name; what is cut or replaced is told apart by a digest."""
    fit = re.sub(r"[^A-Za-z0-9_.]", "_", text)[:LONGEST_NAME]
    return fit if fit == text else f"{fit}_{hashlib.sha256(text.encode('utf-8', 'surrogatepass')).hexdigest()[:8]}"
