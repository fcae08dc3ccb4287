"""The SQL of the PostgreSQL store, and a record's way into columns and back. `transitions` is what the SQL follows.

Each verb is one statement with an array per column, and so a transaction of its own: nothing is left in the session,
and a proxy may give every statement to another connection. `MOMENT` stands in each: settings for this transaction
only, and the server's clock.
"""

import json
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Final

from airweave_webhooks.errors import ConfigurationError
from airweave_webhooks.stores.base import NO_RESULTS, Claim, Claimed, Facts, Key, Lease, Record, Settle
from airweave_webhooks.stores.text import as_text, texts_as_json

MIGRATIONS: Final = Path(__file__).with_name("postgres_migrations")
"""The folder of the SQL files: `0001_….sql` brings a schema from version 0 to 1. Never edit a released one."""
NEWEST: Final = len(list(MIGRATIONS.glob("*.sql")))
"""The version of the tables that this release works on."""

LONGEST_NAME: Final = 63
"""Bytes. PostgreSQL cuts longer names, so that two of them could mean one schema."""

# A lock that lasts longer than this (in a transaction of somebody else's) is an error, and the batch is tried again.
_LOCKS: Final = "set_config('lock_timeout', '1s', true)"
_LAX: Final = f"""WITH moment AS MATERIALIZED (
    SELECT set_config('synchronous_commit', 'off', true), {_LOCKS}, clock_timestamp() AS now)"""
# Whatever the server's default: what backs an acknowledgement is on the disk. A stricter setting stays.
_SYNCED: Final = f"""WITH moment AS MATERIALIZED (
    SELECT set_config('synchronous_commit', coalesce(nullif(current_setting('synchronous_commit'), 'off'), 'on'), true),
        {_LOCKS}, clock_timestamp() AS now)"""

_CLAIM: Final = """
INSERT INTO {schema}.deliveries AS old (
    receiver, tenant, key, message_id, digest, token, event_type, collection, source_type, job_id, event_time, owner,
    state, reason, body, received_at, settled_at, lease_until, attempts, fence)
SELECT
    receiver, tenant, key, message_id, digest, token, event_type, collection, source_type, job_id, event_time, owner,
    state, reason, CASE WHEN state <> 'leased' THEN body END, now, CASE WHEN state <> 'leased' THEN now END,
    CASE WHEN state = 'leased' THEN now + lease * interval '1 second' END, CASE WHEN state = 'leased' THEN 1 ELSE 0 END,
    1
FROM moment, unnest(
    %b::text[], %b::text[], %b::text[], %b::text[], %b::bytea[], %b::bytea[], %b::text[], %b::text[], %b::text[],
    %b::text[], %b::timestamptz[], %b::text[], %b::text[], %b::text[], %b::bytea[], %b::float8[]
) AS claim (
    receiver, tenant, key, message_id, digest, token, event_type, collection, source_type,
    job_id, event_time, owner, state, reason, body, lease)
ORDER BY receiver COLLATE "C", tenant COLLATE "C", key COLLATE "C"
ON CONFLICT (receiver, tenant, key) DO UPDATE SET
    message_id = excluded.message_id, digest = excluded.digest, token = excluded.token, owner = excluded.owner,
    state = excluded.state, reason = excluded.reason, fence = old.fence + 1, due_at = NULL,
    attempts = old.attempts + excluded.attempts,
    leases_lost = old.leases_lost + CASE WHEN old.state = 'leased' THEN 1 ELSE 0 END,
    -- Counted from here, and not from before the row was waited for.
    lease_until = clock_timestamp() + (excluded.lease_until - excluded.received_at),
    settled_at = CASE WHEN excluded.state = 'leased' THEN old.settled_at ELSE clock_timestamp() END,
    body = CASE WHEN excluded.state = 'leased' THEN old.body ELSE excluded.body END,
    results = CASE WHEN old.state = 'dead' THEN (
        SELECT coalesce(jsonb_object_agg(name, result), '{}') FROM jsonb_each(old.results) AS each (name, result)
        WHERE result = '"processed"') ELSE old.results END
WHERE old.token <> excluded.token
    AND NOT (old.message_id = excluded.message_id AND old.digest <> excluded.digest)
    AND CASE old.state
        WHEN 'done' THEN false
        WHEN 'leased' THEN coalesce(old.lease_until <= clock_timestamp(), true)
        WHEN 'pending' THEN old.body IS NULL OR coalesce(old.due_at <= clock_timestamp(), true)
        ELSE old.body IS NULL END
RETURNING token, fence, attempts, generation, nullif(results, '{}')::text
"""

# Why a claim was not granted; no verdict if it would be by now.
_LOST: Final = """
WITH moment AS MATERIALIZED (SELECT clock_timestamp() AS now)
SELECT claim.token, CASE
        WHEN old.token = claim.token THEN 'claimed'
        WHEN old.message_id = claim.message_id AND old.digest <> claim.digest THEN 'conflict'
        WHEN old.state = 'done' THEN 'duplicate'
        WHEN old.state = 'leased' THEN
            CASE WHEN old.lease_until > now THEN CASE WHEN old.body IS NULL THEN 'held' ELSE 'accepted' END END
        WHEN old.body IS NOT NULL AND NOT (old.state = 'pending' AND coalesce(old.due_at <= now, true)) THEN 'accepted'
    END,
    old.fence, old.attempts, old.generation, nullif(old.results, '{}')::text,
    CASE WHEN old.state = 'leased' THEN extract(epoch FROM old.lease_until - now)::float8 END
FROM moment, unnest(%b::text[], %b::text[], %b::text[], %b::text[], %b::bytea[], %b::bytea[])
    AS claim (receiver, tenant, key, message_id, digest, token)
JOIN {schema}.deliveries AS old USING (receiver, tenant, key)
"""

# `held` is a column and no constant: with one the planner, whose numbers are old, would rather read every open record
# in `deliveries_open` than look up the keys.
_SETTLE: Final = """,
locked AS MATERIALIZED (
    SELECT wish.*, 'leased' AS held FROM unnest(
        %b::text[], %b::text[], %b::text[], %b::bigint[], %b::bytea[], %b::text[], %b::text[], %b::text[], %b::text[],
        %b::float8[], %b::bytea[]
    ) WITH ORDINALITY AS wish (receiver, tenant, key, fence, token, state, reason, results, error, delay, body, n)
    JOIN {schema}.deliveries AS old USING (receiver, tenant, key)
    ORDER BY old.receiver, old.tenant, old.key FOR NO KEY UPDATE OF old)
UPDATE {schema}.deliveries AS old
SET state = wish.state, reason = wish.reason, results = wish.results::jsonb, error = wish.error, settled_at = now,
    due_at = CASE WHEN wish.state = 'pending' THEN now + wish.delay * interval '1 second' END, lease_until = NULL,
    body = coalesce(wish.body, old.body)
FROM moment, locked AS wish
WHERE old.receiver = wish.receiver AND old.tenant = wish.tenant AND old.key = wish.key
    AND old.fence = wish.fence AND old.token = wish.token AND old.state = wish.held
RETURNING wish.n
"""

# Not leased, or not by this holder: it stands only if this very settle was done before.
_SETTLED_BEFORE: Final = """
SELECT wish.n FROM unnest(%b::text[], %b::text[], %b::text[], %b::bigint[], %b::bytea[])
    WITH ORDINALITY AS wish (receiver, tenant, key, fence, token, n)
JOIN {schema}.deliveries AS old USING (receiver, tenant, key, fence, token) WHERE old.state <> 'leased'
"""

_RENEW: Final = """,
locked AS MATERIALIZED (
    SELECT lease.*, 'leased' AS held FROM unnest(%b::text[], %b::text[], %b::text[], %b::bigint[], %b::bytea[])
        WITH ORDINALITY AS lease (receiver, tenant, key, fence, token, n)
    JOIN {schema}.deliveries AS old USING (receiver, tenant, key)
    ORDER BY old.receiver, old.tenant, old.key FOR NO KEY UPDATE OF old)
UPDATE {schema}.deliveries AS old
SET lease_until = clock_timestamp() + %b::float8 * interval '1 second'
FROM moment, locked AS lease
WHERE old.receiver = lease.receiver AND old.tenant = lease.tenant AND old.key = lease.key
    AND old.fence = lease.fence AND old.token = lease.token AND old.state = lease.held
RETURNING lease.n
"""

_GET: Final = """
SELECT n, receiver, tenant, key, message_id, digest, event_type, collection, source_type, job_id,
    (extract(epoch FROM event_time) * 1000000)::bigint, extract(epoch FROM received_at)::float8, state, reason,
    extract(epoch FROM settled_at)::float8, extract(epoch FROM due_at)::float8, fence, token, owner,
    extract(epoch FROM lease_until)::float8, leases_lost, attempts, generation, results::text, error, body
FROM unnest(%b::text[], %b::text[], %b::text[]) WITH ORDINALITY AS wanted (receiver, tenant, key, n)
JOIN {schema}.deliveries USING (receiver, tenant, key)
"""

# Rows that somebody works on are left for the next time: purging never waits, and so nobody waits for it twice.
_PURGE: Final = """
DELETE FROM {schema}.deliveries WHERE ctid = ANY (ARRAY (
    SELECT old.ctid FROM {schema}.deliveries AS old
    WHERE state = 'done' AND settled_at < (SELECT now FROM moment) - %b::float8 * interval '1 second'
    ORDER BY settled_at LIMIT %b::bigint FOR UPDATE SKIP LOCKED))
RETURNING 1
"""
_ABANDON: Final = """
UPDATE {schema}.deliveries
SET state = 'dead', reason = 'abandoned', token = '', settled_at = now, due_at = NULL, lease_until = NULL
FROM moment WHERE ctid = ANY (ARRAY (
    SELECT old.ctid FROM {schema}.deliveries AS old, moment
    WHERE body IS NULL AND state IN ('pending', 'leased') AND coalesce(
        CASE state WHEN 'leased' THEN lease_until ELSE greatest(due_at, settled_at) END, '-infinity')
        < now - %b::float8 * interval '1 second'
    LIMIT %b::bigint FOR NO KEY UPDATE OF old SKIP LOCKED))
RETURNING 1
"""

# From the catalogue itself: functions such as to_regclass() may answer from a cache, as it was before a lock.
STATE: Final = b"""
WITH spaces AS (SELECT oid FROM pg_catalog.pg_namespace WHERE nspname = %s),
    tables AS (SELECT relname FROM pg_catalog.pg_class WHERE relnamespace IN (SELECT oid FROM spaces))
SELECT current_setting('transaction_read_only') = 'on', current_user, EXISTS (SELECT FROM spaces),
    EXISTS (SELECT FROM tables WHERE relname = 'migrations'), EXISTS (SELECT FROM tables WHERE relname = 'deliveries')
"""
"""What the store needs to know before it begins, for the name of the schema."""
_VERSION: Final = """
SELECT coalesce(max(version), 0), has_table_privilege(%s, 'SELECT') AND has_table_privilege(%s, 'INSERT')
    AND has_table_privilege(%s, 'UPDATE') AND has_table_privilege(%s, 'DELETE')
FROM {schema}.migrations
"""
# For a migration: everything ends with the transaction, the lock too.
LOCK: Final = (
    b"SET TRANSACTION ISOLATION LEVEL READ COMMITTED",
    b"SET LOCAL lock_timeout = '60s'",
    b"SELECT pg_advisory_xact_lock(hashtext('airweave_webhooks migrations'))",
)
LOST_COLUMNS: Final = 6
"""How many of a claim's columns `lost` takes."""
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND: Final = timedelta(microseconds=1)


class Statements:
    """The statements on one schema.

    Args:
        schema: its name, as people write it.

    Raises:
        ConfigurationError: PostgreSQL takes no such name.
    """

    def __init__(self, schema: str) -> None:
        if not schema or schema != as_text(schema) or len(schema.encode()) > LONGEST_NAME:
            raise ConfigurationError(f"a schema's name has 1 to {LONGEST_NAME} bytes and no NUL: {schema!r} is none")
        self.quoted: str = '"' + schema.replace('"', '""') + '"'
        self.deliveries: str = f"{self.quoted}.deliveries"
        self.claim: bytes = self._on_schema(_LAX + _CLAIM)
        self.claim_synced: bytes = self._on_schema(_SYNCED + _CLAIM)
        self.lost: bytes = self._on_schema(_LOST)
        self.settle: bytes = self._on_schema(_SYNCED + _SETTLE)
        self.settled_before: bytes = self._on_schema(_SETTLED_BEFORE)
        self.renew: bytes = self._on_schema(_LAX + _RENEW)
        self.get: bytes = self._on_schema(_GET)
        self.purge: bytes = self._on_schema(_LAX + _PURGE)
        self.abandon: bytes = self._on_schema(_LAX + _ABANDON)
        self.version: bytes = self._on_schema(_VERSION)
        # `IF NOT EXISTS` would want the right to create one even where there is one.
        self.create_schema: bytes = f"CREATE SCHEMA {self.quoted}".encode()
        self.enter_schema: bytes = f"SET LOCAL search_path TO {self.quoted}".encode()

    def _on_schema(self, statement: str) -> bytes:
        # The driver takes a single % for a place-holder.
        return statement.replace("{schema}", self.quoted.replace("%", "%%")).encode()


def migrations_from(version: int) -> list[bytes]:
    """The SQL that brings the tables from `version` to `NEWEST`, in order."""
    return [file.read_bytes() for file in sorted(MIGRATIONS.glob("*.sql"))[version:]]


def claim_columns(claims: Sequence[Claim]) -> list[list[Any]]:
    """The arrays of `claim`, a column each. Those of `lost` are the first six."""
    facts = [claim.facts for claim in claims]
    return [
        *key_columns([claim.key for claim in claims]),
        [as_text(claim.message_id) for claim in claims],
        [claim.digest for claim in claims],
        [claim.token for claim in claims],
        [as_text(fact.event_type) for fact in facts],
        [as_text(fact.collection) for fact in facts],
        [as_text(fact.source_type) for fact in facts],
        [as_text(fact.job_id) for fact in facts],
        [fact.event_time for fact in facts],
        [as_text(claim.owner) for claim in claims],
        [claim.into for claim in claims],
        [as_text(claim.reason) for claim in claims],
        [claim.body for claim in claims],
        [float(claim.lease) for claim in claims],
    ]


def settle_columns(wishes: Sequence[Settle]) -> list[list[Any]]:
    """The arrays of `settle`, a column each."""
    return [
        *lease_columns([wish.lease for wish in wishes]),
        [wish.state for wish in wishes],
        [as_text(wish.reason) for wish in wishes],
        [texts_as_json(wish.results) for wish in wishes],
        [as_text(wish.error) for wish in wishes],
        [float(wish.delay) for wish in wishes],
        [wish.body for wish in wishes],
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


def granted(fence: int, attempts: int, generation: int, results: str | None) -> Claimed:
    """The answer to a claim that was granted."""
    return Claimed("claimed", fence, max(attempts, 1), generation, json.loads(results) if results else NO_RESULTS)


def to_record(row: tuple[Any, ...]) -> Record:
    """Turn a row of `get` into a record."""
    return Record(
        Key(*row[1:4]),
        message_id=row[4],
        digest=row[5],
        # To the microsecond, which seconds as a float are not in every year.
        facts=Facts(row[6], row[7], row[8], row[9], _time(row[10])),
        received_at=row[11],
        state=row[12],
        reason=row[13],
        settled_at=row[14],
        due_at=row[15],
        fence=row[16],
        token=row[17],
        owner=row[18],
        lease_until=row[19],
        leases_lost=row[20],
        attempts=row[21],
        generation=row[22],
        results=json.loads(row[23]),
        error=row[24],
        body=row[25],
    )


def _time(microseconds: int | None) -> datetime | None:
    if microseconds is None:
        return None
    try:
        return _EPOCH + microseconds * _MICROSECOND
    except OverflowError:  # in its own time zone the year was one that Python knows
        return datetime.max.replace(tzinfo=UTC) if microseconds > 0 else datetime.min.replace(tzinfo=UTC)
