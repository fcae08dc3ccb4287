"""Who may do what to a record that a worker shall do, as plain functions: the rest of `transitions`.

For stores that can look at all records before they change some these are the verbs of `InboxStore`, but for speed; for
others they are the specification. Times are seconds since the epoch, by the store's clock.
"""

import math
from collections import defaultdict
from collections.abc import Iterable, Sequence
from typing import Final

from airweave_webhooks.stores.base import NO_RESULTS, Key, Record
from airweave_webhooks.stores.history import appended, tail
from airweave_webhooks.stores.inbox import SUSPECT_AFTER, Cursor, Search, Take, Taken
from airweave_webhooks.stores.transitions import lose_lease, what_is_done

__all__ = [
    "choose",
    "due_since",
    "finds",
    "has_old_body",
    "in_order_of_due",
    "is_suspect",
    "lease",
    "page_of",
    "replay",
    "take",
]

_UNFINISHED: Final = ("pending", "leased")


def choose(records: Iterable[Record], wish: Take, now: float) -> list[Record]:
    """Find what a take gets, in the order of when it became due."""
    ours = [record for record in records if record.key.receiver == wish.receiver and record.body is not None]
    again = [record for record in ours if record.state == "leased" and record.token == wish.token]
    if again:
        return sorted(again, key=_in_order_of_coming)
    heads = _heads(ours, now)
    found = [
        record
        for record in ours
        if (since := due_since(record)) is not None
        and since <= now
        and is_suspect(record) == wish.suspects
        and record.facts.event_type not in wish.without
        and (not wish.only or record.facts.event_type in wish.only)
        and (_line(record) is None or record.key in heads)
    ]
    return sorted(found, key=in_order_of_due)[: 1 if wish.suspects else wish.most]


def take(record: Record, wish: Take, records: Iterable[Record], now: float) -> Taken:
    """Lease a record that `choose` found among `records`; one that this very take has already is as it is."""
    if record.state != "leased" or record.token != wish.token:
        lease(record, wish, now)
    return Taken(record, _line(record) is not None and any(_supersedes(other, record) for other in records))


def lease(record: Record, wish: Take, now: float) -> None:
    """Give a record to whoever asks."""
    if record.state == "leased":
        lose_lease(record, now)
    record.state = "leased"
    record.reason = None
    record.token = wish.token
    record.owner = wish.owner
    record.fence += 1
    record.attempts += 1
    record.due_at = None
    record.lease_until = now + wish.lease


def due_since(record: Record) -> float | None:
    """When a record was, or will be, due; None for one that nobody will work on."""
    if record.state == "pending":
        return record.due_at or 0.0
    return record.lease_until or 0.0 if record.state == "leased" else None


def is_suspect(record: Record) -> bool:
    """Whether a record that is due must be expected to kill the process that works on it."""
    return record.leases_lost + (record.state == "leased") >= SUSPECT_AFTER


def replay(record: Record, who: str, why: str, now: float) -> bool:
    """Make a record due again, if it is finished and has a body."""
    if record.state not in {"done", "dead"} or record.body is None:
        return False
    record.history = appended(record.history, now, record.attempts, who, tail("replayed", why))
    record.results = what_is_done(record.results) if record.state == "dead" else NO_RESULTS
    record.state = "pending"
    record.reason = "replayed"
    record.token = b""
    record.generation += 1
    record.attempts = 0
    record.leases_lost = 0
    record.due_at = now
    return True


def has_old_body(record: Record, before: float) -> bool:
    """Whether a record's body is no longer kept for a replay: it was done `before`."""
    return record.state == "done" and record.body is not None and (record.settled_at or 0.0) < before


def finds(search: Search, record: Record) -> bool:
    """Whether a search means a record."""
    facts = record.facts
    return (
        record.key.receiver == search.receiver
        and (not search.states or record.state in search.states)
        and (not search.event_types or facts.event_type in search.event_types)
        and (not search.collections or facts.collection in search.collections)
        and (not search.source_types or facts.source_type in search.source_types)
        and (search.tenant is None or record.key.tenant == search.tenant)
        and (search.name is None or search.name in {record.key.key, record.message_id})
        and (search.since is None or record.received_at >= search.since)
        and (search.until is None or record.received_at < search.until)
        and (not search.replayable or (record.state in {"done", "dead"} and record.body is not None))
    )


def page_of(found: Iterable[Record], after: Cursor | None, most: int) -> Sequence[Record]:
    """Cut a page out of what a search has found."""
    records = sorted(found, key=Cursor.of, reverse=True)
    return [record for record in records if after is None or Cursor.of(record) < after][:most]


def in_order_of_due(record: Record) -> tuple[object, ...]:
    """A sort key: what became due first comes first."""
    return (due_since(record), *_in_order_of_coming(record))


def _in_order_of_coming(record: Record) -> tuple[object, ...]:
    return (record.received_at, record.key)


def _in_order_of_happening(record: Record) -> tuple[object, ...]:
    time = record.facts.event_time
    return (-math.inf if time is None else time.timestamp(), *_in_order_of_coming(record))


def _line(record: Record) -> tuple[str, str, str] | None:
    """Where a record stands in line, if it has an order."""
    if record.origin is None or not record.origin.order:
        return None
    return record.key.receiver, record.key.tenant, record.origin.order


def _same_order(one: Record, other: Record) -> bool:
    return one is not other and _line(one) == _line(other) is not None


def _heads(records: Iterable[Record], now: float) -> set[Key]:
    """Find what is the first of its line, and of the lines of which nothing is under way."""
    lines: defaultdict[object, list[Record]] = defaultdict(list)
    for record in records:
        if record.state in _UNFINISHED:
            lines[_line(record)].append(record)
    return {
        min(line, key=_in_order_of_happening).key
        for line in lines.values()
        if not any(other.state == "leased" and (other.lease_until or 0.0) > now for other in line)
    }


def _supersedes(other: Record, record: Record) -> bool:
    """Whether `other` is done, and happened later than `record`."""
    times = (other.facts.event_time, record.facts.event_time)
    return (
        _same_order(other, record)
        and other.state == "done"
        and times[0] is not None
        and times[1] is not None
        and times[0] > times[1]
    )
