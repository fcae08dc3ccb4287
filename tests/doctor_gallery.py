"""Endpoints as people build them, each with one fault: what the doctor has to find."""

import asyncio
import base64
import contextlib
import hmac
import json
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field
from email.utils import formatdate
from typing import Any, Literal

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import HTMLResponse, JSONResponse, PlainTextResponse, RedirectResponse, Response
from starlette.routing import Mount, Route
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from airweave_webhooks import Receiver

PATH = "/hooks"


@dataclass
class ByHand:
    """A receiver that somebody wrote by hand. By default it is a good one."""

    secret: str
    verifies: bool = True
    catches: bool = True
    """Malformed input is answered with 400, and not with 500."""
    fresh: bool = True
    """It looks at the timestamp."""
    remembers: Literal["first", "done", "never"] = "done"
    """An id is known when it comes; or when it is done, and copies are refused meanwhile."""
    slow: float = 0.0
    """Seconds that a delivery takes."""
    clock: Callable[[], float] = time.time
    says: bool = True
    """Its answers say what became of a delivery, in our words."""
    thanks: tuple[str, str] = ("thanks", "thanks")
    """What it says otherwise: to the first one, and to copies."""
    undecoded: bool = False
    """It takes the text of the secret for the key."""
    families: tuple[str, ...] = ("svix", "webhook")
    first_only: bool = False
    """It looks at the first signature alone."""
    copies: int = 200
    """What it answers to copies of what is done."""
    contradicted: int | None = None
    """What it answers to another body under a known id, if it looks."""
    bodies: dict[str, bytes] = field(default_factory=dict)
    running: set[str] = field(default_factory=set)

    async def answer(self, request: Request) -> Response:
        body = await request.body()
        try:
            id_ = self.check(request, body)
        except PermissionError:
            return JSONResponse({"error": "signature"}, 401)
        except Exception:
            if self.catches:
                return JSONResponse({"error": "malformed"}, 400)
            raise
        if id_ in self.bodies:
            if self.contradicted and self.bodies[id_] != body:
                return JSONResponse({"error": "other body"}, self.contradicted)
            return self.say("duplicate", self.copies)
        if id_ in self.running:
            return self.say("running", 409)
        if self.remembers == "first":
            self.bodies[id_] = body
        if self.remembers == "done":
            self.running.add(id_)
        await asyncio.sleep(self.slow)
        if self.remembers == "done":
            self.bodies[id_] = body
            self.running.discard(id_)
        return self.say("processed", 200)

    def say(self, word: str, status: int) -> Response:
        if self.says:
            return JSONResponse({"status": word}, status)
        return PlainTextResponse(self.thanks[word == "duplicate"], status)

    def check(self, request: Request, body: bytes) -> str:
        family = next((name for name in self.families if f"{name}-id" in request.headers), self.families[0])
        if not self.verifies:
            json.loads(body)
            return request.headers.get(f"{family}-id", body.decode())
        id_, at, signatures = (request.headers[f"{family}-{part}"] for part in ("id", "timestamp", "signature"))
        if self.fresh and abs(self.clock() - int(at)) > 300:
            raise PermissionError
        key = self.secret.encode() if self.undecoded else base64.b64decode(self.secret.removeprefix("whsec_"))
        expected = hmac.digest(key, f"{id_}.{at}.{body.decode()}".encode(), "sha256")
        tokens = signatures.split(" ")
        for token in tokens[:1] if self.first_only else tokens:
            _, given = token.split(",")
            if hmac.compare_digest(base64.b64decode(given), expected):
                return id_
        raise PermissionError


def by_hand(secret: str, **faults: Any) -> Starlette:
    """Serve one that is written by hand, with and without a slash at the end."""
    endpoint = ByHand(secret, **faults).answer
    app = Starlette(routes=[Route(PATH + end, endpoint, methods=["POST"]) for end in ("", "/")])
    app.router.redirect_slashes = False
    return app


def answering(response: Callable[[], Response]) -> Starlette:
    """Answer everything alike."""

    async def answer(_request: Request) -> Response:
        return response()

    return Starlette(routes=[Route("/{path:path}", answer, methods=["POST", "HEAD"])])


def page(html: str, status: int = 200) -> Starlette:
    """Answer with a page."""
    return answering(lambda: HTMLResponse(html, status))


def redirecting(to: str) -> Starlette:
    """Lead elsewhere."""
    return answering(lambda: RedirectResponse(to))


def with_a_slash(secret: str) -> Starlette:
    """Redirect the spelling without a slash at the end."""
    return Starlette(routes=[Route(PATH + "/", ByHand(secret).answer, methods=["POST"])])


def mounted(receiver: Receiver) -> Starlette:
    """Redirect the bare prefix of a mount."""
    return Starlette(routes=[Mount(PATH, receiver)], lifespan=receiver.lifespan)


def limited(app: ASGIApp, most: int = 1_000_000) -> ASGIApp:
    """Refuse large bodies, as a proxy does."""

    async def serve(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http" and int(dict(scope["headers"]).get(b"content-length", b"0")) > most:
            while (await receive()).get("more_body"):
                pass
            await HTMLResponse("<html><title>413 Request Entity Too Large</title></html>", 413)(scope, receive, send)
        else:
            await app(scope, receive, send)

    return serve


def re_encoded(app: ASGIApp, **how: Any) -> ASGIApp:
    """Parse the body, and write it anew, as a middleware that logs or validates does."""

    async def serve(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await app(scope, receive, send)
            return
        body = await Request(scope, receive).body()
        with contextlib.suppress(ValueError):
            body = json.dumps(json.loads(body), **how).encode()

        async def again() -> Message:
            return {"type": "http.request", "body": body}

        await app(scope, again, send)

    return serve


def dated(app: ASGIApp, offset: float) -> ASGIApp:
    """Say in each answer that it is another time; to be served without uvicorn's own header."""

    async def serve(scope: Scope, receive: Receive, send: Send) -> None:
        async def say(message: Message) -> None:
            if message["type"] == "http.response.start":
                date = formatdate(time.time() + offset, usegmt=True).encode()
                message["headers"] = [*message.get("headers", []), (b"date", date)]
            await send(message)

        await app(scope, receive, say)

    return serve


@contextlib.asynccontextmanager
async def raw(answer: Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]) -> AsyncIterator[str]:
    """Serve bytes, without HTTP."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            with contextlib.suppress(ConnectionError):
                await answer(reader, writer)
        finally:
            writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    async with server:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}{PATH}"
