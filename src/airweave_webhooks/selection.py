"""Which deliveries an operator means: filters and cursors, as people and programs write them."""

import base64
import fnmatch
import json
from collections.abc import Collection, Sequence
from datetime import datetime
from typing import Literal, TypedDict, get_args

from airweave_webhooks.errors import OperatorError
from airweave_webhooks.events import EVENT_TYPES
from airweave_webhooks.routing.nearest import nearest
from airweave_webhooks.stores.base import Record, State
from airweave_webhooks.stores.inbox import Cursor, Search


class Filter(TypedDict, total=False):
    """Which deliveries are meant; what is not given does not matter."""

    states: State | Collection[State]
    event_types: str | Collection[str]
    """Names, or globs such as `sync.*`."""
    collection: str | Collection[str]
    """Readable ids."""
    source_type: str | Collection[str]
    tenant: str
    name: str
    """A key or a message id."""
    since: datetime
    """Received then or later. Aware."""
    until: datetime
    """Received before. Aware."""


def search_of(receiver: str, which: Filter, event_types: Sequence[str]) -> Search:
    """Make a store's search of a filter.

    Args:
        receiver: whose deliveries.
        which: the filter.
        event_types: what its event types mean, by `expand`.

    Raises:
        OperatorError: it means nothing; the message names the nearest thing that does.
        TypeError: there is no such filter.
    """
    unknown = which.keys() - Filter.__annotations__.keys()
    if unknown:
        raise TypeError(f"no such filter: {', '.join(sorted(unknown))}")
    states = several(which, "states")
    for state in states:
        if state not in get_args(State):
            raise OperatorError(f"no such state: {state!r}{nearest(state, get_args(State))}")
    return Search(
        receiver,
        tuple(state for state in get_args(State) if state in states),
        event_types,
        several(which, "collection"),
        several(which, "source_type"),
        which.get("tenant"),
        which.get("name"),
        _seconds(which, "since"),
        _seconds(which, "until"),
    )


def expand(patterns: Sequence[str], stored: Collection[str]) -> Sequence[str]:
    """Turn names and globs of event types into names; none mean all.

    Args:
        patterns: what to expand.
        stored: types that the store knows: some can be newer than this version.

    Raises:
        OperatorError: one means nothing; the message names the nearest thing that does.
    """
    if "*" in patterns:
        return ()
    known = [*EVENT_TYPES, *sorted(set(stored) - EVENT_TYPES.keys())]
    found: dict[str, None] = {}
    for pattern in patterns:
        meant = [pattern] if pattern in known else fnmatch.filter(known, pattern)
        if not meant:
            globs = dict.fromkeys(f"{name.partition('.')[0]}.*" for name in known)
            raise OperatorError(f"no such event: {pattern!r}{nearest(pattern, [*known, *globs])}")
        found.update(dict.fromkeys(meant))
    return tuple(found)


def several(which: Filter, name: Literal["states", "event_types", "collection", "source_type"]) -> tuple[str, ...]:
    """Read a filter that takes one value, or some.

    Raises:
        OperatorError: it takes none.
    """
    value = which.get(name)
    if value is None:
        return ()
    values = (value,) if isinstance(value, str) else tuple(value)
    if not values:
        raise OperatorError(f"{name}={value!r}: an empty collection matches nothing")
    return values


def _seconds(which: Filter, name: Literal["since", "until"]) -> float | None:
    time = which.get(name)
    if time is None:
        return None
    if time.tzinfo is None:
        raise OperatorError(f"{name}={time!r}: takes a datetime with a time zone")
    return time.timestamp()


def cursor_after(record: Record) -> str:
    """Write down where the page after `record` begins."""
    text = json.dumps(Cursor.of(record), separators=(",", ":"))
    return base64.urlsafe_b64encode(text.encode()).decode().rstrip("=")


def read_cursor(cursor: str) -> Cursor:
    """Read what `cursor_after` wrote.

    Raises:
        OperatorError: something else wrote it.
    """
    try:
        padded = cursor + "=" * (-len(cursor) % 4)
        match json.loads(base64.b64decode(padded, altchars=b"-_", validate=True)):
            case [int() | float() as time, str() as tenant, str() as key]:
                return Cursor(float(time), tenant, key)
            case _:
                pass
    except ValueError:
        pass
    raise OperatorError(f"cursor {cursor!r}: not one that a search gave")
