"""What no receiver on a database gets below: the same statements in the same batches, and none of what makes it right.

A Starlette route that checks the signature, makes the event and the digest, and waits for its part of a batch of claims
and then, but for an inbox, of a batch of settles. It has no task of its own, no lease that is kept, no bound, no
deadline, no routing, no translated error, no reconnection, and believes that everything it claims is new.
"""
# ruff: noqa: PLC0415 - as in `apps`

import asyncio
import base64
import hashlib
import hmac
import os
import time
from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import TYPE_CHECKING, Any, Final, TypeAlias

if TYPE_CHECKING:
    from starlette.types import ASGIApp, Receive, Scope, Send

Row: TypeAlias = tuple[Any, ...]
Verb: TypeAlias = Callable[[Sequence[Row]], Awaitable[int]]
"""Runs a batch, and says for how many of it that was new."""

PATH: Final = "/webhooks/airweave"
SECRET_VARIABLE: Final = "AIRWEAVE_WEBHOOK_SECRET"
LEASE: Final = 60.0
RESULTS: Final = '{"handle": "processed"}'
_ANSWER: Final = b'{"status":"processed"}'
_HEADERS: Final = [(b"content-type", b"application/json"), (b"content-length", b"%d" % len(_ANSWER))]


class Batches:
    """Gathers rows for as long as requests come, and runs them at once."""

    def __init__(self, verb: Verb) -> None:
        self._verb = verb
        self._waiting: list[tuple[Row, asyncio.Future[None]]] = []
        self._pump: asyncio.Task[None] | None = None

    def add(self, row: Row) -> asyncio.Future[None]:
        """Run one row with the next batch."""
        loop = asyncio.get_running_loop()
        answer: asyncio.Future[None] = loop.create_future()
        self._waiting.append((row, answer))
        if self._pump is None:
            self._pump = loop.create_task(self._drain())
        return answer

    async def _drain(self) -> None:
        while self._waiting:
            before = 0
            while before < len(self._waiting):
                before = len(self._waiting)
                await asyncio.sleep(0)
            batch, self._waiting = self._waiting, []
            if await self._verb([row for row, _ in batch]) != len(batch):
                raise RuntimeError("not all of a batch was new")
            for _, answer in batch:
                answer.set_result(None)
        self._pump = None


class Floor:
    """The endpoint. What a claim and a settle are made of is the database's."""

    def __init__(
        self,
        claim: Verb,
        claim_row: Callable[..., Row],
        settle: Verb | None = None,
        settle_row: Callable[..., Row] | None = None,
    ) -> None:
        from pydantic import TypeAdapter

        from airweave_webhooks import SyncCompleted

        self._key = base64.b64decode(os.environ[SECRET_VARIABLE].removeprefix("whsec_"))
        self._parse = TypeAdapter(SyncCompleted).validate_json
        self._claims = Batches(claim)
        self._settles = Batches(settle) if settle is not None else None
        self._claim_row = claim_row
        self._settle_row = settle_row

    async def __call__(self, scope: "Scope", receive: "Receive", send: "Send") -> None:
        found = {name: value for name, value in scope["headers"] if name.startswith(b"svix-")}
        message_id, timestamp = found[b"svix-id"], found[b"svix-timestamp"]
        body = b""
        more = True
        while more:
            message = await receive()
            body += message.get("body", b"")
            more = message.get("more_body", False)
        signed = b"%b.%b.%b" % (message_id, timestamp, body)
        expected = b"v1," + base64.b64encode(hmac.digest(self._key, signed, "sha256"))
        fresh = abs(int(timestamp) - time.time()) < 300
        if not fresh or not hmac.compare_digest(expected, found[b"svix-signature"]):
            raise PermissionError
        event = self._parse(body)
        name, digest = message_id.decode(), hashlib.sha256(body).digest()
        await self._claims.add(self._claim_row(name, digest, event, body))
        if self._settles is not None and self._settle_row is not None:
            await self._settles.add(self._settle_row(name, digest))
        await send({"type": "http.response.start", "status": 200, "headers": _HEADERS})
        await send({"type": "http.response.body", "body": _ANSWER})


def _routed(endpoint: Floor, lifespan: Callable[[Any], AbstractAsyncContextManager[None]]) -> "ASGIApp":
    from starlette.applications import Starlette
    from starlette.routing import Route

    return Starlette(routes=[Route(PATH, endpoint)], lifespan=lifespan)


def inbox() -> "ASGIApp":
    """Acknowledges what is on the disk in SQLite, with one thread that writes."""
    import sqlite3
    from concurrent.futures import ThreadPoolExecutor

    from airweave_webhooks import SQLiteStore, SyncCompleted
    from airweave_webhooks.stores import sqlite_schema

    writer = ThreadPoolExecutor(1)
    connections: list[sqlite3.Connection] = []

    def connect() -> None:
        connections.append(sqlite3.connect("deliveries.db", isolation_level=None))
        connections[0].execute("PRAGMA synchronous = FULL")

    def write(batch: Sequence[Row]) -> int:
        connection = connections[0]
        connection.execute("BEGIN IMMEDIATE")
        rows = [value for row in sorted(batch) for value in row]
        new = connection.execute(sqlite_schema.insert(len(batch)), rows).rowcount
        connection.execute("COMMIT")
        return new

    @asynccontextmanager
    async def lifespan(_: object) -> AsyncGenerator[None]:
        store = SQLiteStore("deliveries.db")
        await store.open()  # makes the tables
        await store.close()
        await asyncio.wrap_future(writer.submit(connect))
        yield
        await asyncio.wrap_future(writer.submit(connections[0].close))

    # In the order of the statement's place-holders; the digest is as good a token as any.
    def claim_row(name: str, digest: bytes, event: SyncCompleted, body: bytes) -> Row:
        facts = (event.event_type, event.collection_readable_id, event.source_type, str(event.sync_job_id))
        known = (time.time(), "default", "", name, name, bytearray(digest), *facts, event.timestamp.timestamp())
        kept = (time.time(), '{"content-type": "application/json"}', "", bytearray(body))
        return (*known, bytearray(digest), "host:1", "", "pending", LEASE, *kept)

    async def claim(batch: Sequence[Row]) -> int:
        return await asyncio.wrap_future(writer.submit(write, batch))

    return _routed(Floor(claim, claim_row), lifespan)


def postgres() -> "ASGIApp":
    """One connection for claims and one for settles, with psycopg alone."""
    import psycopg

    from airweave_webhooks import PostgresStore, SyncCompleted
    from airweave_webhooks.stores.postgres_schema import Statements

    url, schema = os.environ["BENCH_POSTGRES"], os.environ["BENCH_NAMESPACE"]
    statements = Statements(schema)
    connections: list[psycopg.AsyncConnection[Any]] = []

    @asynccontextmanager
    async def lifespan(_: object) -> AsyncGenerator[None]:
        store = PostgresStore(url, schema=schema)
        await store.open()  # makes the tables
        await store.close()
        connect = psycopg.AsyncConnection.connect
        connections.extend([await connect(url, autocommit=True, prepare_threshold=None) for _verb in range(2)])
        yield
        for connection in connections:
            await connection.close()

    async def run(number: int, statement: bytes, batch: Sequence[Row]) -> int:
        columns = [None if set(column) == {None} else list(column) for column in zip(*sorted(batch), strict=True)]
        cursor = await connections[number].execute(statement, columns)
        return len(await cursor.fetchall())

    # The digest is as good a token as any.
    def claim_row(name: str, digest: bytes, event: SyncCompleted, _body: bytes) -> Row:
        facts = (event.event_type, event.collection_readable_id, event.source_type, str(event.sync_job_id))
        no_reason_no_body = (None,) * 5
        of_claim = (digest, digest, "leased", *facts, event.timestamp, "host:1", *no_reason_no_body, LEASE)
        return ("default", "", name, name, *of_claim)

    def settle_row(name: str, digest: bytes) -> Row:
        return ("default", "", name, 1, digest, "done", "processed", RESULTS, None, 0.0, None, None, 1)

    return _routed(
        Floor(
            lambda batch: run(0, statements.claim, batch),
            claim_row,
            lambda batch: run(1, statements.settle, batch),
            settle_row,
        ),
        lifespan,
    )


def redis() -> "ASGIApp":
    """One script for a batch, where ours has one for each partition in it."""
    from airweave_webhooks import SyncCompleted
    from airweave_webhooks.stores.redis_session import Item, Session
    from airweave_webhooks.stores.redis_target import target_of

    sessions: list[Session] = []

    @asynccontextmanager
    async def lifespan(_: object) -> AsyncGenerator[None]:
        sessions.append(Session(target_of(os.environ["BENCH_REDIS"]), os.environ["BENCH_NAMESPACE"], 1))
        yield
        await sessions[0].close()

    async def run(script: str, batch: Sequence[Row]) -> int:
        return sum(await sessions[0].run(script, [Item(name, values) for name, values in batch]))

    def claim_row(name: str, digest: bytes, event: SyncCompleted, _body: bytes) -> Row:
        facts = (event.event_type, event.collection_readable_id, event.source_type, str(event.sync_job_id))
        of_claim = (round(LEASE * 1e6), "host:1", "leased", "", b"", "", 30 * 86_400_000)
        return (name.encode(), (name, digest, digest, *facts, event.timestamp.isoformat(), *of_claim))

    def settle_row(name: str, digest: bytes) -> Row:
        return (name.encode(), (1, digest, "done", "processed", RESULTS, "", "", 0, b"", "", 1))

    return _routed(
        Floor(lambda batch: run("claim", batch), claim_row, lambda batch: run("settle", batch), settle_row), lifespan
    )
