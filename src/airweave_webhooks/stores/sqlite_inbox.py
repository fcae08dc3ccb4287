"""The inbox's verbs in SQL, each a function of the connection inside a transaction. See `inbox_transitions`."""

import json
import sqlite3
from typing import Any, Final

from airweave_webhooks.stores import inbox_transitions as transitions
from airweave_webhooks.stores.base import Key, Record
from airweave_webhooks.stores.inbox import SUSPECT_AFTER, Backlog, Cursor, Search, Take, Taken, Tally
from airweave_webhooks.stores.sqlite_schema import COLUMNS, REPLACE, appended, from_row, to_row
from airweave_webhooks.stores.text import as_text

# Without being told which index is the right one, SQLite reads all deliveries of the receiver.
_DUE: Final = "deliveries AS d INDEXED BY deliveries_due"
_TAKEN: Final = "deliveries AS d INDEXED BY deliveries_taken"
_PENDING: Final = "d.receiver = :receiver AND d.state = 'pending' AND d.body IS NOT NULL AND d.due_at <= :now"
_LEASED: Final = "d.receiver = :receiver AND d.state = 'leased' AND d.body IS NOT NULL"
_EXPIRED: Final = f"{_LEASED} AND d.lease_until <= :now"

_PLACE: Final = "coalesce({0}.event_time, -1e12), {0}.received_at, {0}.key"
_NOT_BLOCKED: Final = f"""
    (d.order_key IS NULL OR NOT EXISTS (
        SELECT 1 FROM deliveries AS o INDEXED BY deliveries_unfinished
        WHERE o.receiver = d.receiver AND o.tenant = d.tenant AND o.order_key = d.order_key
            AND o.state IN ('pending', 'leased') AND ({_PLACE.format("o")}) < ({_PLACE.format("d")})
    ) AND NOT EXISTS (
        SELECT 1 FROM deliveries AS o INDEXED BY deliveries_held
        WHERE o.receiver = d.receiver AND o.tenant = d.tenant AND o.order_key = d.order_key
            AND o.state = 'leased' AND o.lease_until > :now))
"""
_STALE: Final = """
    d.order_key IS NOT NULL AND EXISTS (
        SELECT 1 FROM deliveries AS o INDEXED BY deliveries_finished
        WHERE o.receiver = d.receiver AND o.tenant = d.tenant AND o.order_key = d.order_key
            AND o.state = 'done' AND o.event_time > d.event_time)
"""
_SELECTED: Final = f"d.rowid, {_STALE}, {', '.join('d.' + column.strip() for column in COLUMNS.split(','))}"
_ALLOWED: Final = f"""
    d.event_type NOT IN (SELECT value FROM json_each(:without))
    AND (:only = '[]' OR d.event_type IN (SELECT value FROM json_each(:only))) AND {_NOT_BLOCKED}
    AND (d.leases_lost + (d.state = 'leased') >= {SUSPECT_AFTER}) = :suspects
"""

_TAKEN_ALREADY: Final = (
    f"SELECT {_SELECTED} FROM {_TAKEN} WHERE {_LEASED} AND d.token = :token ORDER BY d.received_at, d.tenant, d.key"
)
_TAKE_DUE: Final = (
    f"SELECT {_SELECTED} FROM {_DUE} WHERE {_PENDING} AND {_ALLOWED} ORDER BY d.due_at, d.received_at, d.tenant, d.key"
    " LIMIT :most"
)
_TAKE_EXPIRED: Final = (
    f"SELECT {_SELECTED} FROM {_TAKEN} WHERE {_EXPIRED} AND {_ALLOWED}"
    " ORDER BY d.lease_until, d.received_at, d.tenant, d.key LIMIT :most"
)
_LEASE: Final = """
    UPDATE deliveries
    SET state = 'leased', reason = NULL, token = ?, owner = ?, fence = fence + 1, attempts = attempts + 1,
        due_at = NULL, lease_until = ?
    WHERE rowid IN (SELECT value FROM json_each(?))
"""

_BEAT: Final = "REPLACE INTO workers (receiver, owner, seen_at) VALUES (?, ?, ?)"
_FORGET_WORKERS: Final = "DELETE FROM workers WHERE seen_at < ?"
_DAY: Final = 86_400.0

_BACKLOG: Final = f"""
    SELECT
        (SELECT count(*) FROM {_DUE} WHERE d.receiver = :receiver AND d.state = 'pending' AND d.body IS NOT NULL),
        (SELECT d.due_at FROM {_DUE} WHERE {_PENDING} AND {_NOT_BLOCKED} ORDER BY d.due_at LIMIT 1),
        (SELECT d.lease_until FROM {_TAKEN} WHERE {_EXPIRED} AND {_NOT_BLOCKED} ORDER BY d.lease_until LIMIT 1),
        (SELECT count(*) FROM deliveries AS d INDEXED BY deliveries_lost
            WHERE d.leases_lost > 0 AND d.leases_lost + (d.state = 'leased') >= {SUSPECT_AFTER}
                AND (({_PENDING}) OR ({_EXPIRED}))),
        (SELECT count(*) FROM deliveries INDEXED BY deliveries_dead WHERE receiver = :receiver AND state = 'dead'),
        (SELECT coalesce(sum(leases_lost), 0) FROM deliveries INDEXED BY deliveries_lost
            WHERE receiver = :receiver AND leases_lost > 0),
        (SELECT max(seen_at) FROM workers WHERE receiver = :receiver)
"""

_FORGET_BODIES: Final = """
    UPDATE deliveries SET body = NULL WHERE rowid IN (
        SELECT rowid FROM deliveries INDEXED BY deliveries_bodies
        WHERE state = 'done' AND body IS NOT NULL AND settled_at < ? ORDER BY settled_at LIMIT ?)
"""

_REPLAY: Final = f"""
    UPDATE deliveries
    SET history = {appended(":now", ":who", ":end")}, reason = 'replayed', token = x'', generation = generation + 1,
        attempts = 0, leases_lost = 0, due_at = :now, state = 'pending',
        results = CASE state WHEN 'done' THEN '{{}}' ELSE (
            SELECT json_group_object(key, value) FROM json_each(results) WHERE value = 'processed') END
    WHERE receiver = :receiver AND tenant = :tenant AND key = :key AND state IN ('done', 'dead') AND body IS NOT NULL
"""

_FOUND_COLUMNS: Final = COLUMNS.replace("sent_at, headers, order_key, body", "NULL, NULL, NULL, NULL")
_TALLY: Final = """
    SELECT state, reason, event_type, count(*) FROM deliveries WHERE receiver = ?
    GROUP BY state, reason, event_type ORDER BY state, reason, event_type
"""


def take(connection: sqlite3.Connection, wish: Take, now: float) -> list[Taken]:
    """Lease what is due."""
    most = 1 if wish.suspects else wish.most
    values = {
        "receiver": as_text(wish.receiver),
        "token": wish.token,
        "now": now,
        "without": json.dumps([as_text(name) for name in wish.without]),
        "only": json.dumps([as_text(name) for name in wish.only]),
        "suspects": wish.suspects,
        "most": most,
    }
    again = connection.execute(_TAKEN_ALREADY, values).fetchall()
    if again:
        return [taken for _, taken in map(_taken, again)]
    found = [_taken(row) for query in (_TAKE_DUE, _TAKE_EXPIRED) for row in connection.execute(query, values)]
    found.sort(key=lambda one: transitions.in_order_of_due(one[1].record))
    del found[most:]
    pending: list[int] = []
    for rowid, (record, _) in found:
        expired = record.state == "leased"
        transitions.lease(record, wish, now)
        if expired:  # has one thing more to tell
            connection.execute(REPLACE, to_row(record))
        else:
            pending.append(rowid)
    connection.execute(_LEASE, (wish.token, wish.owner, now + wish.lease, json.dumps(pending)))
    return [taken for _, taken in found]


def _taken(row: tuple[Any, ...]) -> tuple[int, Taken]:
    return row[0], Taken(from_row(row[2:]), bool(row[1]))


def beat(connection: sqlite3.Connection, receiver: str, owner: str, now: float) -> None:
    """Note that a worker works."""
    connection.execute(_BEAT, (as_text(receiver), as_text(owner), now))
    connection.execute(_FORGET_WORKERS, (now - _DAY,))


def backlog(connection: sqlite3.Connection, receiver: str, now: float) -> Backlog:
    """Say how far the workers are behind."""
    row = connection.execute(_BACKLOG, {"receiver": as_text(receiver), "now": now}).fetchone()
    pending, due, expired, suspects, dead, lost, seen = row
    since = min((time for time in (due, expired) if time is not None), default=now)
    pages, free, size = (
        connection.execute(f"PRAGMA {name}").fetchone()[0] for name in ("page_count", "freelist_count", "page_size")
    )
    seen_before = None if seen is None else max(0.0, now - seen)
    return Backlog(pending, now - since, suspects, dead, lost, seen_before, (pages - free) * size)


def forget_bodies(connection: sqlite3.Connection, before: float, most: int) -> int:
    """Drop the bodies of what was done before."""
    return connection.execute(_FORGET_BODIES, (before, most)).rowcount


def replay(connection: sqlite3.Connection, key: Key, who: str, end: str, now: float) -> bool:
    """Make a delivery due again that is finished and has a body."""
    values = {"who": as_text(who), "end": end, "now": now}
    values.update((name, as_text(part)) for name, part in zip(Key._fields, key, strict=True))
    return connection.execute(_REPLAY, values).rowcount == 1


def search(connection: sqlite3.Connection, wish: Search, after: Cursor | None, most: int) -> list[Record]:
    """Find deliveries, the latest first."""
    where, values = _where(wish)
    if after is not None:
        where += " AND (received_at, tenant, key) < (?, ?, ?)"
        values += [after.received_at, as_text(after.tenant), as_text(after.key)]
    order = "received_at DESC, tenant DESC, key DESC"
    query = f"SELECT {_FOUND_COLUMNS} FROM deliveries WHERE {where} ORDER BY {order} LIMIT ?"
    return [from_row(row) for row in connection.execute(query, (*values, most))]


def count(connection: sqlite3.Connection, wish: Search) -> int:
    """Say how many deliveries a search finds."""
    where, values = _where(wish)
    (found,) = connection.execute(f"SELECT count(*) FROM deliveries WHERE {where}", values).fetchone()
    return int(found)


def _where(wish: Search) -> tuple[str, list[object]]:
    """The condition of a search, made of constants, and the values for its place-holders."""
    where = "receiver = ?"
    values: list[object] = [as_text(wish.receiver)]
    for column, wanted in (
        ("state", wish.states),
        ("event_type", wish.event_types),
        ("collection", wish.collections),
        ("source_type", wish.source_types),
    ):
        if wanted:
            where += f" AND {column} IN ({', '.join('?' * len(wanted))})"
            values += map(as_text, wanted)
    for condition, value in (
        ("tenant = ?", wish.tenant),
        ("? IN (key, message_id)", wish.name),
        ("received_at >= ?", wish.since),
        ("received_at < ?", wish.until),
    ):
        if value is not None:
            where += f" AND {condition}"
            values.append(as_text(value) if isinstance(value, str) else value)
    if wish.replayable:
        where += " AND state IN ('done', 'dead') AND body IS NOT NULL"
    return where, values


def tally(connection: sqlite3.Connection, receiver: str) -> list[Tally]:
    """Count deliveries that are alike."""
    return [Tally(*row) for row in connection.execute(_TALLY, (as_text(receiver),))]
