"""The same answers in every framework, over a real server; and who has touched the body is named in each."""

import contextlib
import json
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Iterator
from io import BytesIO
from typing import Any

import httpx
import pytest
from fastapi import FastAPI
from flask import Flask
from litestar import Litestar, asgi
from mangum import Mangum
from quart import Quart
from starlette.applications import Starlette
from werkzeug.middleware.dispatcher import DispatcherMiddleware

from airweave_webhooks import BodyLimits, Delivery, Receiver, SyncCompleted
from airweave_webhooks.integrations.fastapi import receiver_router
from airweave_webhooks.integrations.wsgi import WSGIReceiver
from conftest import sign
from http_cases import BODY, MOST_BYTES, SECRETS, cases
from serving import serving
from serving_sync import serving_lambda, serving_wsgi

pytestmark = pytest.mark.anyio

PATH = "/webhooks/airweave"


@pytest.fixture
def seen() -> list[Delivery]:
    return []


@pytest.fixture
def receiver(seen: list[Delivery]) -> Receiver:
    receiver = Receiver(secrets=SECRETS, body_limits=BodyLimits(most_bytes=MOST_BYTES, read_within=1))

    @receiver.on("sync.completed")
    async def handle(event: SyncCompleted, delivery: Delivery) -> None:
        seen.append(delivery)

    return receiver


def bare(receiver: Receiver) -> Any:
    return receiver


def starlette(receiver: Receiver) -> Any:
    return Starlette(routes=[receiver.route(PATH)], lifespan=receiver.lifespan)


def fastapi(receiver: Receiver) -> Any:
    app = FastAPI(lifespan=receiver.lifespan)
    app.include_router(receiver_router(receiver, PATH))
    return app


def litestar(receiver: Receiver) -> Any:
    @asgi(PATH, is_mount=True, copy_scope=True)
    async def airweave(scope: Any, receive: Any, send: Any) -> None:
        await receiver(scope, receive, send)

    # Its own logging would take the place of what the test listens to.
    return Litestar([airweave], lifespan=[receiver.lifespan], logging_config=None)


def quart(receiver: Receiver) -> Any:
    app = Quart("quart")

    @app.while_serving
    async def lifespan() -> AsyncGenerator[None]:
        async with receiver:
            yield

    inner = app.asgi_app

    async def airweave_first(scope: Any, receive: Any, send: Any) -> None:
        ours = scope["type"] == "http" and scope["path"].rstrip("/") == PATH
        await (receiver if ours else inner)(scope, receive, send)

    app.asgi_app = airweave_first  # type: ignore[method-assign]
    return app


ASGI = [bare, starlette, fastapi, litestar, quart]


@contextlib.contextmanager
def flask(receiver: Receiver) -> Iterator[Any]:
    app = Flask("flask")
    airweave = WSGIReceiver(receiver)
    app.wsgi_app = DispatcherMiddleware(app.wsgi_app, {PATH: airweave})  # type: ignore[method-assign]
    yield app
    airweave.close()


@contextlib.contextmanager
def flask_view(receiver: Receiver) -> Iterator[Any]:
    app = Flask("flask")
    airweave = WSGIReceiver(receiver)
    methods = ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"]
    for path in (PATH, PATH + "/"):
        app.add_url_rule(path, path, lambda: airweave, methods=methods, provide_automatic_options=False)
    yield app
    airweave.close()


@contextlib.contextmanager
def bare_wsgi(receiver: Receiver) -> Iterator[Any]:
    airweave = WSGIReceiver(receiver)
    yield airweave
    airweave.close()


WSGI = [bare_wsgi, flask, flask_view]


@contextlib.asynccontextmanager
async def client_of(url: str) -> AsyncIterator[httpx.AsyncClient]:
    async with httpx.AsyncClient(base_url=url, trust_env=False, timeout=20) as client:
        yield client


async def assert_answers(client: httpx.AsyncClient, seen: list[Delivery]) -> None:
    wanted = {case.name: case for case in cases()}
    answers = {name: await case.sent_to(client, PATH) for name, case in wanted.items()}
    assert answers == {name: case.expected() for name, case in wanted.items()}
    ids = ["msg_good", "msg_slash", "msg_other", "msg_old", "msg_both", "msg_last"]
    assert [delivery.id for delivery in seen] == ids
    assert all(delivery.body == BODY for delivery in seen)


@pytest.mark.parametrize("mount", ASGI)
async def test_asgi(mount: Callable[[Receiver], Any], receiver: Receiver, seen: list[Delivery]) -> None:
    """Every way to mount it in an ASGI framework gives the answers of the table."""
    async with serving(mount(receiver)) as served:
        await assert_answers(served.client, seen)


@pytest.mark.parametrize("mount", WSGI)
async def test_wsgi(mount: Callable[[Receiver], Any], receiver: Receiver, seen: list[Delivery]) -> None:
    """Every way to mount it under WSGI, too."""
    with mount(receiver) as app, serving_wsgi(app) as url:
        async with client_of(url) as client:
            await assert_answers(client, seen)


@pytest.mark.parametrize("base64_bodies", [False, True])
async def test_lambda(receiver: Receiver, seen: list[Delivery], base64_bodies: bool) -> None:
    """And as a Lambda function, whether or not its URL encodes the bodies."""
    with serving_lambda(lambda: Mangum(receiver), base64_bodies=base64_bodies) as url:
        async with client_of(url) as client:
            await assert_answers(client, seen)


def consuming(app: Any) -> Any:
    """A middleware that reads the body, and does not pass it on."""

    async def consume(scope: Any, receive: Any, send: Any) -> None:
        while scope["type"] == "http" and (await receive()).get("more_body"):
            pass
        await app(scope, receive, send)

    return consume


def re_encoding(app: Any) -> Any:
    """A middleware that parses the body, and passes on what it makes of it."""

    async def encode(scope: Any, receive: Any, send: Any) -> None:
        async def encoded() -> Any:
            message = await receive()
            return message | {"body": json.dumps(json.loads(message["body"])).encode()} if scope else message

        await app(scope, encoded if scope["type"] == "http" else receive, send)

    return encode


def emptying(app: Any) -> Any:
    """A middleware that passes on an empty body."""

    async def empty(scope: Any, receive: Any, send: Any) -> None:
        async def emptied() -> Any:
            return (await receive()) | {"body": b""}

        await app(scope, emptied if scope["type"] == "http" else receive, send)

    return empty


def lines_of(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [record.message for record in caplog.records if record.name == "airweave_webhooks"]


@pytest.mark.parametrize("mount", ASGI)
@pytest.mark.parametrize(
    ("middleware", "status", "named"),
    [
        (consuming, 408, "has consumed it"),
        (emptying, 401, "a middleware may have consumed it"),
        (re_encoding, 413, "a middleware or proxy re-encoded it"),
    ],
)
async def test_a_middleware_that_touches_the_body_is_named(
    mount: Callable[[Receiver], Any],
    middleware: Callable[[Any], Any],
    status: int,
    named: str,
    receiver: Receiver,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """The operator's log says what to do about it; the answer says nothing."""
    async with serving(middleware(mount(receiver))) as served:
        answer = await served.client.post(PATH, content=BODY, headers=sign(BODY))
    assert answer.status_code == status
    assert [named in line for line in lines_of(caplog)] == [True]


@pytest.mark.parametrize("mount", WSGI)
@pytest.mark.parametrize("form", ["consumed", "re-encoded"])
async def test_a_wsgi_middleware_that_touches_the_body_is_named(
    mount: Callable[[Receiver], Any], form: str, receiver: Receiver, caplog: pytest.LogCaptureFixture
) -> None:
    """Likewise under WSGI."""
    with mount(receiver) as app:

        def middleware(environ: Any, start_response: Any) -> Any:
            body = environ["wsgi.input"].read(int(environ["CONTENT_LENGTH"]))
            if form == "re-encoded":
                body = json.dumps(json.loads(body)).encode()
                environ |= {"wsgi.input": BytesIO(body), "CONTENT_LENGTH": str(len(body))}
            else:
                environ["wsgi.input"] = BytesIO()  # wsgiref itself would wait for more
            return app(environ, start_response)

        with serving_wsgi(middleware) as url:
            async with client_of(url) as client:
                answer = await client.post(PATH, content=BODY, headers=sign(BODY))
    assert answer.status_code == (401 if form == "re-encoded" else 400)
    assert [form in line for line in lines_of(caplog)] == [True]
