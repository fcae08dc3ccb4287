"""What is particular to the PostgreSQL store: its clock, its locks, its errors, its event loops."""

import asyncio
import gc
import json
import os
import random
import re
import threading
import time
from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import psycopg
import pytest
from psycopg import sql
from psycopg_pool import AsyncConnectionPool

from airweave_webhooks import ConfigurationError, PostgresStore
from airweave_webhooks.errors import StoreBusy, StoreDataError, StoreUnavailable
from airweave_webhooks.stores import transitions
from airweave_webhooks.stores.base import Claim, Claimed, Facts, Key, Lease, Origin, Record, Settle
from airweave_webhooks.testing.contracts import a_claim, lease_of, opened

pytestmark = pytest.mark.anyio


@pytest.fixture
async def store(postgres_url: str, schema: str) -> AsyncIterator[PostgresStore]:
    async with opened(lambda: PostgresStore(postgres_url, schema=schema)) as store:
        assert isinstance(store, PostgresStore)
        yield store


async def claimed(store: PostgresStore, key: str = "msg_1") -> str:
    (answer,) = await store.claim([a_claim(key)])
    return answer.verdict


def change(url: str, schema: str, assignments: str, key: str) -> None:
    with psycopg.connect(url) as connection:
        connection.execute(f'UPDATE "{schema}".deliveries SET {assignments} WHERE key = %s'.encode(), [key])


# Every kind of record that a claim can meet, written as SQL, and what the rules say to it.
STATES = ["pending", "leased", "queued", "done", "dead"]
TIMES = ["NULL", "clock_timestamp() - interval '9 seconds'", "clock_timestamp() + interval '9 seconds'"]


@pytest.mark.parametrize("into", ["leased", "done", "dead", "pending"])
@pytest.mark.parametrize("same_body", [True, False])
async def test_every_claim_is_answered_as_the_rules_say(
    store: PostgresStore, postgres_url: str, schema: str, into: Any, same_body: bool
) -> None:
    """The SQL and `transitions` agree on every state, time, body and message id, and on what becomes of the record."""
    names = [
        (state, when, body, message)
        for state in STATES
        for when in TIMES
        for body in ("NULL", "'x'")
        for message in ("same", "other")
    ]
    facts = Facts("sync.completed")
    first = [
        Claim(Key("r", "", f"{n:03}"), f"{n:03}", bytes(32), os.urandom(16), facts, 60.0) for n in range(len(names))
    ]
    await store.claim(first)
    results = """'{"a": "processed", "b": "rejected"}'"""
    for claim, (state, when, body, _) in zip(first, names, strict=True):
        assignments = f"state = '{state}', due_at = {when}, lease_until = {when}, body = {body}, results = {results}"
        change(postgres_url, schema, assignments, claim.key.key)
    before = await store.get([claim.key for claim in first])
    again = [
        claim._replace(
            token=os.urandom(16),
            message_id=claim.message_id if message == "same" else "another",
            digest=bytes(32) if same_body else b"\1" * 32,
            into=into,
            body=b"new" if into in {"dead", "pending"} else None,
            origin=Origin(7, {"a": "b\0"}, "o") if into == "pending" else None,
            owner="second",
        )
        for claim, (_, _, _, message) in zip(first, names, strict=True)
    ]
    answers = await store.claim(again)
    after = await store.get([claim.key for claim in first])
    now = time.time()
    for claim, old, new, answer, name in zip(again, before, after, answers, names, strict=True):
        assert old is not None
        assert new is not None
        expected_record = replace(old)
        expected, _ = transitions.claim_again(expected_record, claim, now)
        assert answer._replace(retry_after=0.0) == expected._replace(retry_after=0.0), name
        assert answer.retry_after == pytest.approx(expected.retry_after, abs=3), name
        assert about(new) == about(expected_record), name


def about(record: Record) -> Record:
    """A record whose times are told apart by a good second only."""

    def rounded(seconds: float | None) -> float | None:
        return None if seconds is None else round(seconds / 8)

    return replace(
        record,
        results=dict(record.results),
        history=re.sub(r"^\[[0-9.]*", "[", record.history),
        origin=record.origin and record.origin._replace(headers={"a": "b\ufffd"}),
        settled_at=rounded(record.settled_at),
        due_at=rounded(record.due_at),
        lease_until=rounded(record.lease_until),
    )


async def test_the_servers_clock_is_the_only_one(store: PostgresStore, monkeypatch: pytest.MonkeyPatch) -> None:
    """A host whose clock is an hour off takes nothing from anybody, and keeps nothing for longer."""
    claim = a_claim(lease=30)
    (answer,) = await store.claim([claim])
    real = time.time
    monkeypatch.setattr(time, "time", lambda: real() + 3600)
    assert await claimed(store) == "held"
    assert await asyncio.to_thread(store.renew, [lease_of(claim, answer)], 30) == [True]
    (record,) = await store.get([claim.key])
    assert record is not None
    assert record.lease_until == pytest.approx(real() + 30, abs=5)


async def test_times_keep_their_microseconds(store: PostgresStore) -> None:
    """The event's time comes back as it was, in every year, whatever the session's time zone is."""
    times = [datetime.max.replace(tzinfo=UTC), datetime.min.replace(tzinfo=UTC), datetime(2026, 1, 1, 0, 0, 0, 1, UTC)]
    claims = [a_claim(str(n))._replace(facts=Facts("x", event_time=when)) for n, when in enumerate(times)]
    await store.claim(claims)
    found = await store.get([claim.key for claim in claims])
    assert [record and record.facts.event_time for record in found] == times


@pytest.mark.parametrize("lease", [float("nan"), 1e300])
async def test_a_poisoned_claim_fails_its_whole_batch(store: PostgresStore, lease: float) -> None:
    """And nothing of the batch is done: the coalescer asks again one by one."""
    batch = [a_claim("a"), a_claim("b", lease=lease), a_claim("c")]
    with pytest.raises(StoreDataError):
        await store.claim(batch)
    assert await store.get([claim.key for claim in batch]) == [None] * 3
    assert await claimed(store, "a") == "claimed"


async def test_a_key_too_long_for_an_index_is_a_data_error(store: PostgresStore) -> None:
    """Random, because PostgreSQL compresses."""
    with pytest.raises(StoreDataError):
        await store.claim([a_claim(os.urandom(9000).hex())])


async def test_a_fence_out_of_range_is_a_data_error(store: PostgresStore) -> None:
    """No such fence was ever given; the batch is asked again one by one."""
    claim = a_claim()
    (answer,) = await store.claim([claim])
    lease = lease_of(claim, answer)
    with pytest.raises(StoreDataError):
        await store.settle([Settle(lease, "done"), Settle(lease._replace(fence=2**70, key=Key("", "", "")), "done")])
    with pytest.raises(StoreDataError):
        await store.settle([Settle(lease, "pending", delay=1e300)])
    assert await store.settle([Settle(lease, "done")]) == [True]


async def test_a_lock_that_lasts_asks_for_a_second_try(store: PostgresStore, postgres_url: str, schema: str) -> None:
    """Somebody's open transaction on a record holds up nobody for more than a second, and nothing else at all."""
    await store.claim([a_claim(lease=0.01)])
    with psycopg.connect(postgres_url) as other:
        table = sql.Identifier(schema, "deliveries")
        other.execute(sql.SQL("SELECT FROM {} WHERE key = 'msg_1' FOR UPDATE").format(table))
        started = time.monotonic()
        with pytest.raises(StoreBusy):
            await store.claim([a_claim()])
        assert time.monotonic() - started < 4
        assert await claimed(store, "msg_2") == "claimed"
        other.rollback()
    assert await claimed(store) == "claimed"


async def test_purging_waits_for_nobody(store: PostgresStore, postgres_url: str, schema: str) -> None:
    """What somebody has locked is left for the next time."""
    for key in ("msg_1", "msg_2"):
        await store.claim([a_claim(key)._replace(into="done")])
    with psycopg.connect(postgres_url) as other:
        table = sql.Identifier(schema, "deliveries")
        other.execute(sql.SQL("SELECT FROM {} WHERE key = 'msg_1' FOR UPDATE").format(table))
        assert await store.purge(done_for=0, abandoned_for=60, most=10) == 1
    assert await store.purge(done_for=0, abandoned_for=60, most=10) == 1


async def test_opposite_orders_end(store: PostgresStore) -> None:
    """Batches that nobody sorted, of claims, settles and purges at once: no deadlock is left standing."""
    keys = [f"msg_{n:02}" for n in range(40)]
    said: list[str] = []

    async def rival(seed: int) -> int:
        chance, wins = random.Random(seed), 0
        for _ in range(15):
            claims = [a_claim(key, lease=0.001) for key in chance.sample(keys, 30)]
            try:
                answers = await store.claim(claims)
                won = [(c, a) for c, a in zip(claims, answers, strict=True) if a.verdict == "claimed"]
                chance.shuffle(won)
                wins += sum(await store.settle([Settle(lease_of(c, a), "pending") for c, a in won]))
                await store.purge(done_for=0, abandoned_for=0, most=10)
            except StoreBusy as error:
                said.append(str(error))
        return wins

    wins = await asyncio.wait_for(asyncio.gather(*[rival(seed) for seed in range(8)]), 60)
    assert sum(wins) > 0
    assert [text for text in said if "change too fast" not in text] == []


async def test_what_backs_an_answer_is_synced_whatever_the_default(postgres_url: str, schema: str) -> None:
    """Leases are not waited for; a settle, and a claim that ends a delivery, are, also where the server's default is
    not to."""
    async with opened(lambda: PostgresStore(postgres_url, schema=schema)) as store:
        assert isinstance(store, PostgresStore)
        statements = store._sql
        for statement, expected in (
            (statements.claim, "off"),
            (statements.claim_synced, "on"),
            (statements.settle, "on"),
        ):
            prefix = statement.split(b"clock_timestamp")[0].split(b"SELECT", 1)[1].decode().rstrip().rstrip(",")
            with psycopg.connect(postgres_url, autocommit=True, options="-c synchronous_commit=off") as connection:
                assert connection.execute(f"SELECT {prefix}".encode()).fetchone() == (expected, "1s")
                assert connection.execute("SHOW synchronous_commit").fetchone() == ("off",)
        with psycopg.connect(postgres_url, autocommit=True, options="-c synchronous_commit=remote_apply") as connection:
            prefix = statements.settle.split(b"clock_timestamp")[0].split(b"SELECT", 1)[1].decode().rstrip().rstrip(",")
            assert connection.execute(f"SELECT {prefix}".encode()).fetchone() == ("remote_apply", "1s")


async def test_a_claim_uses_the_primary_key_only(store: PostgresStore, postgres_url: str, schema: str) -> None:
    """Also where many are done: nothing reads the table from end to end."""
    with psycopg.connect(postgres_url, autocommit=True) as connection:
        table = sql.Identifier(schema, "deliveries")
        connection.execute(
            sql.SQL(
                "INSERT INTO {} (receiver, tenant, key, message_id, digest, event_type, received_at, state, settled_at,"
                " fence, token, owner, attempts) SELECT 'default', '', n::text, 'other', '', 'x', now(), 'done', now(),"
                " 1, '', '', 1 FROM generate_series(1, 50000) AS n"
            ).format(table)
        )
        connection.execute(sql.SQL("ANALYZE {}").format(table))
        claims = [a_claim(str(n)) for n in range(1, 101)]
        answers = await store.claim(claims)
        assert {answer.verdict for answer in answers} == {"duplicate"}
        from airweave_webhooks.stores import postgres_rows

        leases = [Lease(claim.key, 1, claim.token) for claim in claims]
        for statement, values in (
            (store._sql.lost, postgres_rows.claim_columns(claims)[: postgres_rows.LOST_COLUMNS]),
            (store._sql.settle, postgres_rows.settle_columns([Settle(lease, "done") for lease in leases])),
            (store._sql.renew, [*postgres_rows.lease_columns(leases), 60.0]),
        ):
            plan = connection.execute(b"EXPLAIN (FORMAT json) " + statement, values).fetchone()
            assert plan is not None
            text = json.dumps(plan[0])
            assert "deliveries_pkey" in text
            assert "Seq Scan" not in text
            assert "deliveries_open" not in text


async def test_the_store_works_in_several_event_loops_at_once(postgres_url: str, schema: str) -> None:
    """Each has connections of its own; the last one to close closes what renews."""
    store = PostgresStore(postgres_url, schema=schema)
    together = threading.Barrier(3)

    def in_a_loop_of_its_own(key: str) -> str:
        async def use() -> str:
            await store.open()
            try:
                await asyncio.to_thread(together.wait, 30)
                claim = a_claim(key)
                (answer,) = await store.claim([claim])
                assert await asyncio.to_thread(store.renew, [lease_of(claim, answer)], 60) == [True]
                return answer.verdict
            finally:
                await store.close()

        return asyncio.run(use())

    answers = await asyncio.gather(*[asyncio.to_thread(in_a_loop_of_its_own, str(n)) for n in range(3)])
    assert answers == ["claimed"] * 3
    assert store._loops == {}
    assert store._renewing._connection is None


async def test_a_loop_that_ended_without_closing_is_cleaned_up(postgres_url: str, schema: str) -> None:
    """By the next one that opens the store."""
    store = PostgresStore(postgres_url, schema=schema)
    await asyncio.to_thread(lambda: asyncio.run(store.open()))
    async with opened(lambda: store):
        assert len(store._loops) == 1
    gc.collect()  # a forgotten connection would be a warning


async def test_a_store_that_is_not_open_says_so(postgres_url: str, schema: str) -> None:
    """Closed, or opened in another event loop."""
    store = PostgresStore(postgres_url, schema=schema)
    with pytest.raises(StoreUnavailable, match="not open in this event loop"):
        await store.claim([a_claim()])
    async with opened(lambda: store):
        pass
    with pytest.raises(StoreUnavailable, match="not open in this event loop"):
        await store.settle([])


async def test_a_pool_stays_as_it_was(postgres_url: str, schema: str) -> None:
    """It is neither opened nor closed for its owner, and its connections go back as they came."""
    pool = AsyncConnectionPool[Any](postgres_url, min_size=1, max_size=2, open=False, name="mine")
    store = PostgresStore(pool, schema=schema, patience=1)
    with pytest.raises(StoreUnavailable, match="not open yet"):
        await store.open()
    async with pool:
        async with opened(lambda: store):
            assert await claimed(store) == "claimed"
            with pytest.raises(ConfigurationError, match="belongs to one event loop"):
                await asyncio.to_thread(lambda: asyncio.run(store.open()))
            async with pool.connection(), pool.connection():
                with pytest.raises(StoreUnavailable):
                    await store.claim([a_claim("msg_2")])
            assert await claimed(store, "msg_2") == "claimed"
        async with pool.connection() as connection:
            assert not connection.autocommit


async def test_a_pool_with_a_login_that_changes(postgres_url: str, schema: str) -> None:
    """Functions for the login are asked, also for the connection that renews."""

    async def parameters() -> dict[str, Any]:
        return {"application_name": "mine", "row_factory": psycopg.rows.dict_row}

    pool = AsyncConnectionPool[Any](lambda: postgres_url, kwargs=parameters, min_size=1, open=False)
    async with pool, opened(lambda: PostgresStore(pool, schema=schema)) as store:
        claim = a_claim()
        (answer,) = await store.claim([claim])
        assert await asyncio.to_thread(store.renew, [lease_of(claim, answer)], 60) == [True]
        assert pool.name in repr(store)


async def test_a_claim_that_is_won_meanwhile_is_asked_again(store: PostgresStore) -> None:
    """Between the two statements of a claim that lost, the winner can be done with a failure, or be purged."""
    first = a_claim()
    (answer,) = await store.claim([first])
    ask = store._ask_why

    async def release_first(lost: list[Claim], answers: dict[bytes, Claimed]) -> None:
        store._ask_why = ask  # type: ignore[method-assign]
        await store.settle([Settle(lease_of(first, answer), "pending")])
        await ask(lost, answers)

    store._ask_why = release_first  # type: ignore[method-assign,assignment]
    assert await claimed(store) == "claimed"
