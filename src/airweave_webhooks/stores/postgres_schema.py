"""The SQL of every PostgreSQL store. `transitions` is what it follows.

Each verb is one statement with an array per column, and so a transaction of its own: nothing is left in the session,
and a proxy may give every statement to another connection. `LAX` or `SYNCED` begins each that writes: settings for
this transaction only, and the server's clock.
"""

import hashlib
from pathlib import Path
from typing import Final

from airweave_webhooks.errors import ConfigurationError
from airweave_webhooks.stores.history import LONGEST_HISTORY
from airweave_webhooks.stores.text import as_text
from airweave_webhooks.stores.transitions import LEASE_LOST

MIGRATIONS: Final = Path(__file__).with_name("postgres_migrations")
"""The folder of the SQL files: `0001_….sql` brings a schema from version 0 to 1. Never edit a released one."""
NEWEST: Final = len(list(MIGRATIONS.glob("*.sql")))
"""The version of the tables that this release works on."""

LONGEST_NAME: Final = 63
"""Bytes. PostgreSQL cuts longer names, so that two of them could mean one schema."""

# A lock that lasts longer than this (in a transaction of somebody else's) is an error, and the batch is tried again.
_LOCKS: Final = "set_config('lock_timeout', '1s', true)"
LAX: Final = f"""WITH moment AS MATERIALIZED (
    SELECT set_config('synchronous_commit', 'off', true), {_LOCKS}, clock_timestamp() AS now)"""
"""The beginning of a statement whose work need not survive the server."""
# Whatever the server's default: what backs an acknowledgement is on the disk. A stricter setting stays.
SYNCED: Final = f"""WITH moment AS MATERIALIZED (
    SELECT set_config('synchronous_commit', coalesce(nullif(current_setting('synchronous_commit'), 'off'), 'on'), true),
        {_LOCKS}, clock_timestamp() AS now)"""
"""The beginning of a statement whose work is on the disk when it is answered."""


def note(now: str, who: str, end: str) -> str:
    """The SQL for `history.appended` on a row called `old`.

    Args:
        now: SQL for the time.
        who: SQL for who it was, as JSON.
        end: SQL for the line's tail.
    """
    line = f"'[' || round(extract(epoch FROM {now}), 3) || ',' || old.attempts || ',' || {who} || ',' || {end}"
    return f"right(old.history || {line}, {LONGEST_HISTORY})"


OWNER: Final = "to_json(old.owner)"
"""For `note`."""
# For a lease that ran out, before the row becomes somebody else's.
_LOSE_LEASE: Final = f"""CASE WHEN old.state = 'leased'
        THEN {note("clock_timestamp()", OWNER, f"'{LEASE_LOST.rstrip()}' || chr(10)")} ELSE old.history END"""
_WHAT_IS_DONE: Final = """(SELECT coalesce(jsonb_object_agg(name, result), '{}')
        FROM jsonb_each(old.results) AS each (name, result) WHERE result = '"processed"')"""
"""The results that stay when what is dead is tried again."""
# Once for each receiver, and only to those that listen: see `channel_of`.
TELL: Final = """,
told AS MATERIALIZED (
    SELECT pg_notify('{channel}' || left(encode(sha256(convert_to(receiver, 'UTF8')), 'hex'), 40), '')
    FROM (SELECT DISTINCT receiver FROM granted WHERE state = 'pending') AS waiting)
"""

_CLAIM: Final = """
INSERT INTO {schema}.deliveries AS old (
    receiver, tenant, key, message_id, digest, token, event_type, collection, source_type, job_id, event_time, owner,
    state, reason, sent_at, headers, order_key, body, received_at, settled_at, due_at, lease_until, attempts, fence)
SELECT
    receiver, tenant, key, message_id, digest, token, event_type, collection, source_type, job_id, event_time, owner,
    state, reason, sent_at, headers::jsonb, order_key, body, now, CASE WHEN state IN ('done', 'dead') THEN now END,
    CASE WHEN state = 'pending' THEN now END, CASE WHEN state = 'leased' THEN now + lease * interval '1 second' END,
    CASE WHEN state = 'leased' THEN 1 ELSE 0 END, 1
FROM moment, unnest(
    %b::text[], %b::text[], %b::text[], %b::text[], %b::bytea[], %b::bytea[], %b::text[], %b::text[], %b::text[],
    %b::text[], %b::text[], %b::timestamptz[], %b::text[], %b::text[], %b::bigint[], %b::text[], %b::text[],
    %b::bytea[], %b::float8[]
) AS claim (
    receiver, tenant, key, message_id, digest, token, state, event_type, collection, source_type,
    job_id, event_time, owner, reason, sent_at, headers, order_key, body, lease)
ORDER BY receiver COLLATE "C", tenant COLLATE "C", key COLLATE "C"
ON CONFLICT (receiver, tenant, key) DO UPDATE SET
    message_id = excluded.message_id, digest = excluded.digest, token = excluded.token, owner = excluded.owner,
    state = excluded.state, reason = excluded.reason, fence = old.fence + 1,
    attempts = old.attempts + excluded.attempts,
    leases_lost = old.leases_lost + CASE WHEN old.state = 'leased' THEN 1 ELSE 0 END, history = {lose_lease},
    -- Counted from here, and not from before the row was waited for.
    lease_until = clock_timestamp() + (excluded.lease_until - excluded.received_at),
    due_at = CASE WHEN excluded.state = 'pending' THEN clock_timestamp() END,
    settled_at = CASE WHEN excluded.state IN ('done', 'dead') THEN clock_timestamp() ELSE old.settled_at END,
    sent_at = CASE WHEN excluded.state = 'leased' THEN old.sent_at ELSE excluded.sent_at END,
    headers = CASE WHEN excluded.state = 'leased' THEN old.headers ELSE excluded.headers END,
    order_key = CASE WHEN excluded.state = 'leased' THEN old.order_key ELSE excluded.order_key END,
    body = CASE WHEN excluded.state = 'leased' THEN old.body ELSE excluded.body END,
    results = CASE WHEN old.state = 'dead' THEN {what_is_done} ELSE old.results END
WHERE old.token <> excluded.token
    AND NOT (old.message_id = excluded.message_id AND old.digest <> excluded.digest)
    AND (old.body IS NULL OR excluded.state <> 'pending')
    AND CASE old.state
        WHEN 'done' THEN false
        WHEN 'leased' THEN coalesce(old.lease_until <= clock_timestamp(), true)
        WHEN 'pending' THEN old.body IS NULL OR coalesce(old.due_at <= clock_timestamp(), true)
        ELSE old.body IS NULL END
"""
_GRANTED: Final = "token, fence, attempts, generation, nullif(results, '{}')::text"

# Why a claim was not granted; no verdict if it would be by now.
_LOST: Final = """
WITH moment AS MATERIALIZED (SELECT clock_timestamp() AS now)
SELECT claim.token, CASE
        WHEN old.token = claim.token THEN 'claimed'
        WHEN old.message_id = claim.message_id AND old.digest <> claim.digest THEN 'conflict'
        WHEN old.state = 'done' THEN 'duplicate'
        WHEN old.state = 'leased' THEN
            CASE WHEN old.body IS NOT NULL AND (claim.state = 'pending' OR old.lease_until > now) THEN 'accepted'
                WHEN old.lease_until > now THEN 'held' END
        WHEN old.body IS NOT NULL AND (claim.state = 'pending' OR old.state <> 'pending' OR old.due_at > now)
            THEN 'accepted'
    END,
    old.fence, old.attempts, old.generation, nullif(old.results, '{}')::text,
    CASE WHEN old.state = 'leased' THEN greatest(extract(epoch FROM old.lease_until - now)::float8, 0) END
FROM moment, unnest(%b::text[], %b::text[], %b::text[], %b::text[], %b::bytea[], %b::bytea[], %b::text[])
    AS claim (receiver, tenant, key, message_id, digest, token, state)
JOIN {schema}.deliveries AS old USING (receiver, tenant, key)
"""

# `held` is a column and no constant: with one the planner, whose numbers are old, would rather read every open record
# in `deliveries_open` than look up the keys.
_SETTLE: Final = """,
locked AS MATERIALIZED (
    SELECT wish.*, 'leased' AS held FROM unnest(
        %b::text[], %b::text[], %b::text[], %b::bigint[], %b::bytea[], %b::text[], %b::text[], %b::text[], %b::text[],
        %b::float8[], %b::bytea[], %b::text[], %b::integer[]
    ) WITH ORDINALITY AS wish (
        receiver, tenant, key, fence, token, state, reason, results, error, delay, body, tail, counted, n)
    JOIN {schema}.deliveries AS old USING (receiver, tenant, key)
    ORDER BY old.receiver, old.tenant, old.key FOR NO KEY UPDATE OF old)
UPDATE {schema}.deliveries AS old
SET state = wish.state, reason = wish.reason, results = wish.results::jsonb, error = wish.error, settled_at = now,
    due_at = CASE WHEN wish.state = 'pending' THEN now + wish.delay * interval '1 second' END, lease_until = NULL,
    history = CASE WHEN wish.tail IS NULL THEN old.history ELSE {note_tail} END,
    attempts = old.attempts - 1 + wish.counted, body = coalesce(wish.body, old.body)
FROM moment, locked AS wish
WHERE old.receiver = wish.receiver AND old.tenant = wish.tenant AND old.key = wish.key
    AND old.fence = wish.fence AND old.token = wish.token AND old.state = wish.held
RETURNING wish.n
"""

_NOTE_TAIL: Final = note("now", OWNER, "wish.tail")

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

RECORD: Final = """receiver, tenant, key, message_id, digest, event_type, collection, source_type, job_id,
    (extract(epoch FROM event_time) * 1000000)::bigint, extract(epoch FROM received_at)::float8, state, reason,
    extract(epoch FROM settled_at)::float8, extract(epoch FROM due_at)::float8, fence, token, owner,
    extract(epoch FROM lease_until)::float8, leases_lost, attempts, generation, results::text, error, history"""
"""What `to_record` reads."""
KEPT: Final = "sent_at, headers::text, order_key, body"
"""What it reads besides, where a body is kept."""

_GET: Final = f"""
SELECT n, {RECORD}, {KEPT}
FROM unnest(%b::text[], %b::text[], %b::text[]) WITH ORDINALITY AS wanted (receiver, tenant, key, n)
JOIN {{schema}}.deliveries USING (receiver, tenant, key)
"""

# Rows that somebody works on are left for the next time: purging never waits, and so nobody waits for it twice.
_PURGE: Final = """
DELETE FROM {schema}.deliveries WHERE ctid = ANY (ARRAY (
    SELECT * FROM (
        SELECT old.ctid FROM {schema}.deliveries AS old
        WHERE state = 'done' AND body IS NULL
            AND settled_at < (SELECT now FROM moment) - %b::float8 * interval '1 second'
        ORDER BY settled_at LIMIT %b::bigint FOR UPDATE SKIP LOCKED) AS without_body
    UNION ALL SELECT * FROM (
        SELECT old.ctid FROM {schema}.deliveries AS old
        WHERE state = 'done' AND body IS NOT NULL
            AND settled_at < (SELECT now FROM moment) - %b::float8 * interval '1 second'
        ORDER BY settled_at LIMIT %b::bigint FOR UPDATE SKIP LOCKED) AS with_body
    LIMIT %b::bigint))
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
SELECT coalesce(max(version), 0), (
    SELECT bool_and(has_table_privilege(name, privilege))
    FROM unnest(%b::text[]) AS name, unnest(ARRAY['SELECT', 'INSERT', 'UPDATE', 'DELETE']) AS privilege)
FROM {schema}.migrations
"""
# For a migration: everything ends with the transaction, the lock too.
LOCK: Final = (
    b"SET TRANSACTION ISOLATION LEVEL READ COMMITTED",
    b"SET LOCAL lock_timeout = '60s'",
    b"SELECT pg_advisory_xact_lock(hashtext('airweave_webhooks migrations'))",
)


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
        self.workers: str = f"{self.quoted}.workers"
        self._name = schema
        self._channel = f"airweave_{hashlib.sha256(schema.encode()).hexdigest()[:12]}_"
        self.claim: bytes = self.on_schema(f"{LAX}{_CLAIM}RETURNING {_GRANTED}")
        self.claim_synced: bytes = self.on_schema(f"{SYNCED}{_CLAIM}RETURNING {_GRANTED}")
        self.claim_telling: bytes = self.on_schema(
            f"{SYNCED}, granted AS ({_CLAIM}RETURNING old.*){TELL}"
            f"SELECT {_GRANTED} FROM granted, (SELECT count(*) FROM told) AS telling"
        )
        self.lost: bytes = self.on_schema(_LOST)
        self.settle: bytes = self.on_schema(SYNCED + _SETTLE)
        self.settled_before: bytes = self.on_schema(_SETTLED_BEFORE)
        self.renew: bytes = self.on_schema(LAX + _RENEW)
        self.get: bytes = self.on_schema(_GET)
        self.purge: bytes = self.on_schema(LAX + _PURGE)
        self.abandon: bytes = self.on_schema(LAX + _ABANDON)
        self.version: bytes = self.on_schema(_VERSION)
        # `IF NOT EXISTS` would want the right to create one even where there is one.
        self.create_schema: bytes = f"CREATE SCHEMA {self.quoted}".encode()
        self.enter_schema: bytes = f"SET LOCAL search_path TO {self.quoted}".encode()

    def on_schema(self, statement: str) -> bytes:
        """Fill in what the schema decides."""
        # The driver takes a single % for a place-holder.
        schema = self.quoted.replace("%", "%%")
        parts = {
            "lose_lease": _LOSE_LEASE,
            "note_tail": _NOTE_TAIL,
            "what_is_done": _WHAT_IS_DONE,
            "channel": self._channel,
            "schema": schema,
        }
        for name, part in parts.items():
            statement = statement.replace(f"{{{name}}}", part)
        return statement.encode()

    def channel_of(self, receiver: str) -> str:
        """The channel on which the server tells of work for a receiver: as `TELL` names it."""
        return self._channel + hashlib.sha256((as_text(receiver) or "").encode()).hexdigest()[:40]

    def lock_of(self, receiver: str) -> tuple[int, int]:
        """The advisory lock under which work for a receiver is given out. Migrations' lock is of another kind."""
        digest = hashlib.sha256(f"{self._name}\0{as_text(receiver)}".encode()).digest()
        return int.from_bytes(digest[:4], signed=True), int.from_bytes(digest[4:8], signed=True)


def migrations_from(version: int) -> list[bytes]:
    """The SQL that brings the tables from `version` to `NEWEST`, in order."""
    return [file.read_bytes() for file in sorted(MIGRATIONS.glob("*.sql"))[version:]]
