"""The contenders. Each is built in a process of its own: `python -m benchmark.apps NAME LISTENING_FD`."""
# ruff: noqa: PLC0415 - a contender imports only what it needs: the bare app must not pay for, or wait for, ours

import os
import socket
import sys
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import TYPE_CHECKING, Final
from uuid import UUID

import uvicorn

from benchmark import floors

if TYPE_CHECKING:
    from starlette.types import ASGIApp, Receive, Scope, Send

    from airweave_webhooks import Inbox, Receiver
    from airweave_webhooks.stores import Store

PATH: Final = floors.PATH
SECRET_VARIABLE: Final = floors.SECRET_VARIABLE


def bare() -> "ASGIApp":
    """Read the body, answer: what any ASGI app pays before it does anything."""
    answer = b'{"status":"processed"}'
    headers = [(b"content-type", b"application/json"), (b"content-length", b"%d" % len(answer))]

    async def app(scope: "Scope", receive: "Receive", send: "Send") -> None:
        if scope["type"] != "http":
            return
        body = b""
        more = True
        while more:
            message = await receive()
            body += message.get("body", b"")
            more = message.get("more_body", False)
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": answer})

    return app


def starlette() -> "ASGIApp":
    """Do nothing at all, as a Starlette route."""
    from starlette.applications import Starlette
    from starlette.requests import Request
    from starlette.responses import Response
    from starlette.routing import Route

    async def nothing(request: Request) -> Response:  # noqa: ARG001 - Starlette passes it
        return Response()

    return Starlette(routes=[Route(PATH, nothing, methods=["POST"])])


def handwritten() -> "ASGIApp":
    """What people write today: FastAPI, svix, pydantic, and a dict against duplicates."""
    seen: dict[str, UUID] = {}

    async def is_new(message_id: str, job_id: UUID) -> bool:
        if message_id in seen:
            return False
        seen[message_id] = job_id
        return True

    return _handwritten(is_new)


def handwritten_redis() -> "ASGIApp":
    """The same with redis-py: one command a request, and no second one when the work is done."""
    from redis.asyncio import Redis

    client = Redis.from_url(os.environ["BENCH_REDIS"])
    namespace = os.environ["BENCH_NAMESPACE"]

    async def is_new(message_id: str, job_id: UUID) -> bool:
        return bool(await client.set(f"{namespace}:{message_id}", str(job_id), nx=True, ex=30 * 86_400))

    return _handwritten(is_new)


def handwritten_asyncpg() -> "ASGIApp":
    """The same with asyncpg: one statement a request, likewise."""
    import asyncpg

    table = f"{os.environ['BENCH_NAMESPACE']}_handwritten"
    insert = f"INSERT INTO {table} (message_id, job_id) VALUES ($1, $2) ON CONFLICT DO NOTHING"
    pools: list[asyncpg.Pool] = []

    @asynccontextmanager
    async def lifespan(_: object) -> AsyncGenerator[None]:
        async with asyncpg.create_pool(os.environ["BENCH_POSTGRES"]) as pool:
            await pool.execute(f"CREATE TABLE {table} (message_id text PRIMARY KEY, job_id uuid NOT NULL)")
            pools.append(pool)
            yield

    async def is_new(message_id: str, job_id: UUID) -> bool:
        return bool((await pools[0].execute(insert, message_id, job_id)).endswith("1"))

    return _handwritten(is_new, lifespan)


def _handwritten(
    is_new: Callable[[str, UUID], Awaitable[bool]],
    lifespan: Callable[..., AbstractAsyncContextManager[None]] | None = None,
) -> "ASGIApp":
    from datetime import datetime

    from fastapi import FastAPI, HTTPException, Request
    from pydantic import BaseModel
    from svix import Webhook, WebhookVerificationError

    class Completed(BaseModel):
        event_type: str
        timestamp: datetime
        organization_id: UUID
        sync_id: UUID
        sync_job_id: UUID
        collection_id: UUID
        source_connection_id: UUID
        source_type: str
        collection_name: str
        collection_readable_id: str
        entities_inserted: int
        entities_updated: int
        entities_deleted: int
        entities_skipped: int
        chunks_written: int
        error: str | None

    app = FastAPI(lifespan=lifespan)
    webhook = Webhook(os.environ[SECRET_VARIABLE])

    @app.post(PATH)
    async def hook(request: Request) -> dict[str, str]:
        payload = await request.body()
        try:
            webhook.verify(payload, dict(request.headers))
        except WebhookVerificationError as error:
            raise HTTPException(status_code=401) from error
        event = Completed.model_validate_json(payload)
        new = await is_new(request.headers["svix-id"], event.sync_job_id)
        return {"status": "processed" if new else "duplicate"}

    return app


def floor() -> "ASGIApp":
    """What no receiver gets below: the signature, the event, the digest and a dict, and none of what makes it right."""
    import base64
    import hashlib
    import hmac
    import time

    from pydantic import TypeAdapter
    from standardwebhooks.webhooks import hmac_data

    from airweave_webhooks import SyncCompleted

    key = base64.b64decode(os.environ[SECRET_VARIABLE].removeprefix("whsec_"))
    adapter = TypeAdapter(SyncCompleted)
    seen: dict[bytes, bytes] = {}
    answer = b'{"status":"processed"}'
    headers = [(b"content-type", b"application/json"), (b"content-length", b"%d" % len(answer))]

    async def handle(event: SyncCompleted) -> None:
        """Do nothing."""

    async def app(scope: "Scope", receive: "Receive", send: "Send") -> None:
        if scope["type"] != "http":
            return
        found = {name: value for name, value in scope["headers"] if name.startswith(b"svix-")}
        message_id, timestamp = found[b"svix-id"], found[b"svix-timestamp"]
        body = b""
        more = True
        while more:
            message = await receive()
            body += message.get("body", b"")
            more = message.get("more_body", False)
        expected = b"v1," + base64.b64encode(hmac_data(key, b"%b.%b.%b" % (message_id, timestamp, body)))
        fresh = abs(int(timestamp) - time.time()) < 300
        if not fresh or not hmac.compare_digest(expected, found[b"svix-signature"]):
            raise PermissionError
        event = adapter.validate_json(body)
        if message_id not in seen:
            seen[message_id] = hashlib.sha256(body).digest()
            await handle(event)
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": answer})

    return app


def memory() -> "ASGIApp":
    """Ours as the whole application, remembering in memory."""
    return _receiver("memory:")


def memory_route() -> "ASGIApp":
    """Ours as a Starlette route, remembering in memory."""
    return _routed("memory:")


def sqlite() -> "ASGIApp":
    """Ours as a Starlette route, on SQLite: every answer is backed by a durable claim and settle."""
    return _routed("sqlite:///deliveries.db")  # in the server's working directory, which is its own


def inbox() -> "ASGIApp":
    """Ours as a Starlette route that acknowledges what is on the disk in SQLite; the worker is another process."""
    from airweave_webhooks import Inbox

    return _routed("sqlite:///deliveries.db", Inbox(worker=False))


def inbox_worker() -> "ASGIApp":
    """The same with the worker in the same process, which runs every handler meanwhile."""
    from airweave_webhooks import Inbox

    return _routed("sqlite:///deliveries.db", Inbox())


def inbox_timed() -> "ASGIApp":
    """An inbox with its worker that takes the time between its answers and its handlers; `scripts/bench inbox` asks."""
    import time

    from starlette.applications import Starlette
    from starlette.requests import Request
    from starlette.responses import JSONResponse
    from starlette.routing import Route

    from airweave_webhooks import Delivery, Inbox, Observer, Receiver, Reply

    answered: dict[str, float] = {}
    started: dict[str, float] = {}

    class Watch(Observer):
        def replied(self, delivery: Delivery, reply: Reply, seconds: float) -> None:  # noqa: ARG002
            answered[delivery.id] = time.perf_counter()

    receiver = Receiver(store="sqlite:///deliveries.db", mode=Inbox(), observer=Watch())

    @receiver.on("sync.completed")
    async def handle(delivery: Delivery) -> None:
        started[delivery.id] = time.perf_counter()

    async def latencies(_: Request) -> JSONResponse:
        return JSONResponse([1e3 * (started[name] - moment) for name, moment in answered.items()])

    return Starlette(
        routes=[receiver.route(PATH), Route("/latencies", latencies)],
        lifespan=receiver.lifespan,
    )


def postgres() -> "ASGIApp":
    """Ours as a Starlette route, on PostgreSQL, likewise."""
    from airweave_webhooks import PostgresStore

    return _routed(PostgresStore(os.environ["BENCH_POSTGRES"], schema=os.environ["BENCH_NAMESPACE"]))


def redis() -> "ASGIApp":
    """Ours as a Starlette route, on Redis, likewise."""
    from airweave_webhooks import RedisStore

    return _routed(RedisStore(os.environ["BENCH_REDIS"], prefix=os.environ["BENCH_NAMESPACE"]))


def _receiver(store: "str | Store", mode: "Inbox | None" = None) -> "Receiver":
    from airweave_webhooks import Receiver, SyncCompleted

    receiver = Receiver(store=store, mode=mode)

    @receiver.on("sync.completed")
    async def handle(event: SyncCompleted) -> None:
        """Do nothing: the cost measured is ours."""

    return receiver


def _routed(store: "str | Store", mode: "Inbox | None" = None) -> "ASGIApp":
    from starlette.applications import Starlette

    receiver = _receiver(store, mode)
    return Starlette(routes=[receiver.route(PATH)], lifespan=receiver.lifespan)


# A contender more is a line more, and a line in `report.RATIOS`.
CONTENDERS: Final[dict[str, Callable[[], "ASGIApp"]]] = {
    "bare": bare,
    "starlette": starlette,
    "handwritten": handwritten,
    "floor": floor,
    "memory": memory,
    "memory-route": memory_route,
    "sqlite": sqlite,
    "inbox": inbox,
    "inbox-worker": inbox_worker,
    "postgres": postgres,
    "redis": redis,
    "floor-inbox": floors.inbox,
    "floor-postgres": floors.postgres,
    "floor-redis": floors.redis,
    "handwritten-asyncpg": handwritten_asyncpg,
    "handwritten-redis": handwritten_redis,
}


def serve(name: str, fd: int) -> None:
    """Serve one contender on a listening socket that is already open, until SIGTERM."""
    app = inbox_timed() if name == "inbox-timed" else CONTENDERS[name]()
    config = uvicorn.Config(app, loop="uvloop", http="httptools", access_log=False, log_level="warning")
    uvicorn.Server(config).run(sockets=[socket.socket(fileno=fd)])


if __name__ == "__main__":
    serve(sys.argv[1], int(sys.argv[2]))
