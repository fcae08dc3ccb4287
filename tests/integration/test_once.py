"""`once()` on every driver: one effect, whatever comes twice, and what the sender gets meanwhile."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from airweave_webhooks import ConfigurationError, Delivery, Receiver, Reply, natural_key
from conftest import SECRET, sign
from databases import BODY, Database, a_delivery, in_schema, sqlite_url

pytestmark = pytest.mark.anyio

ON_POSTGRES = ["psycopg", "psycopg async", "sqlalchemy psycopg", "sqlalchemy psycopg async"]
ON_SQLITE = ["sqlalchemy sqlite3", "sqlalchemy aiosqlite"]
LONG_ENOUGH_TO_WAIT = 0.3
"""Seconds."""


@pytest.fixture(params=ON_POSTGRES + ON_SQLITE)
async def database(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Database]:
    if request.param in ON_POSTGRES:
        url = in_schema(request.getfixturevalue("postgres_url"), request.getfixturevalue("schema"))
    else:
        url = sqlite_url(tmp_path)
    database = Database(request.param, url)
    await database.create_tables()
    yield database
    await database.close()


on_postgres = pytest.mark.parametrize("database", ON_POSTGRES, indirect=True)
on_sqlite = pytest.mark.parametrize("database", ON_SQLITE, indirect=True)


async def attempt(database: Database, *settings: str, **changed: Any) -> bool:
    """One attempt of a handler, that has its effect if it may."""
    delivery = a_delivery(**changed)
    async with database.transaction(*settings) as transaction:
        first = await transaction.once(delivery)
        if first:
            await transaction.effect(delivery)
    return first


async def test_once_is_true_once(database: Database) -> None:
    """The first attempt has its effect; those after it are told that there is nothing to do."""
    assert [await attempt(database) for _ in range(4)] == [True, False, False, False]
    assert database.rows() == [("msg_1", "effect")]
    ((receiver, tenant, key, handler, name, generation, age),) = database.rows(
        "SELECT receiver, tenant, key, handler, name, generation,"
        + (
            " now() - marked_at < interval '1 minute'"
            if database.is_postgres
            else " marked_at > datetime('now','-60 seconds')"
        )
        + " FROM airweave_webhook_once"
    )
    assert (receiver, tenant, key, handler, name, generation, bool(age)) == ("default", "", "msg_1", "count", "", 0, 1)


@pytest.mark.parametrize(
    "changed",
    [
        {"key": "MSG_1"},
        {"handler": "other"},
        {"generation": 1},
        {"tenant": "acme"},
        {"receiver": "other"},
        {"key": "k" * 10_000},
        {"key": "a\0b\ud800"},
        {"receiver": "default:", "tenant": ""},
    ],
    ids=lambda changed: next(iter(changed)),
)
async def test_marks_do_not_meet(database: Database, changed: dict[str, Any]) -> None:
    """Every part of a mark tells it apart, and a part can be any text."""
    assert await attempt(database)
    delivery = a_delivery(**changed)
    for first in (True, False):
        async with database.transaction() as transaction:
            assert await transaction.once(delivery) is first
            delivery.explain = None  # as between two attempts


async def test_marks_that_look_the_same_are_two(database: Database) -> None:
    """What a database cannot hold is shown as something else, and still tells marks apart."""
    for key in ("a\0", "a\N{REPLACEMENT CHARACTER}", "a?", "a\ud800", "a\ud801"):
        async with database.transaction() as transaction:
            assert await transaction.once(a_delivery(key))


async def test_a_rollback_takes_the_mark_along(database: Database) -> None:
    """The mark is in the user's transaction and in no other."""
    with pytest.raises(ZeroDivisionError):
        async with database.transaction() as transaction:
            assert await transaction.once(a_delivery())
            await transaction.effect(a_delivery())
            raise ZeroDivisionError
    assert database.rows() == []
    assert database.rows("SELECT * FROM airweave_webhook_once") == []
    assert await attempt(database)


async def test_a_transaction_can_be_tried_again_in_one_attempt(database: Database) -> None:
    """After a rollback the same handler may begin anew."""
    delivery = a_delivery()
    for _ in range(2):
        with pytest.raises(ZeroDivisionError):
            async with database.transaction() as transaction:
                assert await transaction.once(delivery)
                raise ZeroDivisionError
    async with database.transaction() as transaction:
        assert await transaction.once(delivery)


async def test_a_second_mark_of_one_handler_needs_a_name(database: Database) -> None:
    """Two calls would guard two effects with one mark, and the second would never be done: an error says so."""
    for expected in (True, False):
        delivery = a_delivery()
        async with database.transaction() as transaction:
            assert await transaction.once(delivery) is expected
            assert await transaction.once(delivery, name="audit") is expected
    delivery = a_delivery("msg_2")
    with pytest.raises(ConfigurationError, match="name='audit'"):
        async with database.transaction() as transaction:
            assert await transaction.once(delivery)
            await transaction.once(delivery)
    async with database.transaction() as transaction:
        assert await transaction.once(a_delivery("msg_2"))
    delivery = a_delivery("msg_2")
    with pytest.raises(ConfigurationError, match="name='audit'"):
        for _ in range(2):
            async with database.transaction() as transaction:
                assert not await transaction.once(delivery)


@pytest.mark.parametrize("commits", [True, False])
async def test_a_concurrent_duplicate_waits(database: Database, commits: bool) -> None:
    """It gets its answer when the first one ends: there is nothing to do, or it is up to the second one."""
    duplicate: asyncio.Task[bool] | None = None
    try:
        async with database.transaction() as transaction:
            assert await transaction.once(a_delivery())
            await transaction.effect(a_delivery())
            duplicate = asyncio.create_task(attempt(database))
            await asyncio.sleep(LONG_ENOUGH_TO_WAIT)
            assert not duplicate.done()
            if not commits:
                raise ZeroDivisionError
    except ZeroDivisionError:
        pass
    assert duplicate is not None
    assert await duplicate is not commits
    assert database.rows() == [("msg_1", "effect")]


async def test_many_at_the_same_time(database: Database) -> None:
    """Four attempts at each of three deliveries: three effects."""
    answers = await asyncio.gather(*(attempt(database, key=f"msg_{n % 3}") for n in range(12)))
    assert sum(answers) == 3
    assert database.rows() == [(f"msg_{n}", "effect") for n in range(3)]


async def test_outside_of_a_handler(database: Database) -> None:
    """Nobody's mark would be shared by all."""
    with pytest.raises(ConfigurationError, match="in a handler"):
        await attempt(database, handler="")


async def test_a_missing_table_is_named_with_its_remedy(database: Database) -> None:
    """The reader is told what to do."""
    async with database.transaction() as transaction:
        await transaction.execute("DROP TABLE airweave_webhook_once")
    with pytest.raises(ConfigurationError, match="once_table"):
        await attempt(database)


# Through a receiver: what the sender gets.


def a_receiver(database: Database, *settings: str, **options: Any) -> Receiver:
    receiver = Receiver(secrets=SECRET, **options)

    @receiver.on("sync.completed", id="count")
    async def count(delivery: Delivery) -> None:
        async with database.transaction(*settings) as transaction:
            if await transaction.once(delivery):
                await transaction.effect(delivery)

    return receiver


async def send(receiver: Receiver, message_id: str = "msg_1") -> Reply:
    return await receiver.handle(sign(BODY, message_id=message_id), BODY)


async def test_marks_outlive_the_record(database: Database) -> None:
    """When the store has forgotten a delivery, the database has not."""
    for _ in range(2):
        async with a_receiver(database) as receiver:  # a store of its own, in memory
            assert (await send(receiver)).outcome == "processed"
            assert (await send(receiver)).outcome == "duplicate"
    assert database.rows() == [("msg_1", "effect")]


async def test_two_stores_that_do_not_know_each_other(database: Database) -> None:
    """Even where nothing else keeps two attempts apart, there is one effect."""
    receivers = [a_receiver(database, store="memory:") for _ in range(4)]
    for receiver in receivers:
        await receiver.__aenter__()
    replies = await asyncio.gather(*(send(receiver, f"msg_{n}") for receiver in receivers for n in range(4)))
    for receiver in receivers:
        await receiver.__aexit__()
    assert {reply.outcome for reply in replies} <= {"processed", "in_progress"}
    assert database.rows() == [(f"msg_{n}", "effect") for n in range(4)]


async def test_two_handlers_have_a_mark_each(database: Database) -> None:
    """One that failed does not keep the other's from being done, and runs alone the next time."""
    receiver = a_receiver(database)
    broken = True

    @receiver.on("sync.completed", id="other")
    async def other(delivery: Delivery) -> None:
        async with database.transaction() as transaction:
            assert await transaction.once(delivery)
            await transaction.effect(delivery, "other")
            if broken:
                raise ZeroDivisionError

    async with receiver:
        assert (await send(receiver)).outcome == "failed"
        broken = False
        assert (await send(receiver)).outcome == "processed"
    assert database.rows() == [("msg_1", "effect"), ("msg_1", "other")]


async def test_one_logical_event_under_two_message_ids(database: Database) -> None:
    """With `key=natural_key` the store and `once()` both see one delivery."""
    async with a_receiver(database, key=natural_key) as receiver:
        assert (await send(receiver, "msg_1")).outcome == "processed"
        assert (await send(receiver, "msg_2")).outcome == "duplicate"
    async with a_receiver(database, key=natural_key) as forgetful:
        assert (await send(forgetful, "msg_3")).outcome == "processed"
    assert database.rows() == [("sync.completed:0f8fad5b-d9cb-469f-a165-70867728950e", "effect")]
    async with a_receiver(database) as by_message_id:
        assert (await send(by_message_id, "msg_4")).outcome == "processed"
    assert len(database.rows()) == 2


@on_postgres
@pytest.mark.parametrize("setting", ["SET LOCAL lock_timeout = '50ms'", "SET LOCAL statement_timeout = '50ms'"])
async def test_a_wait_that_is_too_long_on_postgres(database: Database, setting: str) -> None:
    """The sender is asked to come again; nothing is done twice, and nothing is lost."""
    async with a_receiver(database, setting) as receiver:
        async with database.transaction() as transaction:
            assert await transaction.once(a_delivery())
            reply = await send(receiver)
            assert (reply.status, reply.outcome, reply.retry_after) == (409, "in_progress", 5)
            await transaction.effect(a_delivery())
        assert (await send(receiver)).outcome == "processed"
    assert database.rows() == [("msg_1", "effect")]


@on_sqlite
async def test_a_wait_that_is_too_long_on_sqlite(database: Database) -> None:
    """SQLite's lock is that of the whole file, so a wait can also be for somebody else's mark."""
    async with a_receiver(database, "PRAGMA busy_timeout = 50") as receiver:
        async with database.transaction() as transaction:
            assert await transaction.once(a_delivery("another"))
            reply = await send(receiver)
            assert (reply.status, reply.outcome, reply.retry_after) == (409, "in_progress", 5)
        assert (await send(receiver)).outcome == "processed"
    assert database.rows() == [("msg_1", "effect")]


@on_postgres
@pytest.mark.parametrize("level", ["REPEATABLE READ", "SERIALIZABLE"])
async def test_isolation_levels(database: Database, level: str) -> None:
    """A snapshot from before the other's commit: 409, and the next attempt sees what was done."""
    setting = f"SET TRANSACTION ISOLATION LEVEL {level}"
    async with a_receiver(database, setting, "SELECT 1 FROM effects") as receiver:
        async with database.transaction() as transaction:
            assert await transaction.once(a_delivery())
            await transaction.effect(a_delivery())
            waiting = asyncio.create_task(send(receiver))
            await asyncio.sleep(LONG_ENOUGH_TO_WAIT)
            assert not waiting.done()
        reply = await waiting
        assert (reply.status, reply.outcome, reply.retry_after) == (409, "in_progress", 5)
        assert (await send(receiver)).outcome == "processed"
    assert database.rows() == [("msg_1", "effect")]


@on_postgres
async def test_a_deadlock(database: Database) -> None:
    """Two handlers that lock two rows in two orders: one has to come again, and does what it has to do."""
    async with database.transaction() as transaction:
        await transaction.execute("INSERT INTO effects VALUES ('row', '1'), ('row', '2')")
    both = asyncio.Barrier(2)
    receivers: list[Receiver] = []
    for order in ("12", "21"):
        receiver = Receiver(name=order, secrets=SECRET)

        @receiver.on("sync.completed")
        async def update(delivery: Delivery, order: str = order) -> None:
            async with database.transaction("SET LOCAL deadlock_timeout = '100ms'") as transaction:
                assert await transaction.once(delivery)
                for step in order:
                    await transaction.execute(f"UPDATE effects SET id = id || 'x' WHERE what = '{step}'")
                    if delivery.attempt == 1 and step == order[0]:
                        await both.wait()

        receivers.append(receiver)
    async with receivers[0], receivers[1]:
        replies = await asyncio.gather(*map(send, receivers))
        assert sorted((reply.status, reply.outcome) for reply in replies) == [(200, "processed"), (409, "in_progress")]
        assert {(await send(receiver)).status for receiver in receivers} == {200}
    assert database.rows() == [("rowxx", "1"), ("rowxx", "2")]


@on_postgres
async def test_a_statement_that_is_merely_slow_is_a_failure(database: Database) -> None:
    """A statement time-out of the handler's own query is to be seen by somebody, and not answered as contention."""
    receiver = Receiver(secrets=SECRET)

    @receiver.on("sync.completed")
    async def slow(delivery: Delivery) -> None:
        async with database.transaction("SET LOCAL statement_timeout = '50ms'") as transaction:
            assert await transaction.once(delivery)
            await transaction.execute("SELECT pg_sleep(1)")

    async with receiver:
        assert (await send(receiver)).outcome == "failed"


async def test_contention_inside_of_a_task_group(database: Database) -> None:
    """An `ExceptionGroup` of nothing but contention means what its parts mean; with a failure in it, it is one."""
    setting = "SET LOCAL lock_timeout = '50ms'" if database.is_postgres else "PRAGMA busy_timeout = 50"
    receiver = Receiver(secrets=SECRET)
    fails = False

    async def fail() -> None:
        try:
            await asyncio.sleep(30)
        finally:  # cancelled, because the other one has met contention
            if fails:
                raise ZeroDivisionError

    @receiver.on("sync.completed", id="count")
    async def grouped(delivery: Delivery) -> None:
        async with asyncio.TaskGroup() as group:
            group.create_task(part(delivery))
            group.create_task(fail())

    async def part(delivery: Delivery) -> None:
        async with database.transaction(setting) as transaction:
            assert await transaction.once(delivery)

    async with receiver, database.transaction() as transaction:
        assert await transaction.once(a_delivery())
        assert (await send(receiver)).outcome == "in_progress"
        fails = True
        assert (await send(receiver)).outcome == "failed"


async def test_what_one_handler_meets_is_not_explained_to_the_next(database: Database) -> None:
    """An error of a handler that did not ask is a failure, also after one that did."""
    receiver = a_receiver(database)

    @receiver.on("sync.completed", id="other")
    async def other(delivery: Delivery) -> None:
        assert delivery.explain is None
        setting = "SET LOCAL lock_timeout = '50ms'" if database.is_postgres else "PRAGMA busy_timeout = 50"
        async with database.transaction() as blocking:
            await blocking.execute("DELETE FROM effects")
            async with database.transaction(setting) as transaction:
                await transaction.execute("DELETE FROM effects")

    async with receiver:
        assert (await send(receiver)).outcome == "failed"
