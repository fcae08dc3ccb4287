"""The contenders. Each is built in a process of its own: `python -m benchmark.apps NAME LISTENING_FD`."""
# ruff: noqa: PLC0415 - a contender imports only what it needs: the bare app must not pay for, or wait for, ours

import os
import socket
import sys
from collections.abc import Callable
from typing import TYPE_CHECKING, Final

import uvicorn

if TYPE_CHECKING:
    from starlette.types import ASGIApp, Receive, Scope, Send

    from airweave_webhooks import Receiver

PATH: Final = "/webhooks/airweave"
SECRET_VARIABLE: Final = "AIRWEAVE_WEBHOOK_SECRET"


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
    from datetime import datetime
    from uuid import UUID

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

    app = FastAPI()
    webhook = Webhook(os.environ[SECRET_VARIABLE])
    seen: dict[str, UUID] = {}

    @app.post(PATH)
    async def hook(request: Request) -> dict[str, str]:
        payload = await request.body()
        try:
            webhook.verify(payload, dict(request.headers))
        except WebhookVerificationError as error:
            raise HTTPException(status_code=401) from error
        event = Completed.model_validate_json(payload)
        message_id = request.headers["svix-id"]
        if message_id in seen:
            return {"status": "duplicate"}
        seen[message_id] = event.sync_job_id
        return {"status": "processed"}

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


def _receiver(store: str) -> "Receiver":
    from airweave_webhooks import Receiver, SyncCompleted

    receiver = Receiver(store=store)

    @receiver.on("sync.completed")
    async def handle(event: SyncCompleted) -> None:
        """Do nothing: the cost measured is ours."""

    return receiver


def _routed(store: str) -> "ASGIApp":
    from starlette.applications import Starlette

    receiver = _receiver(store)
    return Starlette(routes=[receiver.route(PATH)], lifespan=receiver.lifespan)


# A contender more is a line more, and a line in `report.RATIOS`.
CONTENDERS: Final[dict[str, Callable[[], "ASGIApp"]]] = {
    "bare": bare,
    "starlette": starlette,
    "handwritten": handwritten,
    "memory": memory,
    "memory-route": memory_route,
    "sqlite": sqlite,
}


def serve(name: str, fd: int) -> None:
    """Serve one contender on a listening socket that is already open, until SIGTERM."""
    config = uvicorn.Config(CONTENDERS[name](), loop="uvloop", http="httptools", access_log=False, log_level="warning")
    uvicorn.Server(config).run(sockets=[socket.socket(fileno=fd)])


if __name__ == "__main__":
    serve(sys.argv[1], int(sys.argv[2]))
