"""What the Redis store does beyond the contract: scripts, expiry, crashes, event loops, forks, clocks."""

import asyncio
import contextlib
import multiprocessing
import os
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Callable
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import pytest
import redis
import redis.asyncio

from airweave_webhooks import RedisStore
from airweave_webhooks.errors import ConfigurationError, StoreBusy, StoreDataError, StoreUnavailable
from airweave_webhooks.stores.base import Claim, Facts, Key, Lease, Settle
from airweave_webhooks.stores.redis_target import target_of
from airweave_webhooks.stores.redis_wire import Server
from airweave_webhooks.testing.contracts import a_claim, lease_of, opened
from servers.redis import RedisCluster, RedisServer

pytestmark = pytest.mark.anyio

MakeServer = Callable[..., RedisServer]
MakeCluster = Callable[[], RedisCluster]


@pytest.fixture
async def store(redis_server: RedisServer, prefix: str) -> AsyncIterator[RedisStore]:
    async with opened(lambda: RedisStore(redis_server.url, prefix=prefix)) as store:
        assert isinstance(store, RedisStore)
        yield store


async def do(store: RedisStore, *names: str) -> None:
    """Claim and settle some."""
    claims = sorted((a_claim(name) for name in names), key=lambda claim: claim.key)
    answers = await store.claim(claims)
    assert {answer.verdict for answer in answers} == {"claimed"}
    wishes = [Settle(lease_of(c, a), "done") for c, a in zip(claims, answers, strict=True)]
    assert await store.settle(wishes) == [True] * len(wishes)


def ours(server: RedisServer, prefix: str) -> dict[bytes, int]:
    """Every key of a store, with its milliseconds to live (-1: it never ends)."""
    with server.client() as client:
        return {key: client.pttl(key) for key in client.scan_iter(f"{prefix}:*")}


async def test_scripts_are_loaded_again(store: RedisStore, redis_server: RedisServer) -> None:
    """A server that has forgotten the scripts is told them, while many partitions are asked at once."""
    for round_number in range(3):
        redis_server.order("SCRIPT", "FLUSH")
        await do(store, *(f"msg_{round_number}_{number}" for number in range(100)))
        redis_server.order("SCRIPT", "FLUSH")
        assert (await store.get([a_claim(f"msg_{round_number}_7").key]))[0] is not None
        redis_server.order("SCRIPT", "FLUSH")
        claim = a_claim(f"renewed_{round_number}")
        (claimed,) = await store.claim([claim])
        assert await asyncio.to_thread(store.renew, [lease_of(claim, claimed)], 60) == [True]


async def test_scripts_may_be_flushed_in_the_midst_of_traffic(store: RedisStore, redis_server: RedisServer) -> None:
    """Nobody who claims or settles meanwhile notices."""
    stop = asyncio.Event()

    async def flush() -> int:
        count = 0
        while not stop.is_set():
            await asyncio.to_thread(redis_server.order, "SCRIPT", "FLUSH")
            count += 1
        return count

    flushing = asyncio.create_task(flush())
    for number in range(40):
        await asyncio.gather(*(do(store, *(f"{number}_{one}_{two}" for two in range(10))) for one in range(5)))
    stop.set()
    assert await flushing > 10


async def test_only_what_is_done_expires(store: RedisStore, redis_server: RedisServer, prefix: str) -> None:
    """A record lives for `keep` seconds once it is done; unfinished ones and the indexes never end."""
    kinds: dict[str, Any] = {"done": 100.0, "pending": 100.0, "dead": 100.0}
    for state, keep in kinds.items():
        claim = a_claim(state)._replace(keep=keep)
        (claimed,) = await store.claim([claim])
        assert await store.settle([Settle(lease_of(claim, claimed), state)]) == [True]  # type: ignore[arg-type]
    await store.claim([a_claim("leased")._replace(keep=100.0)])
    await store.claim([a_claim("ignored")._replace(into="done", keep=200.0)])
    await store.claim([a_claim("drifted")._replace(into="dead", body=b"{}", keep=100.0)])
    await store.claim([a_claim("for-ever")._replace(into="done", keep=float("inf"))])
    lives = {key.rpartition(b":")[2].decode(): life for key, life in ours(redis_server, prefix).items()}
    assert 99_000 < lives.pop("done") <= 100_000
    assert 199_000 < lives.pop("ignored") <= 200_000
    assert lives.pop("for-ever") > 10**12
    assert set(lives.values()) == {-1}
    assert {"pending", "dead", "leased", "drifted", "layout"} <= set(lives)


async def test_an_expired_record_is_forgotten(store: RedisStore, redis_server: RedisServer, prefix: str) -> None:
    """It is claimed anew; and a purge removes what the index still says of it."""
    names = [f"msg_{number}" for number in range(10)]
    await store.claim([a_claim(name)._replace(into="done", keep=0.05) for name in names])
    await asyncio.sleep(0.1)
    (again,) = await store.claim([a_claim("msg_3")])
    assert (again.verdict, again.fence) == ("claimed", 1)
    assert await store.purge(done_for=0.01, abandoned_for=3600, most=4) == 4
    await store.purge(done_for=0.01, abandoned_for=3600, most=100)
    left = {key.rpartition(b":")[2] for key in ours(redis_server, prefix)}
    assert left == {b"layout", b"msg_3", b"#open"}


async def test_a_record_comes_back_exactly(store: RedisStore) -> None:
    """Times to the microsecond, every kind of empty, and texts that look like ours."""
    facts = Facts(
        "a:b", "", None, "%3A", datetime(2026, 1, 2, 3, 4, 5, 678901, timezone(timedelta(hours=5, minutes=45)))
    )
    key = Key("re:ceiver", "te%nant", "{0}:#done")
    claim = Claim(key, "", bytes(range(256)), b"", facts, 3600.0, owner="", into="dead", reason="", body=b"")
    before = time.time()
    await store.claim([claim])
    (record,) = await store.get([key])
    assert record is not None
    assert (record.key, record.facts, record.digest, record.token) == (key, facts, bytes(range(256)), b"")
    assert (record.message_id, record.owner, record.reason, record.error, record.body) == ("", "", "", None, b"")
    assert before - 1 < record.received_at < time.time() + 1
    assert record.settled_at == record.received_at
    assert record.received_at == round(record.received_at, 6)
    assert (record.lease_until, record.due_at) == (None, None)


@pytest.mark.parametrize("one", ["a:b", "a%3Ab", "a%3ab", "a:"])
async def test_no_two_keys_are_one(store: RedisStore, one: str) -> None:
    """However the parts of a key are cut."""
    keys = [
        Key(one, "", "x"),
        Key("a", f"b:{one}", "x"),
        Key("a", "b", f"{one}:x"),
        Key(f"{one}:", "x", ""),
        Key("", one, "x"),
    ]
    answers = await store.claim([a_claim("msg_1")._replace(key=key) for key in keys])
    assert [answer.verdict for answer in answers] == ["claimed"] * len(keys)


@pytest.mark.parametrize(
    "poison",
    [
        {"lease": float(2**70)},
        {"lease": float("nan")},
        {"lease": float("inf")},
        {"keep": float("nan")},
        {"digest": "text"},
        {"token": None},
        {"facts": Facts("sync.completed", event_time="yesterday")},  # type: ignore[arg-type]
        {"message_id": 7},
    ],
    ids=str,
)
async def test_what_cannot_be_stored_harms_nobody(store: RedisStore, poison: dict[str, Any]) -> None:
    """A batch with such a value does nothing at all, and says so."""
    with pytest.raises(StoreDataError):
        await store.claim([a_claim("a"), a_claim("b")._replace(**poison), a_claim("c")])
    assert await store.get([a_claim(name).key for name in "abc"]) == [None] * 3


async def test_a_settle_that_cannot_be_stored_harms_nobody(store: RedisStore) -> None:
    """Neither does a renewal."""
    claims = [a_claim("a"), a_claim("b")]
    leases = [lease_of(claim, claimed) for claim, claimed in zip(claims, await store.claim(claims), strict=True)]
    bad = [Settle(leases[1], "pending", delay=2.0**70), Settle(leases[1]._replace(fence=2**70), "done")]
    for wish in bad:
        with pytest.raises(StoreDataError):
            await store.settle([Settle(leases[0], "done"), wish])
    with pytest.raises(StoreDataError):
        await asyncio.to_thread(store.renew, leases, 2.0**70)
    assert [record and record.state for record in await store.get([claim.key for claim in claims])] == ["leased"] * 2


async def test_the_clock_is_the_servers(store: RedisStore, monkeypatch: pytest.MonkeyPatch) -> None:
    """A host whose clock is an hour off neither takes leases away nor keeps them."""
    real = time.time
    monkeypatch.setattr(time, "time", lambda: real() + 3600)
    claim = a_claim(lease=10)
    await store.claim([claim])
    (held,) = await store.claim([a_claim()])
    assert (held.verdict, 9 < held.retry_after <= 10) == ("held", True)
    (record,) = await store.get([claim.key])
    assert record is not None
    assert abs(record.received_at - real()) < 2


async def test_a_cut_connection_is_not_noticed(store: RedisStore, redis_server: RedisServer) -> None:
    """What was cut while nobody used it is replaced, however many there are."""
    await asyncio.gather(*(do(store, f"msg_{number}") for number in range(5)))
    for kind in ("normal", "normal"):
        redis_server.order("CLIENT", "KILL", "TYPE", kind, "SKIPME", "yes")
        await do(store, f"after-{os.urandom(4).hex()}")


async def test_nothing_is_left_open(redis_server: RedisServer, prefix: str) -> None:
    """As many connections as before, also after renewals and cancelled calls."""
    before = redis_server.connections()
    async with opened(lambda: RedisStore(redis_server.url, prefix=prefix)) as store:
        claim = a_claim()
        (claimed,) = await store.claim([claim])
        await asyncio.to_thread(store.renew, [lease_of(claim, claimed)], 60)
        for pause in (0.0, 0.0001, 0.0005):
            call = asyncio.create_task(store.claim([a_claim(f"{pause}-{number}") for number in range(200)]))
            await asyncio.sleep(pause)
            call.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await call
        assert (await store.claim([a_claim()]))[0].verdict == "held"
        under_way = asyncio.create_task(store.claim([a_claim("late")]))
        await asyncio.sleep(0)
    assert (await under_way)[0].verdict == "claimed"
    give_up = time.monotonic() + 30
    while redis_server.connections() != before:
        assert time.monotonic() < give_up
        await asyncio.sleep(0.02)


async def test_what_was_settled_survives_a_crash(make_server: MakeServer, prefix: str) -> None:
    """With appendfsync always: the server is killed in the midst of work, and all that was acknowledged is there."""
    server = make_server(appendonly="yes", appendfsync="always")
    async with opened(lambda: RedisStore(server.url, prefix=prefix)) as store:
        assert isinstance(store, RedisStore)
        acknowledged: list[str] = []

        async def work(worker: int) -> None:
            for number in range(10_000):
                await do(store, f"{worker}-{number}")
                acknowledged.append(f"{worker}-{number}")

        working = [asyncio.create_task(work(worker)) for worker in range(4)]
        async with asyncio.timeout(30):
            while len(acknowledged) <= 20:
                await asyncio.sleep(0.01)
        started = time.monotonic()
        server.kill()
        failures = await asyncio.gather(*working, return_exceptions=True)
        assert time.monotonic() - started < 6
        assert [type(failure) for failure in failures] == [StoreUnavailable] * 4
        with pytest.raises(StoreUnavailable):
            await store.claim([a_claim()])
        server.start()
        await do(store, "afterwards")
        found = await store.get([a_claim(name).key for name in acknowledged])
        assert len(acknowledged) > 20
        assert {record and record.state for record in found} == {"done"}


async def test_a_server_that_hangs_is_waited_for_in_vain(make_server: MakeServer, prefix: str) -> None:
    """Not for longer than `socket_timeout`; and it is used again as soon as it answers."""
    server = make_server()
    async with opened(lambda: RedisStore(f"{server.url}?socket_timeout=0.5", prefix=prefix)) as store:
        claim = a_claim()
        (claimed,) = await store.claim([claim])
        server.freeze()
        try:
            started = time.monotonic()
            with pytest.raises(StoreUnavailable, match=r"no answer within 0\.5 s"):
                await store.claim([a_claim("other")])
            with pytest.raises(StoreUnavailable):
                await asyncio.to_thread(store.renew, [lease_of(claim, claimed)], 60)
            assert time.monotonic() - started < 3
        finally:
            server.thaw()
        assert await store.settle([Settle(lease_of(claim, claimed), "done")]) == [True]


@pytest.mark.parametrize(("option", "seconds"), [("socket_timeout=30", None), ("socket_connect_timeout=2", 2)])
async def test_connecting_has_the_time_of_the_exchange(option: str, seconds: float | None) -> None:
    """And none that redis-py sets by itself, which would end it earlier than `socket_timeout` says."""
    connection = Server(target_of(f"redis://127.0.0.1:9?{option}"))._make()
    assert connection.socket_connect_timeout == seconds


async def test_a_full_server_takes_nothing_and_loses_nothing(make_server: MakeServer, prefix: str) -> None:
    """With noeviction what does not fit is refused, and no batch is done in part."""
    server = make_server(maxmemory="3mb", maxmemory_policy="noeviction")
    async with opened(lambda: RedisStore(server.url, prefix=prefix, partitions=1)) as store:
        taken = 0
        with pytest.raises(StoreUnavailable, match="full"):
            for number in range(1000):
                body = os.urandom(10_000)
                await store.claim([a_claim(f"{number}-{n}")._replace(into="dead", body=body) for n in range(5)])
                taken = number
        keys = [a_claim(f"{taken + 1}-{n}").key for n in range(5)]
        assert await store.get(keys) == [None] * 5
        (first,) = await store.get([a_claim("0-0").key])
        assert first is not None


def test_several_event_loops(redis_server: RedisServer, prefix: str) -> None:
    """Each has connections of its own, and the store ends with the last that closes."""
    store = RedisStore(redis_server.url, prefix=prefix)

    async def one(name: str) -> None:
        async with opened(lambda: store):
            await do(store, *(f"{name}-{number}" for number in range(50)))
            claim = a_claim(name)
            (claimed,) = await store.claim([claim])
            assert await asyncio.to_thread(store.renew, [lease_of(claim, claimed)], 60) == [True]

    async def several() -> None:
        async with opened(lambda: store):
            await asyncio.gather(*(asyncio.to_thread(asyncio.run, one(f"loop-{number}")) for number in range(4)))
            await do(store, "last")
        with pytest.raises(StoreUnavailable, match="not open"):
            await store.claim([a_claim()])
        with pytest.raises(StoreUnavailable, match="not open"):
            store.renew([Lease(a_claim().key, 1, b"")], 1.0)

    asyncio.run(several())
    asyncio.run(one("afterwards"))


def in_child(store: RedisStore, name: str) -> None:
    async def work() -> None:
        async with opened(lambda: store):
            await do(store, name)
            (again,) = await store.claim([a_claim("parent")])
            assert again.verdict == "duplicate"

    asyncio.run(work())


async def test_a_fork_shares_nothing(store: RedisStore, redis_server: RedisServer) -> None:
    """Children work on connections of their own, and their end does not end the parent's."""
    await do(store, "parent")

    fork = multiprocessing.get_context("fork")
    with redis_server.client() as client:
        mine = {one["id"] for one in client.client_list()}
        for number in range(3):
            child = fork.Process(target=in_child, args=(store, f"child-{number}"))
            child.start()
            await asyncio.to_thread(child.join, 30)
            assert child.exitcode == 0
            await do(store, f"parent-{number}")
        assert mine <= {one["id"] for one in client.client_list()}
    found = await store.get([a_claim(f"{who}-{number}").key for who in ("parent", "child") for number in range(3)])
    assert {record and record.state for record in found} == {"done"}


async def test_a_fork_in_the_midst_of_an_exchange(store: RedisStore) -> None:
    """The child neither reads nor writes what its parent waits for."""
    fork = multiprocessing.get_context("fork")
    await do(store, "parent")
    working = asyncio.create_task(do(store, *(f"msg_{number}" for number in range(400))))
    children: list[multiprocessing.context.ForkProcess] = []
    while not working.done():
        if len(children) < 3:
            children.append(fork.Process(target=in_child, args=(store, f"child-{len(children)}")))
            children[-1].start()
        await asyncio.sleep(0)
    await working
    for child in children:
        await asyncio.to_thread(child.join, 30)
        assert child.exitcode == 0
    assert children


@pytest.mark.parametrize("options", [{}, {"decode_responses": True}, {"protocol": 2}, {"encoding": "latin-1"}], ids=str)
async def test_with_the_users_own_client(redis_server: RedisServer, prefix: str, options: dict[str, Any]) -> None:
    """However it is set up; and it is left as it was."""
    async with redis.asyncio.Redis(port=redis_server.port, **options) as client:
        async with opened(lambda: RedisStore(client, prefix=prefix)) as store:
            assert isinstance(store, RedisStore)
            claim = a_claim("msg_\N{SNOWMAN}")._replace(into="dead", body=b"\xff\0")
            await store.claim([claim])
            (record,) = await store.get([claim.key])
            assert record is not None
            assert (record.body, record.digest, record.key) == (b"\xff\0", claim.digest, claim.key)
            await do(store, "more")
            assert await client.ping()
        assert await client.ping()


def test_without_hiredis(redis_server: RedisServer, prefix: str, tmp_path: Path) -> None:
    """It makes the store faster, and nothing else."""
    (tmp_path / "hiredis.py").write_text("raise ImportError")
    program = f"""
import asyncio
from airweave_webhooks import RedisStore
from airweave_webhooks.testing.contracts import a_claim, lease_of, opened
from airweave_webhooks.stores import redis_wire
from airweave_webhooks.stores.base import Settle

async def main():
    assert redis_wire.pack_command is None
    async with opened(lambda: RedisStore({redis_server.url!r}, prefix={prefix!r})) as store:
        claims = [a_claim(str(number)) for number in range(100)]
        claimed = await store.claim(claims)
        wishes = [Settle(lease_of(*pair), "done") for pair in zip(claims, claimed)]
        assert all(await store.settle(wishes))
        assert all(await store.get([claim.key for claim in claims]))

asyncio.run(main())
"""
    environment = {**os.environ, "PYTHONPATH": str(tmp_path)}
    subprocess.run([sys.executable, "-W", "error", "-c", program], env=environment, timeout=60, check=True)


async def test_a_cluster_is_recognised(redis_cluster: RedisCluster, prefix: str) -> None:
    """By a URL, by a plain client and by a client for clusters: all see the same records, on all nodes."""
    node = redis_cluster.nodes[1]
    async with (
        redis.asyncio.Redis(port=node.port, decode_responses=True) as plain,
        redis.asyncio.RedisCluster("127.0.0.1", node.port, decode_responses=True) as cluster,
    ):
        targets = [node.url, plain, cluster]
        for number, target in enumerate(targets):
            async with opened(lambda target=target: RedisStore(target, prefix=prefix)) as store:  # type: ignore[misc]
                assert isinstance(store, RedisStore)
                await do(store, *(f"{number}-{one}" for one in range(100)))
                keys = [a_claim(f"{earlier}-{one}").key for earlier in range(number + 1) for one in range(100)]
                assert {record and record.state for record in await store.get(keys)} == {"done"}
                claim = a_claim(f"renewed-{number}")
                (claimed,) = await store.claim([claim])
                assert await asyncio.to_thread(store.renew, [lease_of(claim, claimed)], 60) == [True]
    assert all(ours(one, prefix) for one in redis_cluster.nodes)


async def test_a_cluster_has_one_database(redis_cluster: RedisCluster) -> None:
    """Another one is refused by its name."""
    with pytest.raises(ConfigurationError, match="end the URL with /0"):
        await RedisStore(f"{redis_cluster.url[:-1]}1").open()


async def test_a_slot_moves_in_the_midst_of_traffic(make_cluster: MakeCluster, prefix: str) -> None:
    """While a partition goes from node to node, key by key, its records are found on either side."""
    cluster = make_cluster()
    async with opened(lambda: RedisStore(cluster.url, prefix=prefix)) as store:
        assert isinstance(store, RedisStore)
        names = [f"before-{number}" for number in range(300)]
        await do(store, *names)
        stop = asyncio.Event()

        async def work() -> list[str]:
            done: list[str] = []
            while not stop.is_set():
                batch = [f"meanwhile-{len(done)}-{number}" for number in range(20)]
                with contextlib.suppress(StoreBusy):  # the coalescer comes again
                    await do(store, *batch)
                done += batch
            return done

        working = asyncio.create_task(work())
        for partition in range(4):
            await asyncio.to_thread(cluster.move, f"{{{partition}}}")
        stop.set()
        names += await working
        found = await store.get([a_claim(name).key for name in names if name.startswith("before")])
        assert {record and record.state for record in found} == {"done"}


async def test_a_node_is_killed_and_comes_back(make_cluster: MakeCluster, prefix: str) -> None:
    """Until then nothing hangs; within 5 s after it, everything works again."""
    cluster = make_cluster()
    async with opened(lambda: RedisStore(f"{cluster.url}?socket_timeout=2", prefix=prefix)) as store:
        assert isinstance(store, RedisStore)
        await do(store, *(f"before-{number}" for number in range(200)))
        cluster.nodes[2].kill()
        started = time.monotonic()
        with pytest.raises(StoreUnavailable):
            await store.claim([a_claim(f"away-{number}") for number in range(200)])
        assert time.monotonic() - started < 10
        cluster.nodes[2].start()
        back = time.monotonic()
        while True:
            try:
                await do(store, *(f"after-{time.monotonic()}-{number}" for number in range(200)))
                break
            except StoreUnavailable:
                assert time.monotonic() - back < 5
                await asyncio.sleep(0.1)
        found = await store.get([a_claim(f"before-{number}").key for number in range(200)])
        assert {record and record.state for record in found} == {"done"}
