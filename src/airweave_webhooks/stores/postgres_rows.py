"""A record's way into the columns of PostgreSQL, and back."""

import json
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any, Final

from airweave_webhooks.stores.base import NO_RESULTS, Claim, Claimed, Facts, Key, Lease, Origin, Record, Settle
from airweave_webhooks.stores.history import tail
from airweave_webhooks.stores.text import as_text, texts_as_json

LOST_COLUMNS: Final = 7
"""How many of a claim's columns `lost` takes."""
_NOT_KEPT: Final[tuple[Any, ...]] = (None,) * 4
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND: Final = timedelta(microseconds=1)


def claim_columns(claims: Sequence[Claim]) -> list[list[Any] | None]:
    """The arrays of `claim`, a column each. Those of `lost` are the first seven."""
    facts = [claim.facts for claim in claims]
    # What the sender will bring again is not kept.
    bodies = [None if claim.into == "leased" else claim.body for claim in claims]
    origins = [None if claim.into == "leased" else claim.origin for claim in claims]
    return [
        *key_columns([claim.key for claim in claims]),
        [as_text(claim.message_id) for claim in claims],
        [claim.digest for claim in claims],
        [claim.token for claim in claims],
        [claim.into for claim in claims],
        [as_text(fact.event_type) for fact in facts],
        _or_none([as_text(fact.collection) for fact in facts]),
        _or_none([as_text(fact.source_type) for fact in facts]),
        _or_none([as_text(fact.job_id) for fact in facts]),
        _or_none([fact.event_time for fact in facts]),
        [as_text(claim.owner) for claim in claims],
        _or_none([as_text(claim.reason) for claim in claims]),
        _or_none([origin and origin.sent_at for origin in origins]),
        _or_none([origin and _headers_as_json(origin.headers) for origin in origins]),
        _or_none([(origin and as_text(origin.order)) or None for origin in origins]),
        _or_none(bodies),
        [float(claim.lease) for claim in claims],
    ]


def settle_columns(wishes: Sequence[Settle]) -> list[list[Any] | None]:
    """The arrays of `settle`, a column each."""
    return [
        *lease_columns([wish.lease for wish in wishes]),
        [wish.state for wish in wishes],
        [as_text(wish.reason) for wish in wishes],
        [texts_as_json(wish.results) for wish in wishes],
        _or_none([as_text(wish.error) for wish in wishes]),
        [float(wish.delay) for wish in wishes],
        _or_none([wish.body for wish in wishes]),
        _or_none([None if wish.error is None else tail(wish.reason or wish.state, wish.error) for wish in wishes]),
        [int(wish.started) for wish in wishes],
    ]


def lease_columns(leases: Sequence[Lease]) -> list[list[Any]]:
    """The arrays of `renew` and `settled_before`, a column each."""
    keys = key_columns([lease.key for lease in leases])
    return [*keys, [lease.fence for lease in leases], [lease.token for lease in leases]]


def key_columns(keys: Sequence[Key]) -> list[list[Any]]:
    """The arrays of `get`, a column each."""
    return [
        [as_text(key.receiver) for key in keys],
        [as_text(key.tenant) for key in keys],
        [as_text(key.key) for key in keys],
    ]


def _or_none(column: list[Any]) -> list[Any] | None:
    """A column with nothing in it, which many have, in a cheap way: `unnest` fills up what is too short."""
    return None if column.count(None) == len(column) else column


def granted(fence: int, attempts: int, generation: int, results: str | None) -> Claimed:
    """The answer to a claim that was granted."""
    return Claimed("claimed", fence, max(attempts, 1), generation, json.loads(results) if results else NO_RESULTS)


def to_record(row: Sequence[Any]) -> Record:
    """Turn the columns `RECORD`, and perhaps `KEPT`, into a record."""
    sent_at, headers, order, body = row[25:] or _NOT_KEPT
    return Record(
        Key(*row[:3]),
        message_id=row[3],
        digest=row[4],
        # To the microsecond, which seconds as a float are not in every year.
        facts=Facts(row[5], row[6], row[7], row[8], _time(row[9])),
        received_at=row[10],
        state=row[11],
        reason=row[12],
        settled_at=row[13],
        due_at=row[14],
        fence=row[15],
        token=row[16],
        owner=row[17],
        lease_until=row[18],
        leases_lost=row[19],
        attempts=row[20],
        generation=row[21],
        results=json.loads(row[22]),
        error=row[23],
        history=row[24],
        origin=None if sent_at is None else Origin(sent_at, json.loads(headers), order or ""),
        body=body,
    )


def _headers_as_json(headers: Mapping[str, str]) -> str:
    # The server's JSON knows no NUL and no lone surrogate.
    return texts_as_json({as_text(name) or "": as_text(value) or "" for name, value in headers.items()})


def _time(microseconds: int | None) -> datetime | None:
    if microseconds is None:
        return None
    try:
        return _EPOCH + microseconds * _MICROSECOND
    except OverflowError:  # in its own time zone the year was one that Python knows
        return datetime.max.replace(tzinfo=UTC) if microseconds > 0 else datetime.min.replace(tzinfo=UTC)
