"""A PostgreSQL server that is cut off, stopped, killed or frozen, and a process that forks: nothing is lost."""

import asyncio
import gc
import os
import threading
import time
import traceback
import warnings
from collections.abc import Callable
from typing import Any

import psycopg
import pytest
from psycopg_pool import AsyncConnectionPool

from airweave_webhooks import Delivery, PostgresStore, Receiver
from airweave_webhooks.errors import StoreUnavailable
from airweave_webhooks.stores.base import Settle
from airweave_webhooks.testing.contracts import a_claim, lease_of, opened
from airweave_webhooks.testing.payloads import payload
from conftest import SECRET, sign
from servers.postgres import PostgresServer

pytestmark = pytest.mark.anyio

BACK_WITHIN = 5.0
"""Seconds after the server is back."""


async def claimed(store: Any, key: str) -> str:
    (answer,) = await store.claim([a_claim(key)])
    verdict: str = answer.verdict
    return verdict


async def outage(store: Any) -> float:
    """Claim while the server is away; how long the answer took."""
    started = time.monotonic()
    with pytest.raises(StoreUnavailable):
        await claimed(store, "during")
    return time.monotonic() - started


async def service(store: Any) -> float:
    """Claim until it works; how long that took."""
    started = time.monotonic()
    while True:
        try:
            await claimed(store, os.urandom(5).hex())
        except StoreUnavailable:
            assert time.monotonic() - started < 30
            await asyncio.sleep(0.05)
        else:
            return time.monotonic() - started


def sessions(url: str) -> int:
    """How many sessions the server has, other than the one that asks."""
    with psycopg.connect(url) as connection:
        row = connection.execute(
            "SELECT count(*) FROM pg_stat_activity WHERE backend_type = 'client backend' AND pid <> pg_backend_pid()"
        ).fetchone()
    assert row is not None
    return int(row[0])


async def test_a_restart_between_two_calls_goes_unnoticed(fragile_server: PostgresServer) -> None:
    """The connections that were cut meanwhile are replaced, also the one that renews."""
    async with opened(lambda: PostgresStore(fragile_server.url)) as store:
        claim = a_claim()
        (answer,) = await store.claim([claim])
        await asyncio.gather(*[claimed(store, str(n)) for n in range(8)])
        lease = lease_of(claim, answer)
        assert await asyncio.to_thread(store.renew, [lease], 60) == [True]
        fragile_server.stop()
        fragile_server.start()
        assert await claimed(store, "after") == "claimed"
        assert await asyncio.to_thread(store.renew, [lease], 60) == [True]
        assert await store.settle([Settle(lease, "done")]) == [True]
        assert sessions(fragile_server.url) <= 5
    gc.collect()
    assert sessions(fragile_server.url) == 0


@pytest.mark.parametrize("end", [PostgresServer.stop, PostgresServer.kill])
async def test_an_outage_is_said_at_once_and_ends_with_it(
    fragile_server: PostgresServer, end: Callable[[PostgresServer], None]
) -> None:
    """Stopped or killed: what was settled is still there."""
    async with opened(lambda: PostgresStore(fragile_server.url)) as store:
        claim = a_claim()
        (answer,) = await store.claim([claim])
        assert await store.settle([Settle(lease_of(claim, answer), "done")]) == [True]
        end(fragile_server)
        assert await outage(store) < 5
        started = time.monotonic()
        with pytest.raises(StoreUnavailable):
            await asyncio.to_thread(store.renew, [lease_of(claim, answer)], 60)
        assert time.monotonic() - started < 5
        await asyncio.sleep(1)
        assert await outage(store) < 5
        await asyncio.to_thread(fragile_server.start)
        assert await service(store) < BACK_WITHIN
        assert await claimed(store, claim.key.key) == "duplicate"


async def test_a_server_that_is_silent_is_given_up(fragile_server: PostgresServer) -> None:
    """It accepts connections and says nothing: a call ends in time, and leaves nothing behind."""
    async with opened(lambda: PostgresStore(fragile_server.url, patience=1)) as store:
        claim = a_claim()
        (answer,) = await store.claim([claim])
        lease = lease_of(claim, answer)
        await asyncio.to_thread(store.renew, [lease], 60)
        fragile_server.freeze()
        try:
            assert 0.9 < await outage(store) < 5
            assert 0.9 < await outage(store) < 5  # this one cannot even connect
            started = time.monotonic()
            with pytest.raises(StoreUnavailable):
                await asyncio.to_thread(store.renew, [lease], 60)
            assert time.monotonic() - started < 10
        finally:
            fragile_server.thaw()
        assert await service(store) < BACK_WITHIN
        assert await asyncio.to_thread(store.renew, [lease], 60) == [True]
        await asyncio.sleep(1)
        assert sessions(fragile_server.url) <= 5
    assert sessions(fragile_server.url) == 0


async def test_a_session_that_an_administrator_ends_is_replaced(fragile_server: PostgresServer) -> None:
    """In the midst of a call, too."""
    async with opened(lambda: PostgresStore(fragile_server.url)) as store:
        await claimed(store, "before")
        with psycopg.connect(fragile_server.url, autocommit=True) as other:
            other.execute("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE pid <> pg_backend_pid()")
        assert await claimed(store, "after") == "claimed"


async def test_a_pool_of_the_users_comes_back_too(fragile_server: PostgresServer) -> None:
    """Its stale connections are not handed on to us as failures."""
    pool = AsyncConnectionPool[Any](fragile_server.url, min_size=4, open=False)
    async with pool, opened(lambda: PostgresStore(pool, patience=2)) as store:
        await pool.wait()
        fragile_server.stop()
        fragile_server.start()
        assert await service(store) < BACK_WITHIN


async def test_a_receiver_settles_through_a_restart(fragile_server: PostgresServer) -> None:
    """A handler that ends while the server is away is settled when it is back: it runs once."""
    receiver = Receiver(secrets=SECRET, store=fragile_server.url)
    runs: list[str] = []

    @receiver.on("sync.completed")
    async def handle(delivery: Delivery) -> None:
        runs.append(delivery.id)
        fragile_server.stop()

    async with receiver:
        body = payload("sync.completed")
        answering = asyncio.create_task(receiver.handle(sign(body), body))
        while not runs:
            await asyncio.sleep(0.01)
        await asyncio.sleep(0.5)
        await asyncio.to_thread(fragile_server.start)
        reply = await asyncio.wait_for(answering, 20)
        assert (reply.status, reply.outcome) == (200, "processed")
        again = await receiver.handle(sign(body), body)
        assert (again.status, again.outcome) == (200, "duplicate")
    assert runs == ["msg_1"]


def run_child(store: PostgresStore, work: Callable[[], object]) -> int:
    """Fork, work in the child, and say how it ended."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # of forking with threads, from Python 3.12 on
        pid = os.fork()
    if pid == 0:
        code = 1
        try:
            work()
            gc.collect()
            code = 0
        except BaseException:
            traceback.print_exc()
        finally:
            os._exit(code)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


async def test_a_child_leaves_its_parents_connections_alone(postgres_url: str, schema: str) -> None:
    """It neither speaks on them nor says good-bye, and can open the store for itself."""
    store = PostgresStore(postgres_url, schema=schema)

    def child() -> None:
        done: list[None] = []
        for connection in inherited:
            connection.pgconn.finish()  # says good-bye to nobody
        assert store._loops == twin._loops == {}

        async def use() -> None:
            with pytest.raises(StoreUnavailable, match="not open"):
                await claimed(store, "unopened")
            async with opened(lambda: store):
                claim = a_claim(f"child {os.getpid()}")
                (answer,) = await store.claim([claim])
                assert answer.verdict == "claimed"
                assert store.renew([lease_of(claim, answer)], 60) == [True]

        thread = threading.Thread(target=lambda: done.append(asyncio.run(use())))  # this one's loop is the parent's
        thread.start()
        thread.join(30)
        assert done == [None]

    twin = PostgresStore(postgres_url, schema=schema)
    async with opened(lambda: store), opened(lambda: twin):
        claim = a_claim("parent")
        (answer,) = await store.claim([claim])
        lease = lease_of(claim, answer)
        assert await asyncio.to_thread(store.renew, [lease], 60) == [True]
        (connections,) = store._loops.values()
        inherited = list(connections._idle)
        before = [connection.info.backend_pid for connection in inherited]
        for _ in range(3):
            assert run_child(store, child) == 0
        assert await asyncio.to_thread(store.renew, [lease], 60) == [True]
        assert await store.settle([Settle(lease, "done")]) == [True]
        assert [connection.info.backend_pid for connection in connections._idle] == before
