"""The ASGI face: translation from scope, receive and send to headers and body, and from a `Reply` back."""

import asyncio
import re
import time
from collections.abc import Awaitable, Callable
from typing import Final, Protocol

from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import Route
from starlette.types import ASGIApp, Receive, Scope, Send

from airweave_webhooks.bodies import ClientGone
from airweave_webhooks.delivery import Reply
from airweave_webhooks.errors import ConfigurationError, Refused, Unavailable
from airweave_webhooks.health import Health
from airweave_webhooks.pipeline import Admission
from airweave_webhooks.signing import RawHeaders
from airweave_webhooks.telemetry import logger

METHOD_NOT_ALLOWED: Final = Reply(405, "method_not_allowed")
HEALTH_LASTS: Final = 1.0
"""Seconds for which one look at the store answers everybody who asks."""
NOT_STORED: Final = {"cache-control": "no-store"}
NO_BODY: Final = ((b"content-length", b"0"),)


class Endpoint(Protocol):
    """What the face needs of a receiver."""

    def admit(self, headers: RawHeaders) -> Admission:
        """Check the headers before the body is read."""
        ...

    def refuse(self, error: Refused | Unavailable, admission: Admission | None = None) -> Reply:
        """Report a refusal and make its answer."""
        ...

    async def receive(self, admission: Admission, body: bytes, tenant: str | None = None) -> Reply:
        """Verify and process a request whose headers were admitted."""
        ...

    async def __aenter__(self) -> object: ...

    async def __aexit__(self, *details: object) -> None: ...


async def serve(endpoint: Endpoint, scope: Scope, receive: Receive, send: Send) -> None:
    """Answer one ASGI scope: a request, or the server's lifespan where the receiver is the whole application."""
    if scope["type"] != "http" or scope["method"] != "POST":
        await _serve_no_delivery(endpoint, scope, receive, send)
        return
    admission: Admission | None = None
    try:
        admission = endpoint.admit(scope["headers"])
        reader = admission.pipeline.bodies
        room = reader.room_for(admission.headers)
        body = await reader.read(room, receive, admission.started)
    except ClientGone:
        return
    except (Refused, Unavailable) as error:
        reply = endpoint.refuse(error, admission)
        headers = (*reply.raw_headers, *hang_up(scope))
    else:
        try:
            tenant = scope["path_params"].get("tenant") if "path_params" in scope else None
            reply = await endpoint.receive(admission, body, None if tenant is None else str(tenant))
        finally:
            reader.release(room)
        headers = reply.raw_headers
    await send({"type": "http.response.start", "status": reply.status, "headers": headers})
    await send({"type": "http.response.body", "body": reply.body})


def hang_up(scope: Scope) -> tuple[tuple[bytes, bytes], ...]:
    """Headers for an answer to a body that is unread: without them a slow sender could keep the connection for ever."""
    return ((b"connection", b"close"),) if scope.get("http_version", "1.1").startswith("1") else ()


async def _serve_no_delivery(endpoint: Endpoint, scope: Scope, receive: Receive, send: Send) -> None:
    if scope["type"] == "lifespan":
        await _lifespan(endpoint, receive, send)
    elif scope["type"] != "http":
        await send({"type": "websocket.close", "code": 1000})
    elif scope["method"] in {"GET", "HEAD"}:
        # Airweave probes a new subscription's URL, unsigned; any answer will do, and none is owed a body.
        await send({"type": "http.response.start", "status": 200, "headers": NO_BODY})
        await send({"type": "http.response.body", "body": b""})
    else:
        headers = (*METHOD_NOT_ALLOWED.raw_headers, (b"allow", b"POST, HEAD, GET"))
        await send({"type": "http.response.start", "status": METHOD_NOT_ALLOWED.status, "headers": headers})
        await send({"type": "http.response.body", "body": METHOD_NOT_ALLOWED.body})


async def _lifespan(endpoint: Endpoint, receive: Receive, send: Send) -> None:
    await receive()
    try:
        await endpoint.__aenter__()
    except ConfigurationError as error:
        await send({"type": "lifespan.startup.failed", "message": str(error)})
        return
    except Exception as error:
        logger.exception("the receiver cannot be opened")
        await send({"type": "lifespan.startup.failed", "message": repr(error)})
        return
    await send({"type": "lifespan.startup.complete"})
    await receive()
    await endpoint.__aexit__(None, None, None)
    await send({"type": "lifespan.shutdown.complete"})


def route(endpoint: ASGIApp, path: str, name: str) -> Route:
    """A Starlette route that answers `path` with and without a trailing slash.

    Starlette would answer the other spelling with a redirect, which the sender does not follow.
    """
    made = Route(path.rstrip("/") or "/", endpoint, name=name, include_in_schema=False)
    if made.path != "/":
        made.path_regex = re.compile(made.path_regex.pattern.removesuffix("$") + "/?$")
    return made


def health_route(ask: Callable[[], Awaitable[Health]], path: str, name: str) -> Route:
    """A Starlette route that answers with a receiver's health."""
    latest: tuple[float, Health] | None = None
    asking = asyncio.Lock()

    async def answer(_request: Request) -> JSONResponse:
        nonlocal latest
        async with asking:
            now = time.monotonic()
            if latest is None or now - latest[0] >= HEALTH_LASTS:
                latest = now, await ask()
        health = latest[1]
        return JSONResponse(health.as_json(), 200 if health.healthy else 503, NOT_STORED)

    return Route(path, answer, name=name, include_in_schema=False)
