"""Bodies to send: an event of the catalogue as it would come now, or what a file holds, with fields set."""

import json
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple, cast

from pydantic import ValidationError

from airweave_webhooks.errors import OperatorError
from airweave_webhooks.events import EVENT_TYPES, Event
from airweave_webhooks.routing.nearest import nearest
from airweave_webhooks.testing.payloads import fresh_payload, payload_names
from airweave_webhooks.testing.recording import compact, read_recordings


class Change(NamedTuple):
    """`--set dotted.key=value`."""

    path: tuple[str, ...]
    text: str

    @property
    def values(self) -> tuple[Any, ...]:
        """What the text can mean: a JSON value, if it is one, or else itself."""
        try:
            return json.loads(self.text), self.text
        except (ValueError, RecursionError):
            return (self.text,)


class Catalogued:
    """An event of the catalogue; each body is a new event.

    Args:
        name: an event type, or that of an older shape.
        changes: what to set.

    Raises:
        OperatorError: there is no such event, or it has no such field, or the field takes no such value.
    """

    def __init__(self, name: str, changes: Sequence[Change] = ()) -> None:
        if name not in payload_names():
            known = nearest(name, payload_names()) or f"; the events are: {', '.join(EVENT_TYPES)}"
            raise OperatorError(
                f"Airweave sends no event {name!r}{known} (what is in no catalogue is sent with --file)"
            )
        self._name = name
        self._sample = fresh_payload(name)
        self._type = EVENT_TYPES[self._sample["event_type"]]
        self._fixed: list[tuple[tuple[str, ...], Any]] = []
        for change in changes:
            self._fixed.append((change.path, self._checked(change)))

    def body(self) -> bytes:
        """Make an event that has not been sent before."""
        return compact(self._payload())

    @property
    def event_type(self) -> str:
        """What it is an event of."""
        return str(self._sample["event_type"])

    def _payload(self) -> dict[str, Any]:
        made = fresh_payload(self._name)
        for path, value in self._fixed:
            put(made, path, value)
        return made

    def _checked(self, change: Change) -> Any:
        """What of the text's meanings fits the event's field."""
        known = self._sample.keys() | _fields(self._type)
        name = change.path[0]
        if name not in known:
            raise OperatorError(
                f"--set {name}: {self.event_type} has no such field{nearest(name, known)} (other shapes are sent with"
                " --file)"
            )
        why = ""
        for value in change.values:
            made = self._payload()
            put(made, change.path, value)
            try:
                self._type.model_validate_json(compact(made))
            except ValidationError as error:
                why = error.errors(include_url=False, include_input=False)[0]["msg"]
            else:
                return value
        key = ".".join(change.path)
        raise OperatorError(f"--set {key}={change.text}: {self.event_type} does not take that: {why}")


class FromFile:
    """What a file holds: a payload, or a recorded delivery. It is sent as it is, as long as nothing is set.

    Args:
        file: where it is.
        name: the event type that it gets instead of its own; any.
        changes: what to set; any.

    Raises:
        OperatorError: it cannot be read, or something is to be set and it holds no JSON object.
    """

    def __init__(self, file: Path, name: str | None = None, changes: Sequence[Change] = ()) -> None:
        if file.is_dir():
            raise OperatorError(f"{file} is a folder: `airweave-webhooks send {file}` sends what is in it")
        self._body = read_recordings(file)[0].body
        self.event_type: str = event_type_of(self._body)
        if name is None and not changes:
            return
        try:
            made: object = json.loads(self._body)
        except ValueError:
            made = None
        if not isinstance(made, dict):
            raise OperatorError(f"{file}: holds no JSON object in which something could be set")
        made = cast("dict[str, Any]", made)
        for change in changes:
            put(made, change.path, change.values[0])
        if name is not None:
            made["event_type"] = name
        self._body = compact(made)
        self.event_type = event_type_of(self._body)

    def body(self) -> bytes:
        """The same body each time."""
        return self._body


def read_changes(texts: Sequence[str]) -> list[Change]:
    """Read what `--set` was given.

    Raises:
        OperatorError: a text is not `key=value`.
    """
    changes: list[Change] = []
    for text in texts:
        key, sign, value = text.partition("=")
        path = tuple(key.strip().split("."))
        if not sign or not all(path):
            raise OperatorError(f"--set {text}: write key=value, as in collection_readable_id=docs or plan.name=pro")
        changes.append(Change(path, value))
    return changes


def put(made: dict[str, Any], path: Sequence[str], value: Any) -> None:
    """Set what a dotted key names; what is missing on the way is made.

    Raises:
        OperatorError: something on the way is no object.
    """
    here = made
    for depth, name in enumerate(path[:-1], 1):
        if here.get(name) is None:
            here[name] = {}
        if not isinstance(here[name], dict):
            raise OperatorError(f"--set {'.'.join(path)}: {'.'.join(path[:depth])} is no object")
        here = here[name]
    here[path[-1]] = value


def event_type_of(body: bytes) -> str:
    """What a body says that it is, for people."""
    # Not parsed: a body can be whatever the receiver is to be tested with.
    found = re.match(rb'\{"event_type":"([\w.]{1,100})"', body)
    return found[1].decode() if found else "delivery"


def _fields(cls: type[Event]) -> set[str]:
    return set(cls.model_fields)
