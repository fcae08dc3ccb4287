"""`DjangoStore` beyond the contract: several processes, forks, servers that come and go, and what its errors say."""

import asyncio
import contextlib
import json
import random
import subprocess
import sys
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from django.db import connections

from airweave_webhooks import ConfigurationError, Inbox, Receiver
from airweave_webhooks.errors import StoreBusy, StoreUnavailable
from airweave_webhooks.integrations.django import DjangoStore
from airweave_webhooks.stores.base import Key, Lease, Settle
from airweave_webhooks.stores.inbox import Backlog, Search
from airweave_webhooks.testing.contracts import a_claim, a_delivery, a_take, lease_of, opened
from conftest import SECRET
from django_databases import known, mariadb_database, migrate, postgres_database, sqlite_settings
from django_process import KEYS, ROUNDS
from failure.servers import ENVIRONMENT
from servers.mariadb import MariaDBServer
from servers.postgres import PostgresServer

pytestmark = pytest.mark.anyio

PROCESSES = 3


def start(what: str, alias: str, **options: Any) -> "subprocess.Popen[str]":
    settings = {name: connections[alias].settings_dict[name] for name in ("ENGINE", "NAME", "USER", "PASSWORD")}
    settings |= {name: connections[alias].settings_dict[name] for name in ("HOST", "PORT")}
    return subprocess.Popen(
        [sys.executable, "-m", "django_process", what, json.dumps({**settings, "OPTIONS": options})],
        env=ENVIRONMENT,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def ended(process: "subprocess.Popen[str]") -> Any:
    output, errors = process.communicate("go\n", timeout=60)
    assert process.returncode == 0, errors
    return json.loads(output.splitlines()[-1])


def one_winner(processes: "list[subprocess.Popen[str]]") -> None:
    """Let them go, and see what each has won."""
    try:
        for process in processes:
            assert process.stdout is not None
            assert process.stdout.readline() == "ready\n" or pytest.fail(process.communicate(timeout=30)[1])
        for process in processes:
            assert process.stdin is not None
            process.stdin.write("go\n")
            process.stdin.flush()
        won = [name for process in processes for name in ended(process)]
    finally:
        for process in processes:
            process.kill()
            process.communicate()
    assert sorted(won) == [f"{turn}-{number:02}" for turn in range(ROUNDS) for number in range(KEYS)]


def test_one_process_wins_a_delivery(django_alias: str) -> None:
    """However many claim it at once."""
    one_winner([start("claim", django_alias) for _ in range(PROCESSES)])


async def test_copies_that_are_claimed_and_settled_at_once(django_alias: str) -> None:
    """By several processes, each with more than one batch under way: no deadlock, and no lease is given twice."""
    fences: Counter[tuple[Key, int]] = Counter()

    async def work(store: DjangoStore) -> None:
        for _ in range(10):
            claims = [a_claim(f"{number:02}") for number in sorted(random.sample(range(40), 8))]
            answers = await store.claim(claims)  # a deadlock would raise `StoreBusy`
            both = zip(claims, answers, strict=True)
            leases = [lease_of(claim, answer) for claim, answer in both if answer.verdict == "claimed"]
            fences.update((lease.key, lease.fence) for lease in leases)
            assert all(await store.settle([Settle(lease, "pending", delay=0.0) for lease in leases]))

    async with contextlib.AsyncExitStack() as stores, asyncio.TaskGroup() as group:
        for _ in range(PROCESSES):
            store = await stores.enter_async_context(opened(lambda: DjangoStore(django_alias)))
            for _ in range(4):
                group.create_task(work(store))
    assert set(fences.values()) == {1}


@pytest.mark.parametrize(("server", "level"), [("postgres", 4), ("mariadb", "repeatable read")])
def test_whatever_isolation_the_project_wants(request: pytest.FixtureRequest, server: str, level: Any) -> None:
    """The store's own connections see what others have committed: with the project's level they would not."""
    alias = request.getfixturevalue(f"django_{server}")
    one_winner([start("claim", alias, isolation_level=level) for _ in range(PROCESSES)])


def test_a_fork(django_alias: str) -> None:
    """The child has nothing of its parent's, and can open the store for itself; the parent goes on, and ends first.

    On SQLite in WAL mode, where a child with its parent's connection would write to a file that is no longer there.
    """
    options = {"init_command": "PRAGMA journal_mode = WAL"} if django_alias == "sqlite" else {}
    assert ended(start("fork", django_alias, **options)) == {"child": 0, "settled": [True], "states": ["done", "done"]}


async def test_tables_that_are_missing(tmp_path: Path) -> None:
    """The error names the command, for this database."""
    with known("empty", sqlite_settings(tmp_path / "empty.sqlite")):
        store = DjangoStore("empty")
        with pytest.raises(ConfigurationError, match=r"run `python manage.py migrate airweave_webhooks --database=emp"):
            await store.open()
        with pytest.raises(StoreUnavailable, match="not open"):
            await store.claim([a_claim()])


@pytest.mark.parametrize("server", ["postgres", "mariadb"])
async def test_tables_that_are_missing_on_a_server(request: pytest.FixtureRequest, server: str) -> None:
    """Its error has another form."""
    if server == "postgres":
        database = postgres_database(request.getfixturevalue("postgres_url"))
    else:
        database = mariadb_database(request.getfixturevalue("mariadb_address"))
    with database as settings, known("empty", settings):
        with pytest.raises(ConfigurationError, match=r"`python manage.py migrate airweave_webhooks --database=empty`"):
            await DjangoStore("empty").open()
        await asyncio.to_thread(migrate, "empty")
        async with opened(lambda: DjangoStore("empty")) as store:
            assert (await store.claim([a_claim()]))[0].verdict == "claimed"


async def test_a_login_that_is_refused(postgres_url: str, mariadb_address: dict[str, Any]) -> None:
    """The error says so, names the settings, and not the password."""
    with postgres_database(postgres_url) as good, mariadb_database(mariadb_address) as other:
        for settings in good, other:
            with known("wrong", {**settings, "PASSWORD": "not the one"}):
                with pytest.raises((ConfigurationError, StoreUnavailable), match="wrong") as caught:
                    await DjangoStore("wrong").open()
                assert "not the one" not in str(caught.value)


async def test_an_alias_that_is_none() -> None:
    """The error names it."""
    with pytest.raises(ConfigurationError, match=r"DjangoStore\('nowhere'\): DATABASES"):
        await DjangoStore("nowhere").open()


async def test_memory_is_not_durable() -> None:
    """So it holds no inbox."""
    assert not DjangoStore("default").durable
    receiver = Receiver(secrets=SECRET, store=DjangoStore("default"), mode=Inbox())
    with pytest.raises(ConfigurationError, match="no inbox that outlives"):
        async with receiver:
            pass


async def test_a_server_that_comes_and_goes(fragile: PostgresServer | MariaDBServer) -> None:
    """While it is away the store says so; what lay idle meanwhile works at once when it is back."""
    async with opened(lambda: DjangoStore("fragile")) as store:
        claim = a_claim()
        (claimed,) = await store.claim([claim])
        lease = lease_of(claim, claimed)
        assert await asyncio.to_thread(store.renew, [lease], 60.0) == [True]
        assert await store.tally("default")
        await asyncio.to_thread(fragile.stop)
        for asked in (store.claim([a_claim("other")]), store.tally("default"), store.take(a_take())):
            with pytest.raises(StoreUnavailable) as caught:
                await asked
            assert not isinstance(caught.value, StoreBusy)
        with pytest.raises(StoreUnavailable):
            await asyncio.to_thread(store.renew, [lease], 60.0)
        await asyncio.to_thread(fragile.start)
        assert await store.settle([Settle(lease, "done")]) == [True]
        # Nobody has asked while it was away for the second time: every connection believes that it is good.
        assert await asyncio.to_thread(store.renew, [lease], 60.0) == [False]
        await store.tally("default")
        await asyncio.to_thread(fragile.stop)
        await asyncio.to_thread(fragile.start)
        assert (await store.claim([a_claim("again")]))[0].verdict == "claimed"
        assert await asyncio.to_thread(store.renew, [lease], 60.0) == [False]
        assert len(await store.tally("default")) == 2


async def test_three_connections_and_none_at_the_end(django_postgres: str, postgres_server: PostgresServer) -> None:
    """However many ask at once, from however many threads."""
    before = await asyncio.to_thread(postgres_server.connections)
    async with opened(lambda: DjangoStore(django_postgres)) as store:
        lease = Lease(a_claim().key, 1, b"")
        await asyncio.gather(
            *(asyncio.to_thread(store.renew, [lease], 60.0) for _ in range(10)),
            *(store.claim([a_claim(f"msg_{number}")]) for number in range(50)),
            *(store.tally("default") for _ in range(10)),
        )
        assert await asyncio.to_thread(postgres_server.connections) == before + 3
    assert await asyncio.to_thread(postgres_server.connections) == before


async def test_a_row_that_another_transaction_holds(django_postgres: str) -> None:
    """Is waited for, and not for ever: then whoever asks may ask again. Reads go on meanwhile."""
    async with opened(lambda: DjangoStore(django_postgres)) as store:
        await store.claim([a_claim()])

        def hold() -> None:
            with connections[django_postgres].cursor() as cursor:
                cursor.execute("BEGIN; SELECT 1 FROM airweave_webhooks_delivery FOR UPDATE")

        def let_go() -> None:
            connections[django_postgres].close()

        with ThreadPoolExecutor(1) as thread:
            loop = asyncio.get_running_loop()
            await loop.run_in_executor(thread, hold)
            waiting = asyncio.ensure_future(store.claim([a_claim()]))
            assert (await store.backlog("default"))._replace(disk=0) == Backlog()
            with pytest.raises(StoreBusy):
                await waiting
            await loop.run_in_executor(thread, let_go)
        assert (await store.claim([a_claim()]))[0].verdict == "held"


async def test_what_mariadb_takes_for_the_same(django_mariadb: str) -> None:
    """Another case, and spaces at the end: in keys, tenants, orders and searches they are not."""
    async with opened(lambda: DjangoStore(django_mariadb)) as store:
        names = ["msg", "MSG", "msg ", "m\N{LATIN SMALL LETTER S WITH CEDILLA}g", "msg\N{GRINNING FACE}"]
        await store.claim([a_delivery(name, tenant=name, order=name) for name in sorted(names)])
        assert len(await store.take(a_take())) == len(names)
        for name in names:
            (found,) = await store.search(Search("default", name=name, tenant=name), most=10)
            assert found.key.key == name


async def test_bodies_that_are_too_long_for_one_statement(django_mariadb: str) -> None:
    """Each is not: so they are stored in several."""
    async with opened(lambda: DjangoStore(django_mariadb)) as store:
        claims = [a_delivery(f"msg_{number:02}", body=bytes([255]) * 2**20) for number in range(20)]
        assert {answer.verdict for answer in await store.claim(claims)} == {"claimed"}
        assert (await store.backlog("default")).pending == 20


def test_a_store_in_the_settings() -> None:
    """It can be made before Django is set up, and imports no models; the package itself imports no Django."""
    script = """
import sys
import airweave_webhooks
assert not [name for name in sys.modules if name.split(".")[0] == "django"], "imported Django"
from airweave_webhooks.integrations.django import DjangoStore
store = DjangoStore("default")
assert "airweave_webhooks.integrations.django.models" not in sys.modules
print(store)
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False, timeout=60)
    assert (done.stdout, done.stderr) == ("DjangoStore('default')\n", "")
