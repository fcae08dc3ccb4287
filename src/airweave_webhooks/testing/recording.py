"""Deliveries as files: for people to read and change, for tests to replay, for `airweave-webhooks send`.

A file holds one delivery: its id, when it was signed, and its payload as JSON. It holds no signature: whoever sends it
again signs it anew.
"""

import contextlib
import hashlib
import json
import os
import re
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final, cast

from airweave_webhooks.errors import OperatorError
from airweave_webhooks.testing.attempts import Message

LONGEST_NAME: Final = 60
"""Characters of an id, or of an event type, in a file's name."""


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
    signed = datetime.fromtimestamp(message.created, UTC)
    content: dict[str, Any] = {"id": message.id, "sent_at": signed.isoformat().replace("+00:00", "Z")}
    payload = _payload_of(text)
    content |= {"body": text} if payload is None else {"payload": payload}
    kind = str((payload or {}).get("event_type", "delivery"))
    file = folder / f"{signed:%Y%m%dT%H%M%S.%fZ}-{_name(kind)}-{_name(message.id)}.json"
    unfinished = file.with_suffix(f".{os.getpid()}.tmp")
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with unfinished.open("w", encoding="utf-8") as stream:
            stream.write(json.dumps(content, indent=2, ensure_ascii=False) + "\n")
            stream.flush()
            os.fsync(stream.fileno())  # who records acknowledges then
        unfinished.replace(file)
    except OSError as error:
        with contextlib.suppress(OSError):  # the folder can have become anything
            unfinished.unlink()
        raise OperatorError(f"{file}: cannot be written: {error.strerror}") from None
    return file


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


def _read(file: Path) -> Message:
    raw = file.read_bytes()
    try:
        content = cast("dict[str, Any]", json.loads(raw))
    except (ValueError, RecursionError) as error:
        raise OperatorError(f"{file}: not JSON: {error}") from None
    match content:
        case {"id": str(id_), "payload": dict(), "sent_at": str(sent_at)}:
            return Message(id_, compact(content["payload"]), _time(file, sent_at))
        case {"id": str(id_), "body": str(text), "sent_at": str(sent_at)}:
            return Message(id_, text.encode("utf-8", "surrogatepass"), _time(file, sent_at))
        case {"event_type": str()}:
            digest = hashlib.sha256(raw).hexdigest()
            return Message(f"msg_{digest[:27]}", compact(content), file.stat().st_mtime)
        case _:
            raise OperatorError(
                f"{file}: holds no delivery: neither id, sent_at and payload (or body), nor an event's payload"
            )


def _time(file: Path, text: str) -> float:
    try:
        moment = datetime.fromisoformat(text)
        return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()
    except (ValueError, OverflowError) as error:
        raise OperatorError(f"{file}: sent_at is no time: {error}") from None


def compact(payload: Mapping[str, Any]) -> bytes:
    """Write a payload as Airweave does: compact UTF-8."""
    return json.dumps(payload, separators=(",", ":"), ensure_ascii=False).encode("utf-8", "surrogatepass")


def _payload_of(text: str) -> dict[str, Any] | None:
    """The payload, if writing it compactly gives the body again."""
    try:
        payload: object = json.loads(text)
    except (ValueError, RecursionError):
        return None
    if not isinstance(payload, dict):
        return None
    payload = cast("dict[str, Any]", payload)
    return payload if compact(payload) == text.encode() else None


def _name(text: str) -> str:
    """What of a text from outside is fit for a file's name; what is cut or replaced is told apart by a digest."""
    fit = re.sub(r"[^A-Za-z0-9_.]", "_", text)[:LONGEST_NAME]
    return fit if fit == text else f"{fit}_{hashlib.sha256(text.encode('utf-8', 'surrogatepass')).hexdigest()[:8]}"
