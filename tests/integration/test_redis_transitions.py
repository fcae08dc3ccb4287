"""The Lua scripts do what `transitions` says: long random stories, told to Redis and to the store in memory."""

import random
from collections.abc import AsyncIterator
from typing import Any

import pytest
import redis

from airweave_webhooks.stores import MemoryStore, RedisStore, Store
from airweave_webhooks.stores.base import Claim, Claimed, Facts, Key, Lease, Origin, Record, Settle

KEYS = [Key("default", tenant, key) for tenant in ("", "t:1") for key in ("a", "b", "c", "d")]
# What is over at once and what is not: so neither store's clock matters.
OVER, NOT_OVER = -1000.0, 10_000.0
RESULTS = [{}, {"h": "processed"}, {"h": "rejected"}, {"h": "processed", "i": "rejected", "\udfff\0": "processed"}]

pytestmark = pytest.mark.anyio


@pytest.fixture
async def stores(redis_url: str, prefix: str) -> AsyncIterator[tuple[Store, Store]]:
    theirs = RedisStore(redis_url, prefix=prefix, partitions=3)
    await theirs.open()
    yield MemoryStore(), theirs
    await theirs.close()


def a_claim(chance: random.Random) -> Claim:
    key = chance.choice(KEYS)
    return Claim(
        key,
        message_id=chance.choice([key.key, key.key, key.key, "other"]),
        digest=chance.choice([b"1" * 32, b"1" * 32, b"1" * 32, b"\0\xff"]),
        token=chance.randbytes(4),
        facts=Facts("sync.completed", chance.choice([None, "", "docs"])),
        lease=chance.choice([OVER, NOT_OVER]),
        owner=chance.choice(["", 'me/"\N{SNOWMAN}']),
        into=chance.choice(["leased", "leased", "leased", "leased", "done", "dead"]),
        reason=chance.choice([None, "", "because"]),
        body=chance.choice([None, None, b"", b"{}\0\xff"]),
        origin=chance.choice([None, Origin(1_800_000_000, {"a": "\0\udfff"}, "order")]),
    )


def a_settle(chance: random.Random, leases: list[Lease]) -> Settle:
    lease = chance.choice(leases[-6:])
    if chance.random() < 0.1:
        lease = lease._replace(fence=lease.fence + chance.choice([-1, 1]))
    return Settle(
        lease._replace(fence=max(0, lease.fence)),
        chance.choice(["done", "pending", "pending", "pending", "dead"]),
        chance.choice([None, "why"]),
        chance.choice(RESULTS),
        chance.choice([None, "", "error\n\udfff" + "x" * chance.randrange(2000)]),
        chance.choice([OVER, 0.0, NOT_OVER]),
        chance.choice([None, None, b"", b"\xff"]),
        started=chance.random() < 0.7,
    )


def without_times(record: Record | None) -> object:
    """All of a record but times, of which only matters whether they are there, and whether they are over."""
    if record is None:
        return None
    times = [
        value and (value > record.received_at + NOT_OVER / 2) - (value < record.received_at + OVER / 2)
        for value in (record.settled_at, record.due_at, record.lease_until)
    ]
    # How long the first note of a long history is depends on how the owner's name is escaped.
    notes = [note[1:] for note in record.notes]
    error = record.error and record.error.replace("\udfff", "?")
    return (
        *(record.key, record.message_id, record.digest, record.facts, record.state, record.reason, record.fence),
        *(record.token, record.owner, record.leases_lost, record.attempts, record.generation, dict(record.results)),
        *(error, record.body, record.origin, len(record.history) == 4000, notes[-2:], times),
    )


def without_wait(claimed: Claimed) -> object:
    return claimed._replace(retry_after=float(claimed.retry_after > 0), results=dict(claimed.results))


def assert_indexed(client: Any, prefix: str, records: list[Record | None]) -> None:
    """The indexes name the records that a purge may have to touch, with the time of their last touch, and no others."""
    expected: dict[str, dict[str, float]] = {"done": {}, "open": {}}
    for record in records:
        if record is None:
            continue
        name = f"{record.key.tenant.replace(':', '%3A')}:{record.key.key}"
        if record.state == "done":
            expected["done"][name] = record.settled_at or 0
        elif record.body is None and record.state in {"pending", "leased"}:
            touches = (record.lease_until,) if record.state == "leased" else (record.due_at, record.settled_at)
            expected["open"][name] = max(touch or 0 for touch in touches)
    found: dict[str, dict[str, float]] = {}
    for index in expected:
        pairs = [pair for n in range(3) for pair in client.zrange(f"{prefix}:{{{n}}}:#{index}", 0, -1, withscores=True)]
        found[index] = {name.decode().split(":default:")[1]: score / 1e6 for name, score in pairs}
    assert found == expected


@pytest.mark.parametrize("seed", range(12))
async def test_redis_and_memory_tell_the_same_story(
    stores: tuple[Store, Store], redis_url: str, prefix: str, seed: int
) -> None:
    """After each of many random steps both gave the same answer and hold the same records, rightly indexed."""
    client: Any = redis.Redis.from_url(redis_url)
    chance = random.Random(seed)
    leases = [Lease(KEYS[0], 0, b"nobody's")]
    claims = [a_claim(chance)]
    for step in range(250):
        what = chance.random()
        answers: list[object] = []
        if what < 0.5:
            claim = chance.choice(claims[-3:]) if chance.random() < 0.15 else a_claim(chance)
            claims.append(claim)
            claimed = [(await store.claim([claim]))[0] for store in stores]
            answers = [without_wait(answer) for answer in claimed]
            if claimed[0].verdict == "claimed":
                leases.append(Lease(claim.key, claimed[0].fence, claim.token))
        elif what < 0.9:
            wish = a_settle(chance, leases)
            answers = [await store.settle([wish]) for store in stores]
        elif what < 0.96:
            lease, seconds = chance.choice(leases[-6:]), chance.choice([OVER, NOT_OVER])
            answers = [store.renew([lease], seconds) for store in stores]
        else:
            ages = {"done_for": chance.choice([-1.0, NOT_OVER]), "abandoned_for": chance.choice([OVER / -2, 1e6])}
            answers = [await store.purge(**ages, most=1000) for store in stores]
        assert answers[0] == answers[1], step
        mine, theirs = [await store.get(KEYS) for store in stores]
        assert list(map(without_times, mine)) == list(map(without_times, theirs)), step
        assert_indexed(client, prefix, theirs)
    client.close()
