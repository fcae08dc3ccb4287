"""The SQL of the PostgreSQL store's inbox. `inbox_transitions` is what it follows."""

from typing import Final

from airweave_webhooks.stores.inbox import SUSPECT_AFTER, Cursor, Search
from airweave_webhooks.stores.postgres_schema import KEPT, LAX, RECORD, SYNCED, TELL, Statements, note
from airweave_webhooks.stores.text import as_text

# As the index `deliveries_order` has it. With conditions on `state` instead, a planner whose numbers are old would take
# every other index with such a condition for as good.
_STAGE: Final = (
    "CASE WHEN other.state = 'done' THEN 1"
    " WHEN other.state IN ('pending', 'leased') AND other.body IS NOT NULL THEN 0 END"
)

_MOMENT: Final = "WITH moment AS MATERIALIZED (SELECT clock_timestamp() AS now)"

# What is under lease: few rows, which are read once.
_TAKEN: Final = """,
taken AS MATERIALIZED (
    SELECT tenant, key, fence, token, order_key, lease_until, leases_lost FROM {schema}.deliveries
    WHERE receiver = %(receiver)b::text AND state = 'leased' AND body IS NOT NULL)"""

# Whether a row need not wait for another one of its order. Each row that is looked at asks the index, and only until
# there are enough; as a plain "NOT EXISTS" it could become a join with everything that is open.
_IS_FREE: Final = f"""(old.order_key IS NULL OR NOT (
        EXISTS (SELECT FROM taken WHERE taken.tenant = old.tenant AND taken.order_key = old.order_key
            AND taken.lease_until > (SELECT now FROM moment))
        OR EXISTS (SELECT FROM {{schema}}.deliveries AS other
            WHERE other.receiver = old.receiver AND other.tenant = old.tenant AND other.order_key = old.order_key
                AND {_STAGE} = 0
                AND (coalesce(other.event_time, '-infinity'), other.received_at, other.key)
                    < (coalesce(old.event_time, '-infinity'), old.received_at, old.key))))"""

_AS_IT_HAPPENED: Final = (
    "ORDER BY other.tenant, other.order_key, coalesce(other.event_time, '-infinity'), other.received_at, other.key"
)
_IS_WAITING: Final = "old.receiver = %(receiver)b::text AND old.state = 'pending' AND old.body IS NOT NULL"
_IS_DUE: Final = f"{_IS_WAITING} AND old.due_at <= (SELECT now FROM moment)"
_IS_LOST: Final = "coalesce(old.lease_until <= (SELECT now FROM moment), true)"
_IS_WANTED: Final = (
    "NOT EXISTS (SELECT FROM again) AND old.event_type <> ALL (%(without)b::text[])"
    " AND (%(only)b::text[] = '{}' OR old.event_type = ANY (%(only)b::text[]))"
)
_IN_ORDER: Final = "ORDER BY old.due_at, old.received_at, old.tenant, old.key"

# For `leases_lost`: constants, which say which index has the rows.
_USUAL: Final = f"< {SUSPECT_AFTER}"
_SUSPECT: Final = f">= {SUSPECT_AFTER}"

_WINDOW: Final = 500
"""Rows that are looked at one by one for their order's sake, before orders are."""
_SPARE: Final = 10
"""Rows that are found beyond those that are asked for: some may be locked just now."""
_MOST: Final = f"LIMIT %(most)b::bigint + {_SPARE}"
_FOUND: Final = "old.tenant, old.key, old.fence, old.due_at AS since, old.received_at"

_AGAIN: Final = """,
again AS MATERIALIZED (SELECT tenant, key FROM taken WHERE token = %(token)b::bytea)"""

# What could be given out: in no order; in an order; and whose lease was lost. A backlog of few orders has mostly rows
# that wait for others. When too many of them come first, the first of each order are looked up, one after the other:
# each step asks the index for the first one after all of the order before.
_USUAL_CANDIDATES: Final = f"""{_AGAIN},
unordered AS MATERIALIZED (
    SELECT {_FOUND} FROM {{schema}}.deliveries AS old
    WHERE {_IS_DUE} AND old.leases_lost {_USUAL} AND old.order_key IS NULL AND {_IS_WANTED} {_IN_ORDER} {_MOST}),
ordered AS MATERIALIZED (
    SELECT {_FOUND} FROM (
        SELECT * FROM {{schema}}.deliveries AS old
        WHERE {_IS_DUE} AND old.leases_lost {_USUAL} AND old.order_key IS NOT NULL AND {_IS_WANTED}
        {_IN_ORDER} LIMIT {_WINDOW}) AS old
    WHERE {_IS_FREE} {_IN_ORDER} {_MOST}),
crowd AS MATERIALIZED (
    SELECT CASE WHEN (SELECT count(*) FROM ordered) < %(most)b::bigint THEN EXISTS (
        SELECT FROM {{schema}}.deliveries AS old
        WHERE {_IS_DUE} AND old.leases_lost {_USUAL} AND old.order_key IS NOT NULL AND {_IS_WANTED}
        {_IN_ORDER} OFFSET {_WINDOW}) END AS is_there),
heads AS MATERIALIZED (
    WITH RECURSIVE head AS (
        (SELECT other.* FROM {{schema}}.deliveries AS other
        WHERE (SELECT is_there FROM crowd) AND other.receiver = %(receiver)b::text AND {_STAGE} = 0
            AND other.order_key IS NOT NULL
        {_AS_IT_HAPPENED} LIMIT 1)
        UNION ALL
        SELECT following.* FROM head, LATERAL (
            SELECT other.* FROM {{schema}}.deliveries AS other
            WHERE other.receiver = %(receiver)b::text AND {_STAGE} = 0 AND other.order_key IS NOT NULL
                AND (other.tenant, other.order_key) > (head.tenant, head.order_key)
            {_AS_IT_HAPPENED} LIMIT 1) AS following)
    SELECT {_FOUND} FROM head AS old WHERE {_IS_DUE} AND old.leases_lost {_USUAL} AND {_IS_WANTED} AND {_IS_FREE}
    {_IN_ORDER} {_MOST}),
candidates AS MATERIALIZED (
    SELECT * FROM unordered UNION SELECT * FROM ordered UNION SELECT * FROM heads UNION {{lost}})"""
_SUSPECT_CANDIDATES: Final = f"""{_AGAIN},
candidates AS MATERIALIZED (
    (SELECT {_FOUND} FROM {{schema}}.deliveries AS old
    WHERE {_IS_DUE} AND old.leases_lost {_SUSPECT} AND {_IS_WANTED} AND {_IS_FREE} {_IN_ORDER} {_MOST})
    UNION {{lost}})"""
_LOST: Final = f"""
    SELECT old.tenant, old.key, old.fence, coalesce(old.lease_until, '-infinity'), old.received_at
    FROM taken JOIN {{schema}}.deliveries AS old
        ON old.receiver = %(receiver)b::text AND old.tenant = taken.tenant AND old.key = taken.key
    WHERE {_IS_LOST} AND old.leases_lost + 1 {{kind}} AND {_IS_WANTED} AND {_IS_FREE}"""

# `inbox_transitions` speaks of other rows than those that are given out: that no other take changes them is what
# `lock_for_take` is for. What somebody has locked just now is left for the next time; what has changed since the
# statement began is looked at again.
_TAKE: Final = f"""{LAX}{_TAKEN}{{candidates}},
chosen AS MATERIALIZED (
    SELECT old.tenant, old.key, old.fence, candidates.since
    FROM candidates JOIN {{schema}}.deliveries AS old
        ON old.receiver = %(receiver)b::text AND old.tenant = candidates.tenant AND old.key = candidates.key
    WHERE old.fence = candidates.fence AND old.state IN ('pending', 'leased') AND coalesce(
        CASE old.state WHEN 'pending' THEN old.due_at ELSE old.lease_until END <= (SELECT now FROM moment), true)
    ORDER BY candidates.since, candidates.received_at, candidates.tenant, candidates.key
    LIMIT %(most)b::bigint FOR NO KEY UPDATE OF old SKIP LOCKED),
given AS (
    UPDATE {{schema}}.deliveries AS old SET
        state = 'leased', reason = NULL, token = %(token)b::bytea, owner = %(owner)b::text, fence = old.fence + 1,
        attempts = old.attempts + 1, due_at = NULL,
        lease_until = (SELECT now FROM moment) + %(lease)b::float8 * interval '1 second',
        leases_lost = old.leases_lost + CASE WHEN old.state = 'leased' THEN 1 ELSE 0 END, history = {{lose_lease}}
    FROM chosen
    WHERE old.receiver = %(receiver)b::text AND old.tenant = chosen.tenant AND old.key = chosen.key
        AND old.fence = chosen.fence
    RETURNING chosen.since, old.*)
SELECT EXISTS (SELECT FROM {{schema}}.deliveries AS other
        WHERE other.receiver = mine.receiver AND other.tenant = mine.tenant AND other.order_key = mine.order_key
            AND {_STAGE} = 1 AND coalesce(other.event_time, '-infinity') > mine.event_time), {RECORD}, {KEPT}
FROM (
    SELECT * FROM given
    UNION ALL
    SELECT '-infinity', old.* FROM again JOIN {{schema}}.deliveries AS old
        ON old.receiver = %(receiver)b::text AND old.tenant = again.tenant AND old.key = again.key) AS mine
ORDER BY since, received_at, tenant, key
"""

_LOCK_FOR_TAKE: Final = (
    "SET TRANSACTION ISOLATION LEVEL READ COMMITTED; SET LOCAL lock_timeout = '1s';"
    " SELECT pg_advisory_xact_lock({}, {});"
)

_BACKLOG: Final = f"""{_MOMENT}{_TAKEN}{{candidates}}
SELECT
    (SELECT count(*) FROM {{schema}}.deliveries AS old
    WHERE {_IS_WAITING} AND old.leases_lost {_USUAL} AND old.order_key IS NULL)
    + (SELECT count(*) FROM {{schema}}.deliveries AS old
    WHERE {_IS_WAITING} AND old.leases_lost {_USUAL} AND old.order_key IS NOT NULL)
    + (SELECT count(*) FROM {{schema}}.deliveries AS old WHERE {_IS_WAITING} AND old.leases_lost {_SUSPECT}),
    coalesce(extract(epoch FROM now - least((SELECT min(since) FROM candidates), (
        SELECT min(old.due_at) FROM {{schema}}.deliveries AS old
        WHERE {_IS_DUE} AND old.leases_lost {_SUSPECT} AND {_IS_FREE})))::float8, 0),
    (SELECT count(*) FROM {{schema}}.deliveries AS old WHERE {_IS_DUE} AND old.leases_lost {_SUSPECT})
    + (SELECT count(*) FROM taken AS old WHERE {_IS_LOST} AND leases_lost + 1 {_SUSPECT}),
    (SELECT count(*) FROM {{schema}}.deliveries WHERE receiver = %(receiver)b::text AND state = 'dead'),
    (SELECT coalesce(sum(leases_lost), 0) FROM {{schema}}.deliveries
    WHERE receiver = %(receiver)b::text AND leases_lost > 0),
    extract(epoch FROM now - (SELECT max(seen_at) FROM {{schema}}.workers WHERE receiver = %(receiver)b::text))::float8,
    (SELECT sum(pg_total_relation_size(name::regclass)) FROM unnest(%(tables)b::text[]) AS name)::bigint
FROM moment
"""

_BEAT: Final = f"""{LAX},
beat AS (
    INSERT INTO {{schema}}.workers (receiver, owner, seen_at)
    SELECT %(receiver)b::text, %(owner)b::text, now FROM moment
    ON CONFLICT (receiver, owner) DO UPDATE SET seen_at = excluded.seen_at)
DELETE FROM {{schema}}.workers WHERE ctid = ANY (ARRAY (
    SELECT old.ctid FROM {{schema}}.workers AS old
    WHERE old.seen_at < (SELECT now FROM moment) - interval '1 day'
        AND (old.receiver, old.owner) <> (%(receiver)b::text, %(owner)b::text)
    FOR UPDATE SKIP LOCKED))
RETURNING 1
"""

_FORGET_BODIES: Final = f"""{LAX}
UPDATE {{schema}}.deliveries SET body = NULL WHERE ctid = ANY (ARRAY (
    SELECT old.ctid FROM {{schema}}.deliveries AS old
    WHERE state = 'done' AND body IS NOT NULL
        AND settled_at < (SELECT now FROM moment) - %(done_for)b::float8 * interval '1 second'
    ORDER BY settled_at LIMIT %(most)b::bigint FOR NO KEY UPDATE SKIP LOCKED))
RETURNING 1
"""

_REPLAY: Final = f"""{SYNCED},
locked AS MATERIALIZED (
    SELECT n, old.receiver, old.tenant, old.key
    FROM unnest(%b::text[], %b::text[], %b::text[]) WITH ORDINALITY AS wanted (receiver, tenant, key, n)
    JOIN {{schema}}.deliveries AS old USING (receiver, tenant, key)
    ORDER BY old.receiver, old.tenant, old.key FOR NO KEY UPDATE OF old),
granted AS (
    UPDATE {{schema}}.deliveries AS old SET
        history = {note("now", "%b::text", "%b::text")},
        results = CASE WHEN old.state = 'dead' THEN {{what_is_done}} ELSE '{{}}' END,
        state = 'pending', reason = 'replayed', token = '', generation = old.generation + 1, attempts = 0,
        leases_lost = 0, due_at = now
    FROM moment, locked
    WHERE old.receiver = locked.receiver AND old.tenant = locked.tenant AND old.key = locked.key
        AND old.state IN ('done', 'dead') AND old.body IS NOT NULL
    RETURNING locked.n, old.receiver, old.state){TELL}
SELECT n FROM granted, (SELECT count(*) FROM told) AS telling
"""

_TALLY: Final = """
SELECT state, reason, event_type, count(*) FROM {schema}.deliveries WHERE receiver = %(receiver)b::text
GROUP BY state, reason, event_type ORDER BY state COLLATE "C", reason COLLATE "C" NULLS FIRST, event_type COLLATE "C"
"""

# For each part of a `Search` that is given: what is not given has no condition, and each set of them a plan of its own.
_CONDITIONS: Final = {
    "states": "state = ANY (%(states)b::text[])",
    "event_types": "event_type = ANY (%(event_types)b::text[])",
    "collections": "collection = ANY (%(collections)b::text[])",
    "source_types": "source_type = ANY (%(source_types)b::text[])",
    "tenant": "tenant = %(tenant)b::text",
    "name": "%(name)b::text IN (key, message_id)",
    "since": "received_at >= to_timestamp(%(since)b::float8)",
    "until": "received_at < to_timestamp(%(until)b::float8)",
}
_IS_REPLAYABLE: Final = "state IN ('done', 'dead') AND body IS NOT NULL"
_IS_AFTER: Final = (
    "(received_at, tenant, key) < (to_timestamp(%(at)b::float8), %(after_tenant)b::text, %(after_key)b::text)"
)


class InboxStatements:
    """The statements of the inbox on one schema."""

    def __init__(self, base: Statements) -> None:
        self._base = base
        usual = _USUAL_CANDIDATES.replace("{lost}", _LOST.replace("{kind}", _USUAL))
        suspect = _SUSPECT_CANDIDATES.replace("{lost}", _LOST.replace("{kind}", _SUSPECT))
        every = _USUAL_CANDIDATES.replace("{lost}", _LOST.replace("{kind}", ">= 0"))
        self.take: bytes = base.on_schema(_TAKE.replace("{candidates}", usual))
        self.take_suspect: bytes = base.on_schema(_TAKE.replace("{candidates}", suspect))
        self.backlog: bytes = base.on_schema(_BACKLOG.replace("{candidates}", every))
        self.beat: bytes = base.on_schema(_BEAT)
        self.forget_bodies: bytes = base.on_schema(_FORGET_BODIES)
        self.replay: bytes = base.on_schema(_REPLAY)
        self.tally: bytes = base.on_schema(_TALLY)
        self.tables: list[str] = [base.deliveries, base.workers]

    def lock_for_take(self, receiver: str) -> bytes:
        """What stands before a take, in one message: so the take itself sees what every take before it did."""
        return _LOCK_FOR_TAKE.format(*self._base.lock_of(receiver)).encode()

    def channel_of(self, receiver: str) -> str:
        """The channel on which the server tells of work."""
        return self._base.channel_of(receiver)

    def search(self, search: Search, after: Cursor | None, most: int) -> tuple[bytes, dict[str, object]]:
        """A page of what a search finds."""
        condition, values = _where(search)
        if after is not None:
            condition += f" AND {_IS_AFTER}"
            at, tenant, key = after
            values |= {"at": float(at), "after_tenant": as_text(tenant), "after_key": as_text(key)}
        statement = (
            f"SELECT {RECORD} FROM {{schema}}.deliveries WHERE {condition}"
            " ORDER BY received_at DESC, tenant DESC, key DESC LIMIT %(most)b::bigint"
        )
        return self._base.on_schema(statement), {**values, "most": most}

    def count(self, search: Search) -> tuple[bytes, dict[str, object]]:
        """How much a search finds."""
        condition, values = _where(search)
        return self._base.on_schema(f"SELECT count(*) FROM {{schema}}.deliveries WHERE {condition}"), values


def _where(search: Search) -> tuple[str, dict[str, object]]:
    given = {
        name: value for name, value in search._asdict().items() if name in _CONDITIONS and value not in (None, (), [])
    }
    conditions = ["receiver = %(receiver)b::text", *(_CONDITIONS[name] for name in given)]
    if search.replayable:
        conditions.append(_IS_REPLAYABLE)
    values = {name: _as_value(value) for name, value in given.items()}
    return " AND ".join(conditions), {"receiver": as_text(search.receiver), **values}


def _as_value(value: str | float | list[str] | tuple[str, ...]) -> object:
    if isinstance(value, str):
        return as_text(value)
    return float(value) if isinstance(value, int | float) else [as_text(text) for text in value]
