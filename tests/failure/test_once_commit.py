"""The connection is lost around a COMMIT: the sender is asked to come again, and there is exactly one effect."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any, Literal, TypeAlias
from urllib.parse import urlsplit

import psycopg
import pytest
from psycopg_pool import ConnectionPool
from sqlalchemy import create_engine, text
from sqlalchemy.ext.asyncio import AsyncSession, create_async_engine
from sqlalchemy.orm import Session
from sqlalchemy.pool import NullPool

from airweave_webhooks import Delivery, Receiver, Reply
from airweave_webhooks.integrations import psycopg as with_psycopg
from airweave_webhooks.integrations import sqlalchemy as with_sqlalchemy
from conftest import SECRET, sign
from databases import BODY, Database, in_schema, sync_url
from servers.postgres import PostgresServer

pytestmark = pytest.mark.anyio

Cut: TypeAlias = Literal["before", "meanwhile", "after"]
EFFECT = "INSERT INTO effects VALUES ('msg_1', 'effect')"


class Proxy:
    """Stands between a client and PostgreSQL, and cuts the connection around a COMMIT when it is told to."""

    def __init__(self, host: str, port: int) -> None:
        self.cut: Cut | None = None
        self.cuts = 0
        self.port = 0
        self._target = (host, port)
        self._tasks: set[asyncio.Task[None]] = set()

    @contextlib.asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        self.port = server.sockets[0].getsockname()[1]
        yield
        server.close()
        await server.wait_closed()
        if self._tasks:
            await asyncio.wait(self._tasks, timeout=5)

    async def _serve(self, from_client: asyncio.StreamReader, to_client: asyncio.StreamWriter) -> None:
        from_server, to_server = await asyncio.open_connection(*self._target)
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        silent = asyncio.Event()

        async def upward() -> None:
            while data := await from_client.read(65536):
                if self.cut and b"COMMIT\0" in data:
                    cut, self.cut = self.cut, None
                    self.cuts += 1
                    if cut != "before":
                        silent.set()
                        to_server.write(data)
                        await to_server.drain()
                    if cut != "after":
                        return
                else:
                    to_server.write(data)

        async def downward() -> None:
            while data := await from_server.read(65536):
                if silent.is_set():
                    return  # committed, and nobody is told
                to_client.write(data)

        ways = [asyncio.create_task(upward()), asyncio.create_task(downward())]
        await asyncio.wait(ways, return_when=asyncio.FIRST_COMPLETED)
        for way in ways:
            way.cancel()
        await asyncio.gather(*ways, return_exceptions=True)
        for writer in (to_client, to_server):
            writer.transport.abort()


def psycopg_block(url: str, delivery: Delivery) -> None:
    with psycopg.connect(url) as connection:
        if with_psycopg.once(delivery, connection):
            connection.execute(EFFECT)


def psycopg_transaction(url: str, delivery: Delivery) -> None:
    with psycopg.connect(url, autocommit=True) as connection, connection.transaction():
        if with_psycopg.once(delivery, connection):
            connection.execute(EFFECT)


def psycopg_pool(url: str, delivery: Delivery) -> None:
    with ConnectionPool(url, min_size=1) as pool, pool.connection() as connection:
        if with_psycopg.once(delivery, connection):
            connection.execute(EFFECT)


async def psycopg_async(url: str, delivery: Delivery) -> None:
    async with await psycopg.AsyncConnection.connect(url) as connection:
        if await with_psycopg.once(delivery, connection):
            await connection.execute(EFFECT)


def sqlalchemy_session(url: str, delivery: Delivery) -> None:
    engine = create_engine(sync_url(url), poolclass=NullPool)
    with Session(engine) as session, session.begin():
        if with_sqlalchemy.once(delivery, session):
            session.execute(text(EFFECT))


async def sqlalchemy_async(url: str, delivery: Delivery) -> None:
    engine = create_async_engine(sync_url(url), poolclass=NullPool)
    async with AsyncSession(engine) as session, session.begin():
        if await with_sqlalchemy.once(delivery, session):
            await session.execute(text(EFFECT))


async def sqlalchemy_task_group(url: str, delivery: Delivery) -> None:
    async with asyncio.TaskGroup() as group:
        group.create_task(sqlalchemy_async(url, delivery))


Work: TypeAlias = Callable[[str, Delivery], Awaitable[None] | None]
WORKS: list[Work] = [
    psycopg_block,
    psycopg_transaction,
    psycopg_pool,
    psycopg_async,
    sqlalchemy_session,
    sqlalchemy_async,
    sqlalchemy_task_group,
]
works = pytest.mark.parametrize("work", WORKS, ids=lambda work: work.__name__)


@pytest.fixture
async def database(postgres_url: str, schema: str) -> AsyncIterator[Database]:
    database = Database("psycopg", in_schema(postgres_url, schema))
    await database.create_tables()
    yield database
    await database.close()


def a_receiver(url: str, work: Work) -> Receiver:
    receiver = Receiver(secrets=SECRET)
    # Plain functions run in threads, and the proxy goes on meanwhile.
    if asyncio.iscoroutinefunction(work):

        @receiver.on("sync.completed", id="handler")
        async def handler(delivery: Delivery) -> None:
            done: Any = work(url, delivery)
            await done
    else:

        @receiver.on("sync.completed", id="handler")
        def handler_in_thread(delivery: Delivery) -> None:
            work(url, delivery)

    return receiver


async def send(receiver: Receiver) -> Reply:
    return await receiver.handle(sign(BODY), BODY)


@works
@pytest.mark.parametrize("cut", ["before", "meanwhile", "after"])
async def test_the_connection_is_cut_around_the_commit(database: Database, work: Work, cut: Cut) -> None:
    """503, and after the retry one effect: whether it was committed, was not, or nobody knows."""
    parts = urlsplit(database.url)
    assert parts.hostname is not None
    proxy = Proxy(parts.hostname, parts.port or 5432)
    async with proxy.running():
        url = database.url.replace(f"{parts.hostname}:{parts.port}", f"127.0.0.1:{proxy.port}")
        async with a_receiver(url, work) as receiver:
            proxy.cut = cut
            reply = await send(receiver)
            assert (reply.status, reply.outcome, reply.retry_after) == (503, "unknown_commit", 5)
            assert proxy.cuts == 1
            if cut != "meanwhile":
                assert database.rows() == ([("msg_1", "effect")] if cut == "after" else [])
            assert (await send(receiver)).outcome == "processed"
            assert (await send(receiver)).outcome == "duplicate"
    assert database.rows() == [("msg_1", "effect")]


async def test_the_server_dies_before_the_commit(fragile_server: PostgresServer) -> None:
    """503 while it is away, and once it is back, one effect."""
    database = Database("psycopg", fragile_server.url)
    await database.create_tables()
    armed = True

    async def dying(url: str, delivery: Delivery) -> None:
        async with asyncio.timeout(30):
            async with await psycopg.AsyncConnection.connect(url) as connection:
                if await with_psycopg.once(delivery, connection):
                    await connection.execute(EFFECT)
                    if armed:
                        fragile_server.kill()

    receiver = a_receiver(database.url, dying)
    async with receiver:
        reply = await send(receiver)
        assert (reply.status, reply.outcome) == (503, "unknown_commit")
        armed = False
        fragile_server.start()
        assert database.rows() == []
        assert (await send(receiver)).outcome == "processed"
    assert database.rows() == [("msg_1", "effect")]
