"""`DjangoStore` and a server that falls silent or dies, and a file that is locked: how long it waits, what is lost."""

import asyncio
import contextlib
import os
import shutil
import sqlite3
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

import pytest

from airweave_webhooks.errors import StoreUnavailable
from airweave_webhooks.integrations.django import DjangoStore, store_threads
from airweave_webhooks.stores.base import Lease, Settle
from airweave_webhooks.testing.contracts import a_claim, a_delivery, a_take, lease_of, opened
from django_databases import known, sqlite_settings
from servers.mariadb import MariaDBServer
from servers.postgres import PostgresServer

pytestmark = pytest.mark.anyio

T = TypeVar("T")
PATIENCE = 2
"""Seconds."""
BOUND = 20.0
"""Seconds, on a machine with much else to do: less than the drivers wait by themselves."""


@pytest.fixture(autouse=True)
def patience(monkeypatch: pytest.MonkeyPatch) -> None:
    """Less than in earnest."""
    monkeypatch.setattr(store_threads, "PATIENCE", PATIENCE)
    monkeypatch.setattr(store_threads, "READING_PATIENCE", PATIENCE)


async def test_a_server_that_is_silent(fragile: PostgresServer | MariaDBServer) -> None:
    """Each verb gives up, in the midst of a session and where there is none yet; when it speaks again, all go on."""
    async with opened(lambda: DjangoStore("fragile")) as store, opened(lambda: DjangoStore("fragile")) as fresh:
        claim = a_claim()
        (claimed,) = await store.claim([claim])
        lease = lease_of(claim, claimed)
        assert await asyncio.to_thread(store.renew, [lease], 60.0) == [True]
        assert len(await store.tally("default")) == 1
        fragile.freeze()
        began = time.monotonic()
        in_the_midst: list[Any] = [
            store.claim([a_claim("other")]),
            store.tally("default"),
            asyncio.to_thread(store.renew, [lease], 60.0),
            fresh.tally("default"),
            asyncio.to_thread(fresh.renew, [lease], 60.0),
        ]
        asked = list(await asyncio.gather(*in_the_midst, return_exceptions=True))
        # The first one is without a connection now.
        asked += await asyncio.gather(store.settle([Settle(lease, "done")]), return_exceptions=True)
        took = time.monotonic() - began
        fragile.thaw()
        assert [type(error) for error in asked] == [StoreUnavailable] * 6
        assert "did not answer within 2 s" in str(asked[0])
        assert took < BOUND
        assert len(await store.take(a_take())) == 0
        assert await asyncio.to_thread(store.renew, [lease], 60.0) == [True]
        assert await asyncio.to_thread(fresh.renew, [lease], 60.0) == [True]
        assert await store.settle([Settle(lease, "done")]) == [True]
        assert {one.state for one in await fresh.tally("default")} <= {"done", "leased"}


async def patiently(ask: Callable[[], Awaitable[T]]) -> T:
    """Ask the same until there is an answer, as the receiver and its sender do together."""
    async with asyncio.timeout(60):
        while True:
            try:
                return await ask()
            except StoreUnavailable:
                await asyncio.sleep(0.02)


async def test_a_server_that_dies_in_the_midst(fragile: PostgresServer | MariaDBServer) -> None:
    """Killed, stopped and frozen while deliveries are put in, taken, renewed and settled: each is settled once."""
    accepted: list[str] = []
    settled: Counter[str] = Counter()
    enough = asyncio.Event()
    async with opened(lambda: DjangoStore("fragile")) as store:

        async def put_in() -> None:
            while not enough.is_set():
                batch = [a_delivery(f"{os.urandom(4).hex()}-{number}") for number in range(5)]
                answers = await patiently(partial(store.claim, batch))
                # With the token of a claim whose answer was lost it is the same claim.
                assert {answer.verdict for answer in answers} == {"claimed"}
                accepted.extend(claim.key.key for claim in batch)

        async def work() -> None:
            while not enough.is_set() or settled.total() < len(accepted):
                taken = await patiently(partial(store.take, a_take(most=10)))
                leases = [Lease(record.key, record.fence, record.token) for record, _ in taken]
                assert await patiently(partial(asyncio.to_thread, store.renew, leases, 60.0)) == [True] * len(leases)
                settles = [Settle(lease, "done") for lease in leases]
                assert all(await patiently(partial(store.settle, settles)))
                settled.update(lease.key.key for lease in leases)

        async def some_more() -> None:
            want = settled.total() + 20
            async with asyncio.timeout(60):
                while settled.total() < want:
                    await asyncio.sleep(0.005)

        async with asyncio.TaskGroup() as group:
            group.create_task(put_in())
            for _ in range(2):
                group.create_task(work())
            for end in (fragile.kill, fragile.stop):
                await some_more()
                await asyncio.to_thread(end)
                await asyncio.to_thread(fragile.start)
            await some_more()
            fragile.freeze()
            await asyncio.sleep(PATIENCE + 0.5)
            fragile.thaw()
            await some_more()
            enough.set()
        assert settled == Counter(accepted)
        tallies = await store.tally("default")
        assert {(one.state, one.deliveries) for one in tallies} == {("done", len(accepted))}


@pytest.fixture
def in_use(tmp_path: Path, migrated_file: Path) -> Iterator[sqlite3.Connection]:
    """A connection that has the file that Django calls `in use`, for which it waits up to a second."""
    file = shutil.copy(migrated_file, tmp_path)
    settings = {**sqlite_settings(file), "OPTIONS": {"timeout": 1}}
    with known("in use", settings), contextlib.closing(sqlite3.connect(file, isolation_level=None)) as connection:
        yield connection


async def test_a_file_that_another_transaction_writes_to(in_use: sqlite3.Connection) -> None:
    """It is waited for as long as the project's time-out says, by each thread, and found free soon after it is."""
    async with opened(lambda: DjangoStore("in use")) as store:
        claim = a_claim()
        lease = lease_of(claim, (await store.claim([claim]))[0])
        assert await asyncio.to_thread(store.renew, [lease], 60.0) == [True]

        def ask() -> list[Awaitable[Any]]:
            return [store.claim([a_claim("other")]), asyncio.to_thread(store.renew, [lease], 60.0)]

        in_use.execute("BEGIN IMMEDIATE")
        began = time.monotonic()
        asked = await asyncio.gather(*ask(), return_exceptions=True)
        assert [type(error) for error in asked] == [StoreUnavailable] * 2
        assert 1 <= time.monotonic() - began < BOUND
        assert len(await store.tally("default")) == 1
        waiting = asyncio.gather(*ask())
        await asyncio.sleep(0.2)
        assert not waiting.done()
        in_use.execute("COMMIT")
        ((claimed,), renewed) = await waiting
        assert (claimed.verdict, renewed) == ("claimed", [True])
