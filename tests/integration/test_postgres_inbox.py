"""What is PostgreSQL's own about its inbox: SQL that does what `inbox_transitions` says, locks, messages, plans."""

import asyncio
import logging
import os
import random
import re
import sys
import time
from collections.abc import AsyncIterator, Callable, Coroutine
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import psycopg
import pytest
from psycopg import sql

from airweave_webhooks import PostgresStore
from airweave_webhooks.errors import StoreBusy, StoreDataError
from airweave_webhooks.stores import inbox_transitions, postgres_listening, transitions
from airweave_webhooks.stores.base import Claim, Facts, Key, Lease, Origin, Record, Settle
from airweave_webhooks.stores.inbox import Cursor, InboxStore, Search, Take
from airweave_webhooks.testing.contracts import opened

pytestmark = pytest.mark.anyio

# What is over at once and what is not: so neither clock matters.
OVER, NOT_OVER = -1000.0, 10_000.0
KEYS = [Key("r", tenant, key) for tenant in ("", "t") for key in "abcdef"] + [Key("other", "", "a")]
TYPES = ["sync.completed", "sync.failed", "search.completed"]
DAY = datetime(2026, 11, 20, 9, 3, 41, 803112, UTC)


@pytest.fixture
async def store(postgres_url: str, schema: str) -> AsyncIterator[PostgresStore]:
    async with opened(lambda: PostgresStore(postgres_url, schema=schema)) as store:
        assert isinstance(store, PostgresStore)
        yield store


def work(key: Key, order: str = "", event_time: datetime | None = None, event_type: str = TYPES[0]) -> Claim:
    """A delivery for a worker."""
    facts = Facts(event_type, "docs", None, None, event_time)
    origin = Origin(1_800_000_000, {"x": "y"}, order)
    body = key.key.encode()
    return Claim(key, key.key, bytes(32), os.urandom(16), facts, 60.0, "web", "pending", None, body, origin=origin)


def a_take(most: int = 100, **changed: Any) -> Take:
    return Take("r", most, os.urandom(16), NOT_OVER, "worker")._replace(**changed)


# --- the SQL is what the rules say -----------------------------------------------------------------------------------


class Twins:
    """A store, and a dictionary of what must be in it. Times of the store become the dictionary's after every step."""

    def __init__(self, store: PostgresStore, chance: random.Random) -> None:
        self.store = store
        self.chance = chance
        self.records: dict[Key, Record] = {}
        self.claims: list[Claim] = []
        self.takes: list[Take] = []
        self.leases = [Lease(KEYS[0], 0, b"nobody's")]

    @property
    def ours(self) -> list[Record]:
        return list(self.records.values())

    async def compare(self, where: object) -> None:
        for key, found in zip(KEYS, await self.store.get(KEYS), strict=True):
            mine = self.records.get(key)
            assert comparable(found) == comparable(mine), where
            if found is not None:
                self.records[key] = found

    async def claim(self) -> None:
        claim = self.a_claim()
        if self.claims and self.chance.random() < 0.1:
            claim = self.chance.choice(self.claims[-3:])
        self.claims.append(claim)
        record, now = self.records.get(claim.key), time.time()
        if record is None:
            record = self.records[claim.key] = transitions.first_claim(claim, now)
            expected = transitions.granted(record)
        else:
            expected, _ = transitions.claim_again(record, claim, now)
        (answer,) = await self.store.claim([claim])
        assert answer._replace(retry_after=0.0) == expected._replace(retry_after=0.0)
        assert (answer.retry_after > 0) == (expected.retry_after > 0)
        if answer.verdict == "claimed":
            self.leases.append(Lease(claim.key, answer.fence, claim.token))

    def a_claim(self) -> Claim:
        chance, key = self.chance, self.chance.choice(KEYS)
        into = chance.choice(
            ["pending", "pending", "pending", "pending", "pending", "leased", "leased", "done", "dead"]
        )
        facts = Facts(
            chance.choice(TYPES),
            chance.choice([None, "", "docs"]),
            chance.choice([None, "github"]),
            None,
            chance.choice([None, DAY, DAY + timedelta(days=1), DAY + timedelta(days=2)]),
        )
        origin = Origin(chance.randrange(10**10), {"a": "\N{SNOWMAN}"}, chance.choice(["", "one", "one", "two"]))
        return Claim(
            key,
            message_id=chance.choice([key.key, key.key, key.key, "other"]),
            digest=chance.choice([b"1" * 32, b"1" * 32, b"1" * 32, b"\0\xff"]),
            token=chance.randbytes(4),
            facts=facts,
            lease=chance.choice([OVER, OVER, NOT_OVER]),
            owner=chance.choice(["", 'me "1"']),
            into=into,  # type: ignore[arg-type]
            reason=chance.choice([None, "because"]),
            body=b"{}\0\xff" if into == "pending" else chance.choice([None, b""]),
            origin=origin if into == "pending" else chance.choice([None, origin]),
        )

    async def take(self) -> None:
        chance = self.chance
        wish = a_take(
            chance.choice([1, 2, 3, 100]),
            token=chance.randbytes(4),
            lease=chance.choice([OVER, OVER, NOT_OVER]),
            suspects=chance.random() < 0.3,
            without=chance.choice([(), (), TYPES[:1], TYPES[:2]]),
            only=chance.choice([(), (), TYPES[:1], TYPES[1:]]),
        )
        if self.takes and chance.random() < 0.2:
            wish = chance.choice(self.takes[-3:])
        self.takes.append(wish)
        now, records = time.time(), self.ours
        expected = [
            inbox_transitions.take(record, wish, records, now)
            for record in inbox_transitions.choose(records, wish, now)
        ]
        answer = await self.store.take(wish)
        assert [(comparable(one.record), one.stale) for one in answer] == [
            (comparable(one.record), one.stale) for one in expected
        ]
        self.leases += [Lease(one.record.key, one.record.fence, one.record.token) for one in answer]

    async def settle(self) -> None:
        chance = self.chance
        lease = chance.choice(self.leases[-6:])
        if chance.random() < 0.1:
            lease = lease._replace(fence=lease.fence + 1)
        results = chance.choice([{}, {"h": "processed"}, {"h": "processed", "i": "rejected"}])
        wish = Settle(
            lease,
            chance.choice(["done", "pending", "pending", "dead"]),
            chance.choice([None, "why"]),
            results,
            chance.choice([None, "", 'error\n"\0\udfff \N{SNOWMAN}' + "x" * chance.randrange(3000)]),
            chance.choice([OVER, 0.0, NOT_OVER]),
            chance.choice([None, None, b"", b"\xff"]),
            started=chance.random() < 0.7,
        )
        expected, _ = transitions.settle(self.records.get(lease.key), wish, time.time())
        assert await self.store.settle([wish]) == [expected]
        record = self.records.get(lease.key)
        if record is not None and record.error is not None:
            record.error = record.error.replace("\0", "\N{REPLACEMENT CHARACTER}").replace("\udfff", "?")

    async def replay(self) -> None:
        keys = sorted(self.chance.sample(KEYS, 3))
        now, who, why = time.time(), 'who "\N{SNOWMAN}', "why \N{SNOWMAN}\0\udfff"
        expected = [key in self.records and inbox_transitions.replay(self.records[key], who, why, now) for key in keys]
        assert await self.store.replay(keys, who=who, why=why) == expected

    async def forget(self) -> None:
        done_for = self.chance.choice([-1.0, NOT_OVER])
        old = [record for record in self.ours if inbox_transitions.has_old_body(record, time.time() - done_for)]
        for record in old:
            record.body = None
        assert await self.store.forget_bodies(done_for=done_for, most=100) == len(old)

    async def look(self) -> None:
        chance = self.chance
        record = chance.choice(self.ours or [Record(KEYS[0], "", b"", Facts(""), 0.0)])
        search = Search(
            "r",
            states=chance.choice([(), (), ("done",), ["dead", "pending"], ("leased",)]),
            event_types=chance.choice([(), (), TYPES[:1]]),
            collections=chance.choice([(), (), ("docs", "")]),
            source_types=chance.choice([(), (), ("github",)]),
            tenant=chance.choice([None, None, "", "t"]),
            name=chance.choice([None, None, "a", "other"]),
            since=chance.choice([None, None, record.received_at]),
            until=chance.choice([None, None, record.received_at]),
            replayable=chance.random() < 0.2,
        )
        found = [one for one in self.ours if inbox_transitions.finds(search, one)]
        assert await self.store.count(search) == len(found)
        after = chance.choice([None, Cursor(record.received_at, record.key.tenant, record.key.key)])
        page = inbox_transitions.page_of(found, after, 4)
        answer = await self.store.search(search, after=after, most=4)
        assert answer == [replace(one, body=None, origin=None) for one in page]

    async def count(self) -> None:
        ours, now = [record for record in self.ours if record.key.receiver == "r"], time.time()
        backlog = await self.store.backlog("r")
        due = [one for one in ours if one.body is not None and (inbox_transitions.due_since(one) or now + 1) <= now]
        next_ones = [
            record
            for suspects in (False, True)
            for record in inbox_transitions.choose(ours, Take("r", 100, b"nobody's", 1.0, suspects=suspects), now)
        ]
        oldest = max([now - (inbox_transitions.due_since(record) or 0.0) for record in next_ones], default=0.0)
        assert backlog.pending == sum(record.state == "pending" and record.body is not None for record in ours)
        assert backlog.oldest == pytest.approx(oldest, abs=1)
        assert backlog.suspects == sum(map(inbox_transitions.is_suspect, due))
        assert backlog.dead == sum(record.state == "dead" for record in ours)
        assert backlog.leases_lost == sum(record.leases_lost for record in ours)
        assert backlog.worker_seen is None
        assert backlog.disk > 0
        kinds = [(record.state, record.reason or "", record.facts.event_type) for record in ours]
        tally = await self.store.tally("r")
        assert [(one.state, one.reason or "", one.event_type) for one in tally] == sorted(set(kinds))
        assert [one.deliveries for one in tally] == [kinds.count(kind) for kind in sorted(set(kinds))]

    async def purge(self) -> None:
        gone = [record for record in self.ours if record.state == "done"]
        assert await self.store.purge(done_for=-1.0, abandoned_for=1e6, most=100) == len(gone)
        for record in gone:
            del self.records[record.key]


def comparable(record: Record | None) -> object:
    """All of a record but times, of which only matters whether they are there, and whether they are over."""
    if record is None:
        return None
    now = time.time()
    times = [
        value and (value > now + NOT_OVER / 2) - (value < now + OVER / 2)
        for value in (record.settled_at, record.due_at, record.lease_until)
    ]
    history = re.sub(r"^\[[0-9.]*", "[", record.history.partition("\n")[2], flags=re.MULTILINE)
    notes = [note[1:] for note in record.notes]
    cleared: dict[str, Any] = {
        "received_at": 0.0,
        "settled_at": None,
        "due_at": None,
        "lease_until": None,
        "history": "",
    }
    return replace(record, results=dict(record.results), **cleared), times, history, notes


def look_up_orders_after(rows: int, store: PostgresStore) -> None:
    """Make a take go from order to order after so few rows."""
    for name in ("take", "backlog"):
        statement: bytes = getattr(store._inbox_sql, name)
        for word in (b"LIMIT", b"OFFSET"):
            assert b"%s 500" % word in statement
            statement = statement.replace(b"%s 500" % word, b"%s %d" % (word, rows))
        setattr(store._inbox_sql, name, statement)


@pytest.mark.parametrize("seed", range(8))
async def test_the_sql_is_what_the_rules_say(store: PostgresStore, seed: int) -> None:
    """After each of many random steps: the same answers, and the same records."""
    if seed % 2:
        look_up_orders_after(seed // 2, store)
    twins = Twins(store, random.Random(seed))
    steps: list[Callable[[], Any]] = [
        *[twins.claim] * 9,
        *[twins.take] * 6,
        *[twins.settle] * 7,
        *[twins.replay, twins.forget, twins.look, twins.look, twins.count],
    ]
    for number in range(300):
        step = twins.purge if number % 100 == 99 else twins.chance.choice(steps)
        await step()
        await twins.compare((number, step.__name__))


async def test_it_is_an_inbox_store(store: PostgresStore) -> None:
    assert isinstance(store, InboxStore)


async def test_a_batch_is_stored_with_its_origins(store: PostgresStore) -> None:
    """Also headers that JSON of the server cannot hold, and records with and without one in one batch."""
    claims = [
        work(Key("r", "", "a"))._replace(origin=Origin(1, {"x\0": "\udfff\N{SNOWMAN}"}, "o\0")),
        work(Key("r", "", "b"))._replace(origin=None),
        work(Key("r", "", "c"))._replace(into="leased"),
        work(Key("r", "", "d"), "order"),
    ]
    assert {answer.verdict for answer in await store.claim(claims)} == {"claimed"}
    records = await store.get([claim.key for claim in claims])
    assert [record and record.origin for record in records] == [
        Origin(1, {"x\N{REPLACEMENT CHARACTER}": "?\N{SNOWMAN}"}, "o\N{REPLACEMENT CHARACTER}"),
        None,
        None,
        claims[3].origin,
    ]
    assert [record and record.body for record in records] == [b"a", b"b", None, b"d"]


async def test_a_long_history_keeps_its_end(store: PostgresStore) -> None:
    """Every note of it is whole."""
    claim = work(KEYS[0])
    await store.claim([claim])
    for number in range(12):
        (taken,) = await store.take(a_take())
        lease = Lease(claim.key, taken.record.fence, taken.record.token)
        await store.settle([Settle(lease, "pending", "retry", error=f"{number} " + "\N{SNOWMAN}" * 100)])
    (record,) = await store.get([claim.key])
    assert record is not None
    assert len(record.history) == 4000
    assert [note.attempt for note in record.notes] == [7, 8, 9, 10, 11, 12]
    assert record.notes[-1][2:] == ("worker", "retry", "11 " + "\N{SNOWMAN}" * 100)
    assert record.notes[-1].at == pytest.approx(record.settled_at, abs=0.002)


async def test_a_data_error_is_one(store: PostgresStore) -> None:
    """What no column can hold is refused as such, or read as text; nothing else is raised."""
    bad = "\0\udfff"
    assert await store.search(Search(bad, (), [bad], [bad], [bad], bad, bad), after=Cursor(1, bad, bad), most=1) == []
    assert await store.count(Search(bad, since=float("-inf"), until=float("inf"))) == 0
    await store.beat(bad, bad)
    assert (await store.backlog(bad)).worker_seen is not None
    assert await store.tally(bad) == []
    assert await store.take(Take(bad, 1, b"", 1.0, bad, without=[bad], only=[bad])) == []
    assert await store.replay([Key(bad, bad, bad)], who=bad, why=bad) == [False]
    async with store.listening(bad, lambda: None):
        pass
    with pytest.raises(StoreDataError):
        await store.count(Search("r", since=float("nan")))
    with pytest.raises(StoreDataError):
        await store.search(Search("r"), after=Cursor(1e300, "", ""), most=1)
    with pytest.raises(StoreDataError):
        await store.claim([work(KEYS[0])._replace(origin=Origin(2**70))])
    await store.claim([work(KEYS[0])])
    with pytest.raises(StoreDataError):
        await store.take(a_take(lease=1e300))
    assert len(await store.take(a_take())) == 1


async def test_pages_join_without_a_gap(store: PostgresStore) -> None:
    """The place where a page ended is exact, also where all came in the same microsecond."""
    keys = [Key("r", tenant, f"{n:03}") for tenant in ("", "t", "\N{SNOWMAN}") for n in range(40)]
    for start in range(0, len(keys), 30):
        await store.claim([work(key) for key in keys[start : start + 30]])
    found: list[Record] = []
    after: Cursor | None = None
    while page := await store.search(Search("r"), after=after, most=7):
        found += page
        after = Cursor(page[-1].received_at, page[-1].key.tenant, page[-1].key.key)
    assert len(found) == len(keys)
    assert found == list(inbox_transitions.page_of(found, None, 1000))


async def test_workers_are_seen_and_forgotten(store: PostgresStore, postgres_url: str, schema: str) -> None:
    assert (await store.backlog("r")).worker_seen is None
    for owner in ("one", "two", "one"):
        await store.beat("r", owner)
    await store.beat("other", "three")
    assert 0 <= ((await store.backlog("r")).worker_seen or -1) < 5
    with psycopg.connect(postgres_url, autocommit=True) as connection:
        workers = sql.Identifier(schema, "workers")
        connection.execute(sql.SQL("UPDATE {} SET seen_at = now() - interval '25 hours'").format(workers))
        await store.beat("r", "two")
        rows = connection.execute(sql.SQL("SELECT receiver, owner FROM {}").format(workers)).fetchall()
    assert rows == [("r", "two")]


# --- order among many ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("isolation", ["read committed", "repeatable read", "serializable"])
async def test_an_order_is_kept_among_many_takers(postgres_url: str, schema: str, isolation: str) -> None:
    """Four stores take what others put in meanwhile, earlier events after later ones too: no two ever hold one order,
    and nothing is given before what has happened earlier and is there. Whatever the server's isolation is."""
    url = f"{postgres_url}?options=-c%20default_transaction_isolation%3D{isolation.replace(' ', '%5C%20')}"
    orders, each = ["one", "two", "three"], 40
    left = dict.fromkeys(orders, 0)
    held: set[str] = set()
    put_in = False
    done: list[str] = []

    async def put(store: PostgresStore) -> None:
        nonlocal put_in
        chance = random.Random(1)
        numbers = [(order, n) for order in orders for n in range(each)]
        chance.shuffle(numbers)
        for order, n in numbers:
            left[order] += 1
            claim = work(Key("r", "", f"{order}{n}"), order, DAY + timedelta(seconds=n))
            while not await succeeds(store.claim([claim])):
                pass
        put_in = True

    async def worker(store: PostgresStore) -> None:
        while not put_in or any(left.values()):
            try:
                taken = await store.take(a_take(3))
            except StoreBusy:
                continue
            for one in taken:
                assert one.record.origin is not None
                assert one.record.origin.order not in held
                held.add(one.record.origin.order)
            await asyncio.sleep(0)
            for one in taken:
                assert one.record.origin is not None
                lease = Lease(one.record.key, one.record.fence, one.record.token)
                held.discard(one.record.origin.order)
                left[one.record.origin.order] -= 1
                done.append(one.record.key.key)
                while not await succeeds(store.settle([Settle(lease, "done")])):
                    pass

    async def succeeds(call: Coroutine[Any, Any, list[Any]]) -> bool:
        try:
            (answer,) = await call
        except StoreBusy:
            return False
        assert answer is True or answer.verdict == "claimed"
        return True

    stores = [PostgresStore(url, schema=schema, patience=60) for _ in range(5)]
    for store in stores:
        await store.open()
    await asyncio.wait_for(asyncio.gather(put(stores[0]), *map(worker, stores[1:])), 90)
    for store in stores:
        await store.close()
    assert len(done) == len(set(done)) == len(orders) * each


async def test_what_is_put_in_earlier_meanwhile_is_seen(store: PostgresStore, postgres_url: str, schema: str) -> None:
    """A take that waits for another one decides by what is there afterwards, not by what was there before."""
    await store.claim([work(Key("r", "", "later"), "one", DAY)])
    lock = store._inbox_sql.lock_for_take("r").split(b";")[2]
    with psycopg.connect(postgres_url) as other:
        other.execute(lock)
        taking = asyncio.create_task(store.take(a_take()))
        await asyncio.sleep(0.2)
        await store.claim([work(Key("r", "", "earlier"), "one", DAY - timedelta(days=1))])
        other.rollback()
        assert [one.record.key.key for one in await taking] == ["earlier"]


async def test_a_take_waits_no_longer_than_any_lock(store: PostgresStore, postgres_url: str) -> None:
    """And what follows on the connection is not in its transaction."""
    await store.claim([work(KEYS[0])])
    with psycopg.connect(postgres_url) as other:
        other.execute(store._inbox_sql.lock_for_take("r").split(b";")[2])
        started = time.monotonic()
        with pytest.raises(StoreBusy):
            await store.take(a_take())
        assert time.monotonic() - started < 4
        assert await store.take(a_take()._replace(receiver="other")) == []
    assert len(await store.take(a_take())) == 1


async def test_what_somebody_works_on_is_left_out(store: PostgresStore, postgres_url: str, schema: str) -> None:
    """A row that is locked just now is not waited for."""
    await store.claim([work(Key("r", "", "a")), work(Key("r", "", "b"))])
    with psycopg.connect(postgres_url) as other:
        table = sql.Identifier(schema, "deliveries")
        other.execute(sql.SQL("SELECT FROM {} WHERE key = 'a' FOR UPDATE").format(table))
        assert [one.record.key.key for one in await store.take(a_take())] == ["b"]
    assert [one.record.key.key for one in await store.take(a_take())] == ["a"]


async def test_a_cancelled_take_leaves_nothing_behind(store: PostgresStore, postgres_url: str) -> None:
    """Neither a lease, nor a lock, nor a transaction."""
    await store.claim([work(Key("r", "", f"{n:03}")) for n in range(200)])
    chance = random.Random(1)
    for _ in range(40):
        call = asyncio.create_task(store.take(a_take(1)))
        await asyncio.sleep(chance.random() * 0.01)
        call.cancel()
        await asyncio.gather(call, return_exceptions=True)
    with psycopg.connect(postgres_url, autocommit=True) as connection:

        def left_behind() -> int:
            row = connection.execute(
                "SELECT (SELECT count(*) FROM pg_locks WHERE locktype = 'advisory')"
                " + (SELECT count(*) FROM pg_stat_activity WHERE state LIKE 'idle in transaction%')"
            ).fetchone()
            assert row is not None
            return int(row[0])

        async with asyncio.timeout(30):  # the server hears of it a moment later
            while left_behind():
                await asyncio.sleep(0.05)
    left = await store.take(a_take(1000))
    assert len(left) + await store.count(Search("r", ["leased"])) >= 200


# --- notifications ---------------------------------------------------------------------------------------------------


class Bell:
    """Counts how often it was rung, and waits for it."""

    def __init__(self) -> None:
        self.rung = 0
        self._event = asyncio.Event()

    def __call__(self) -> None:
        self.rung += 1
        self._event.set()

    async def heard(self, within: float) -> None:
        await asyncio.wait_for(self._event.wait(), within)
        self._event.clear()


PUT_IN = """
import asyncio, sys, time
sys.path[:0] = ["tests/integration", "tests"]
from test_postgres_inbox import work
from airweave_webhooks import PostgresStore
from airweave_webhooks.stores.base import Key

async def main() -> None:
    store = PostgresStore(sys.argv[1], schema=sys.argv[2])
    await store.open()
    await store.claim([work(Key("r", "", f"theirs{n}")) for n in range(20)])
    print(time.time())
    await store.close()

asyncio.run(main())
"""


async def test_a_listener_hears_of_work_from_another_process(
    store: PostgresStore, postgres_url: str, schema: str
) -> None:
    """At once, and once for a batch; not of another receiver's work, nor of what needs no worker."""
    bell, other = Bell(), Bell()
    heard_at: list[float] = []

    def ring() -> None:
        heard_at.append(time.time())
        bell()

    async with store.listening("r", ring), store.listening("other", other):
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-c", PUT_IN, postgres_url, schema, stdout=asyncio.subprocess.PIPE
        )
        said, _ = await process.communicate()
        assert process.returncode == 0
        await bell.heard(5)
        assert heard_at[0] - float(said) < 2.0
        await store.claim([work(Key("r", "", "mine"))._replace(into="done")])
        await store.claim([work(Key("r", "", "theirs1"))])
        await asyncio.sleep(0.3)
        assert (bell.rung, other.rung) == (1, 0)
        await store.claim([work(Key("r", "", "more"))])
        await bell.heard(10)
        (taken,) = await store.take(a_take(1))
        await store.settle([Settle(Lease(taken.record.key, taken.record.fence, taken.record.token), "dead")])
        await store.replay([taken.record.key], who="me", why="")
        await bell.heard(10)
    before = bell.rung
    await store.claim([work(Key("r", "", "late"))])
    await asyncio.sleep(0.1)
    assert bell.rung == before


async def test_a_batch_notifies_once_for_each_receiver(store: PostgresStore, postgres_url: str) -> None:
    """With what is granted only, in a mixed batch too."""
    with psycopg.connect(postgres_url, autocommit=True) as connection:
        for receiver in ("r", "other", "third"):
            channel = store._inbox_sql.channel_of(receiver)
            assert len(channel) <= 63
            connection.execute(f'LISTEN "{channel}"'.encode())
        batch = [work(Key(receiver, "", f"{n:03}")) for receiver in ("other", "r") for n in range(50)]
        await store.claim([*batch, work(Key("third", "", "x"))._replace(into="done")])
        await store.claim([claim._replace(token=os.urandom(16)) for claim in batch])
        heard = [notify.channel for notify in connection.notifies(timeout=0.5)]
    assert sorted(heard) == sorted(store._inbox_sql.channel_of(receiver) for receiver in ("r", "other"))


async def test_a_listener_survives_its_connection(
    store: PostgresStore, postgres_url: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """It connects again by itself, wakes whom it may not have told, and says each once."""
    monkeypatch.setattr(postgres_listening, "PAUSES", (0.2, 0.2))
    caplog.set_level(logging.INFO, "airweave_webhooks")
    bell = Bell()
    async with store.listening("r", bell):
        with psycopg.connect(postgres_url, autocommit=True) as connection:
            for _ in range(2):
                ended = connection.execute(
                    "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity WHERE query LIKE 'LISTEN%'"
                ).fetchone()
                assert ended == (1,)
                await bell.heard(5)  # when it is back
                await store.claim([work(Key("r", "", os.urandom(4).hex()))])
                await bell.heard(10)
    said = [(record.levelname, "no longer tells" in record.getMessage()) for record in caplog.records]
    assert said == [("WARNING", True), ("INFO", False)] * 2


async def test_a_server_that_is_not_there_keeps_nobody_from_listening(
    fragile_server: Any, schema: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """The block begins, and hears when the server is back; one that is frozen is noticed, too."""
    monkeypatch.setattr(postgres_listening, "PAUSES", (0.2, 0.2))
    monkeypatch.setattr(postgres_listening, "ASK_AFTER", 0.3)
    bell = Bell()
    async with opened(lambda: PostgresStore(fragile_server.url, schema=schema, patience=1)) as store:
        assert isinstance(store, PostgresStore)
        await asyncio.to_thread(fragile_server.stop)
        async with store.listening("r", bell):
            await asyncio.to_thread(fragile_server.start)
            await bell.heard(10)
            await asyncio.sleep(1)  # of silence, in which the server is asked
            fragile_server.freeze()
            await asyncio.sleep(2)
            fragile_server.thaw()
            await bell.heard(10)
            await store.claim([work(Key("r", "", "a"))])
            await bell.heard(10)
            fragile_server.freeze()
            await asyncio.sleep(0.5)
            started = time.monotonic()
        assert time.monotonic() - started < 10
        fragile_server.thaw()
    assert [record.levelname for record in caplog.records] == ["WARNING"] * 2


# --- plans -----------------------------------------------------------------------------------------------------------

FILL = """
INSERT INTO {} (receiver, tenant, key, message_id, digest, event_type, event_time, received_at, state, settled_at,
    due_at, fence, token, owner, attempts, sent_at, headers, order_key, body)
SELECT 'r', '', {} || n, 'id' || n, '', 'sync.completed', now(), now() - n * interval '1 ms', {},
    CASE WHEN {} = 'done' THEN now() END, CASE WHEN {} = 'pending' THEN now() - n * interval '1 ms' END, 1, '', '',
    0, 1, '{{}}', CASE WHEN n % 2 = 0 THEN 'order' || n % 5000 END, 'x' FROM generate_series(1, {}) AS n
"""


def fill(connection: "psycopg.Connection[Any]", schema: str, state: str, count: int) -> None:
    literal = sql.Literal(state)
    statement = sql.SQL(FILL).format(sql.Identifier(schema, "deliveries"), *[literal] * 4, sql.Literal(count))
    connection.execute(statement)


def nodes(plan: dict[str, Any]) -> "list[dict[str, Any]]":
    return [plan, *(node for child in plan.get("Plans", ()) for node in nodes(child))]


@pytest.mark.parametrize("numbers", ["fresh", "old"])
async def test_takes_use_their_indexes(store: PostgresStore, postgres_url: str, schema: str, numbers: str) -> None:
    """With a backlog, however old the planner's numbers are: no scan of a table, and no more rows than are needed."""
    table = sql.Identifier(schema, "deliveries")
    with psycopg.connect(postgres_url, autocommit=True) as connection:
        connection.execute(sql.SQL("ALTER TABLE {} SET (autovacuum_enabled = off)").format(table))
        fill(connection, schema, "done", 20_000)
        if numbers == "old":  # nothing was ever pending
            connection.execute(sql.SQL("VACUUM ANALYZE {}").format(table))
        fill(connection, schema, "pending", 100_000)
        if numbers == "fresh":
            connection.execute(sql.SQL("VACUUM ANALYZE {}").format(table))
        values = {"receiver": "r", "most": 100, "lease": 60.0, "owner": "", "without": [], "only": []}
        plans = {
            "deliveries_due": (store._inbox_sql.take, {**values, "token": b"1"}),
            "deliveries_suspect": (store._inbox_sql.take_suspect, {**values, "token": b"2"}),
        }
        for index, (statement, wish) in plans.items():
            row = connection.execute(b"EXPLAIN (ANALYZE, FORMAT json) " + statement, wish).fetchone()
            assert row is not None
            plan = nodes(row[0][0]["Plan"])
            used = {node["Index Name"] for node in plan if "Index Name" in node and node["Actual Loops"]}
            assert {"deliveries_taken", index} <= used
            assert used <= {"deliveries_taken", index, f"{index}_in_order", "deliveries_order", "deliveries_pkey"}
            assert [node for node in plan if node["Node Type"] == "Seq Scan"] == []
            assert max(node["Actual Rows"] * node["Actual Loops"] for node in plan) <= 2500
            assert [node for node in plan if node.get("Rows Removed by Filter", 0) > 2500] == []


@pytest.mark.parametrize("numbers", ["fresh", "old"])
async def test_a_backlog_of_few_orders_is_not_read_through(
    store: PostgresStore, postgres_url: str, schema: str, numbers: str
) -> None:
    """A take finds the first of each order without a look at all that wait for it, whatever the planner believes."""
    table = sql.Identifier(schema, "deliveries")
    with psycopg.connect(postgres_url, autocommit=True) as connection:
        connection.execute(sql.SQL("ALTER TABLE {} SET (autovacuum_enabled = off)").format(table))
        fill(connection, schema, "done", 20_000)
        if numbers == "old":
            connection.execute(sql.SQL("VACUUM ANALYZE {}").format(table))
        fill(connection, schema, "pending", 20_000)
        connection.execute(sql.SQL("UPDATE {} SET order_key = 'order' || length(key) % 3").format(table))
        if numbers == "fresh":
            connection.execute(sql.SQL("VACUUM ANALYZE {}").format(table))
    await store.claim([work(Key("r", "", "last"), "its own")])
    values = {"receiver": "r", "most": 100, "lease": 60.0, "owner": "", "without": [], "only": [], "token": b"1"}
    with psycopg.connect(postgres_url) as connection:
        row = connection.execute(b"EXPLAIN (ANALYZE, FORMAT json) " + store._inbox_sql.take, values).fetchone()
        assert row is not None
        plan = nodes(row[0][0]["Plan"])
        connection.rollback()
        assert [node for node in plan if node["Node Type"] == "Seq Scan"] == []
        assert max(node["Actual Rows"] * node["Actual Loops"] for node in plan) <= 2500
    taken = await store.take(a_take())
    assert sorted(one.record.origin.order for one in taken if one.record.origin) == [
        "its own",
        "order0",
        "order1",
        "order2",
    ]
    assert taken[-1].record.key.key == "last"
    assert await store.take(a_take()) == []


async def test_a_renewal_touches_no_index(store: PostgresStore, postgres_url: str, schema: str) -> None:
    """The server counts it among the updates that stay on their page."""
    await store.claim([work(Key("r", "", "a"), "order")])
    (taken,) = await store.take(a_take())
    lease = Lease(taken.record.key, taken.record.fence, taken.record.token)
    with psycopg.connect(postgres_url, autocommit=True) as connection:

        def hot_updates() -> int:
            connection.execute("SELECT pg_stat_clear_snapshot()")
            row = connection.execute(
                "SELECT n_tup_hot_upd FROM pg_stat_user_tables WHERE schemaname = %s AND relname = 'deliveries'",
                [schema],
            ).fetchone()
            return int(row[0]) if row else -1

        before = hot_updates()
        assert await asyncio.to_thread(store.renew, [lease], 60) == [True]
        give_up = time.monotonic() + 20
        while hot_updates() == before and time.monotonic() < give_up:
            await asyncio.to_thread(store.renew, [lease], 60)
            await asyncio.sleep(0.2)
        assert hot_updates() > before


def test_the_indexes_are_made_for_the_suspects() -> None:
    """The number of lost leases stands in a migration, too."""
    from airweave_webhooks.stores import postgres_schema
    from airweave_webhooks.stores.inbox import SUSPECT_AFTER

    text = b"".join(postgres_schema.migrations_from(0)).decode()
    assert f"leases_lost < {SUSPECT_AFTER} AND" in text
    assert f"leases_lost >= {SUSPECT_AFTER};" in text
