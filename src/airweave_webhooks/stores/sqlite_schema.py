"""The schema of the SQLite store, in numbered steps, and the record's way into a row and back."""

import contextlib
import functools
import json
import sqlite3
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final, TypeVar

from airweave_webhooks.errors import ConfigurationError
from airweave_webhooks.stores.base import Claim, Facts, Key, Origin, Record
from airweave_webhooks.stores.history import LONGEST_HISTORY
from airweave_webhooks.stores.text import as_text, texts_as_json

T = TypeVar("T")

# Rows in a statement: few statements serve a batch, because each hands the interpreter's lock over and takes it back.
# SQLite takes 32,766 parameters in one.
CHUNK: Final = 32

# Step N brings a file from version N to N + 1; `PRAGMA user_version` holds the version. Never edit a released step.
MIGRATIONS: Final[tuple[tuple[str, ...], ...]] = (
    (
        """
        CREATE TABLE deliveries (
            receiver TEXT NOT NULL,
            tenant TEXT NOT NULL,
            key TEXT NOT NULL,
            message_id TEXT NOT NULL,
            digest BLOB NOT NULL,
            event_type TEXT NOT NULL,
            collection TEXT,
            source_type TEXT,
            job_id TEXT,
            event_time REAL,
            received_at REAL NOT NULL,
            state TEXT NOT NULL,
            reason TEXT,
            settled_at REAL,
            due_at REAL,
            fence INTEGER NOT NULL,
            token BLOB NOT NULL,
            owner TEXT NOT NULL,
            lease_until REAL,
            leases_lost INTEGER NOT NULL,
            attempts INTEGER NOT NULL,
            generation INTEGER NOT NULL,
            results TEXT NOT NULL,
            error TEXT,
            history TEXT NOT NULL,
            sent_at INTEGER,
            headers TEXT,
            order_key TEXT,
            -- The last column: what stands behind a long value is slow to reach.
            body BLOB,
            PRIMARY KEY (receiver, tenant, key)
        )
        """,
        "CREATE INDEX deliveries_received ON deliveries (receiver, received_at, tenant, key)",
        "CREATE INDEX deliveries_done ON deliveries (settled_at) WHERE state = 'done'",
        """
        CREATE INDEX deliveries_open ON deliveries (state, due_at, lease_until)
        WHERE state <> 'done' AND body IS NULL
        """,
        "CREATE INDEX deliveries_dead ON deliveries (receiver) WHERE state = 'dead'",
        "CREATE INDEX deliveries_lost ON deliveries (receiver, leases_lost) WHERE leases_lost > 0",
        "CREATE INDEX deliveries_bodies ON deliveries (settled_at) WHERE state = 'done' AND body IS NOT NULL",
        """
        CREATE INDEX deliveries_due ON deliveries (receiver, due_at, event_type)
        WHERE state = 'pending' AND body IS NOT NULL
        """,
        """
        CREATE INDEX deliveries_taken ON deliveries (receiver, lease_until, token)
        WHERE state = 'leased' AND body IS NOT NULL
        """,
        """
        CREATE INDEX deliveries_unfinished ON deliveries
            (receiver, tenant, order_key, coalesce(event_time, -1e12), received_at, key)
        WHERE order_key IS NOT NULL AND state IN ('pending', 'leased')
        """,
        """
        CREATE INDEX deliveries_held ON deliveries (receiver, tenant, order_key)
        WHERE order_key IS NOT NULL AND state = 'leased'
        """,
        """
        CREATE INDEX deliveries_finished ON deliveries (receiver, tenant, order_key, event_time)
        WHERE order_key IS NOT NULL AND state = 'done'
        """,
        """
        CREATE TABLE workers (
            receiver TEXT NOT NULL,
            owner TEXT NOT NULL,
            seen_at REAL NOT NULL,
            PRIMARY KEY (receiver, owner)
        )
        """,
    ),
)

COLUMNS: Final = (
    "receiver, tenant, key, message_id, digest, event_type, collection, source_type, job_id, event_time,"
    " received_at, state, reason, settled_at, due_at, fence, token, owner, lease_until, leases_lost, attempts,"
    " generation, results, error, history, sent_at, headers, order_key, body"
)
REPLACE: Final = f"REPLACE INTO deliveries ({COLUMNS}) VALUES ({', '.join('?' * (COLUMNS.count(',') + 1))})"  # noqa: S608
SELECT: Final = f"SELECT {COLUMNS} FROM deliveries WHERE receiver = ? AND tenant = ? AND key = ?"  # noqa: S608
RENEW: Final = """
    UPDATE deliveries SET lease_until = ?
    WHERE receiver = ? AND tenant = ? AND key = ? AND fence = ? AND token = ? AND state = 'leased'
"""
PURGE_DONE: Final = """
    DELETE FROM deliveries WHERE rowid IN
        (SELECT rowid FROM deliveries WHERE state = 'done' AND settled_at < ? ORDER BY settled_at LIMIT ?)
"""
ABANDON: Final = """
    UPDATE deliveries
    SET state = 'dead', reason = 'abandoned', token = x'', settled_at = ?, due_at = NULL, lease_until = NULL
    WHERE rowid IN (
        SELECT rowid FROM deliveries
        WHERE body IS NULL AND (
            (state = 'pending' AND max(coalesce(due_at, 0), coalesce(settled_at, 0)) < ?)
            OR (state = 'leased' AND lease_until < ?))
        LIMIT ?)
"""


@functools.cache
def insert(rows: int) -> str:
    """A statement that inserts so many rows of `new_row`, those that exist apart: `transitions.first_claim` in SQL."""
    return f"""
        INSERT INTO deliveries (
            received_at, receiver, tenant, key, message_id, digest, event_type, collection, source_type, job_id,
            event_time, token, owner, reason, state, sent_at, headers, order_key, body,
            settled_at, due_at, lease_until, attempts, fence, leases_lost, generation, results, history)
        SELECT
            column1, column2, column3, column4, column5, column6, column7, column8, column9, column10, column11,
            column12, column13, nullif(column14, ''), column15, column17, column18, nullif(column19, ''), column20,
            CASE WHEN column15 IN ('done', 'dead') THEN column1 END, CASE column15 WHEN 'pending' THEN column1 END,
            CASE column15 WHEN 'leased' THEN column1 + column16 END, column15 = 'leased', 1, 0, 0, '{{}}', ''
        FROM (VALUES {_values(rows, 20)}) WHERE true
        ON CONFLICT (receiver, tenant, key) DO NOTHING
    """  # noqa: S608 - constants


@functools.cache
def settle(rows: int) -> str:
    """A statement that settles so many leases.

    Of each: state, reason, results, error, settled_at, due_at, body, the end of a note, whether it was started, and
    the lease's receiver, tenant, key, fence, token.
    """
    return f"""
        UPDATE deliveries
        SET state = column1, reason = column2, results = column3, error = column4, settled_at = column5,
            due_at = column6, lease_until = NULL, body = coalesce(column7, body),
            history = CASE WHEN column8 IS NULL THEN history ELSE {appended("column5", "owner", "column8")} END,
            attempts = attempts - NOT column9
        FROM (VALUES {_values(rows, 14)})
        WHERE receiver = column10 AND tenant = column11 AND key = column12 AND fence = column13 AND token = column14
            AND state = 'leased'
    """  # noqa: S608 - constants


def appended(at: str, who: str, end: str) -> str:
    """SQL for `history.appended`, of a row that is updated."""
    line = f"'[' || printf('%.3f', {at}) || ',' || attempts || ',' || json_quote({who}) || ',' || {end}"
    return f"substr(history || {line}, -{LONGEST_HISTORY})"


def _values(rows: int, columns: int) -> str:
    row = f"({', '.join('?' * columns)})"
    return ", ".join([row] * rows)


def chunks(items: Sequence[T]) -> Iterator[Sequence[T]]:
    """Cut a batch into lengths of which there are few, so that SQLite keeps the statements for all of them prepared."""
    start = 0
    while start < len(items):
        left = len(items) - start
        length = 4 * CHUNK if left >= 4 * CHUNK else min(left, CHUNK)
        yield items[start : start + length]
        start += length


def new_row(claim: Claim, now: float) -> tuple[object, ...]:
    """Turn a claim into the values that `insert` takes.

    On Python 3.11 `sqlite3` looks for an adapter for each None and each `bytes`, which costs three times the binding,
    but for none for texts and bytearrays: so there are as few of them as can be.
    """
    kept = claim.into != "leased"  # what the sender will bring again is not kept
    sent_at, headers, order = _origin_row(claim.origin if kept else None)
    body = claim.body if kept else None
    return (
        now,
        *map(as_text, claim.key),
        as_text(claim.message_id),
        bytearray(claim.digest),
        *_facts_row(claim.facts),
        bytearray(claim.token),
        claim.owner,
        as_text(claim.reason) or "",
        claim.into,
        claim.lease,
        sent_at,
        headers,
        order or "",
        None if body is None else bytearray(body),
    )


def to_row(record: Record) -> tuple[object, ...]:
    """Turn a record into the values of `COLUMNS`."""
    return (
        *map(as_text, record.key),
        as_text(record.message_id),
        record.digest,
        *_facts_row(record.facts),
        record.received_at,
        record.state,
        as_text(record.reason),
        record.settled_at,
        record.due_at,
        record.fence,
        record.token,
        record.owner,
        record.lease_until,
        record.leases_lost,
        record.attempts,
        record.generation,
        texts_as_json(record.results),
        as_text(record.error),
        record.history,
        *_origin_row(record.origin),
        record.body,
    )


def _facts_row(facts: Facts) -> tuple[object, ...]:
    event_type, collection, source_type, job_id, event_time = facts
    seconds = event_time.timestamp() if event_time else None
    return (as_text(event_type), as_text(collection), as_text(source_type), as_text(job_id), seconds)


def _origin_row(origin: Origin | None) -> tuple[object, ...]:
    if origin is None:
        return (None, None, None)
    return (origin.sent_at, texts_as_json(origin.headers), as_text(origin.order) or None)


def from_row(row: tuple[Any, ...]) -> Record:
    """Turn the values of `COLUMNS` into a record."""
    return Record(
        Key(*row[0:3]),
        message_id=row[3],
        digest=row[4],
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
        origin=None if row[25] is None else Origin(row[25], json.loads(row[26]), row[27] or ""),
        body=row[28],
    )


def _time(seconds: float | None) -> datetime | None:
    if seconds is None:
        return None
    try:
        return datetime.fromtimestamp(seconds, UTC)
    except (OverflowError, ValueError):  # the last microseconds of the year 9999 are rounded up, to a year too many
        return datetime.max.replace(tzinfo=UTC) if seconds > 0 else datetime.min.replace(tzinfo=UTC)


_DELIVERIES: Final = "SELECT 1 FROM sqlite_master WHERE name = 'deliveries'"


def migrate(connection: sqlite3.Connection, path: str) -> None:
    """Bring the file up to date, in one transaction that other processes wait for.

    Raises:
        ConfigurationError: the file belongs to a newer version, or to another program.
    """
    newest = len(MIGRATIONS)
    if _version(connection) == newest:
        return
    connection.execute("BEGIN IMMEDIATE")
    try:
        version = _version(connection)  # another process may have been faster
        if version > newest:
            raise ConfigurationError(
                f"{path} was written by a newer version of airweave-webhooks (schema {version}, this one knows"
                f" {newest}): upgrade the package, or use another file"
            )
        foreign = connection.execute(_DELIVERIES).fetchone()
        if version == 0 and foreign:
            raise ConfigurationError(
                f"{path} has a table `deliveries` that is not ours: give the receiver a file of its own"
            )
        for step in MIGRATIONS[version:]:
            for statement in step:
                connection.execute(statement)
        connection.execute(f"PRAGMA user_version = {newest}")
        connection.execute("COMMIT")
    except BaseException:
        connection.execute("ROLLBACK")
        raise


def is_outdated(path: str) -> bool:
    """Say whether a file is missing, or lacks tables that this version needs and would make."""
    file = Path(path).absolute()
    if not file.exists():
        return file.parent.is_dir()  # if not, it cannot be made
    try:
        with contextlib.closing(sqlite3.connect(f"{file.as_uri()}?mode=ro", uri=True)) as connection:
            version = _version(connection)
            foreign = connection.execute(_DELIVERIES).fetchone()
            return version < len(MIGRATIONS) and not (version == 0 and foreign)
    except sqlite3.Error:
        return False


def _version(connection: sqlite3.Connection) -> int:
    version: int = connection.execute("PRAGMA user_version").fetchone()[0]
    return version
