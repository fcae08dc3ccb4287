"""`Depends(verified(receiver))` over a real server, and Airweave's events in OpenAPI."""

import asyncio
import re
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Annotated, Any

import pytest
from fastapi import Body, Depends, FastAPI, HTTPException, Request
from fastapi.responses import JSONResponse
from starlette.middleware.base import BaseHTTPMiddleware

from airweave_webhooks import BodyLimits, Delivery, Receiver, SyncCompleted
from airweave_webhooks.events import EVENT_TYPES
from airweave_webhooks.integrations.fastapi import (
    REFUSALS,
    DeliveryRefused,
    document_webhooks,
    receiver_router,
    verified,
)
from airweave_webhooks.stores import MemoryStore
from conftest import OTHER_SECRET, SECRET, sign
from http_cases import BODY, MOST_BYTES, SECRETS, cases
from serving import Served, serving

pytestmark = pytest.mark.anyio

LIMITS = BodyLimits(most_bytes=MOST_BYTES, most_bytes_in_flight=MOST_BYTES, read_within=0.6)


class UnusedStore(MemoryStore):
    async def open(self) -> None:
        raise AssertionError("nothing is remembered, so no store is opened")


@pytest.fixture
def seen() -> list[Delivery]:
    return []


@pytest.fixture
def receiver() -> Receiver:
    receiver = Receiver(secrets=SECRETS, body_limits=LIMITS, store=UnusedStore())

    @receiver.on("*")
    async def never() -> None:
        raise AssertionError("no handler runs")

    return receiver


@pytest.fixture
def app(receiver: Receiver, seen: list[Delivery]) -> FastAPI:
    app = FastAPI()

    @app.post("/webhooks/airweave", responses=REFUSALS)
    async def receive(delivery: Annotated[Delivery, Depends(verified(receiver))]) -> dict[str, str]:
        seen.append(delivery)
        return {"status": "mine"}

    return app


@pytest.fixture
async def served(app: FastAPI) -> AsyncIterator[Served]:
    async with serving(app) as served:
        yield served


async def test_the_table(served: Served, seen: list[Delivery]) -> None:
    """What is signed reaches the route, each time; what is refused is answered as the receiver does."""
    for case in cases():
        answer = await case.sent_to(served.client, "/webhooks/airweave")
        if case.refused:
            assert answer == case.expected(), case.name
        elif case.method == "POST" and not case.slash:
            assert answer == (200, {"status": "mine"}, None), case.name
    ids = [delivery.id for delivery in seen]
    assert ids == ["msg_good", "msg_good", "msg_ignored", "msg_other", "msg_old", "msg_both", "msg_last"]
    assert isinstance(seen[0].event, SyncCompleted)
    assert seen[0].body == BODY


async def test_the_log_has_the_diagnosis(served: Served, caplog: pytest.LogCaptureFixture) -> None:
    """For the operator, and with the id that the sender shows."""
    await served.client.post("/webhooks/airweave", content=BODY.replace(b"42", b"43"), headers=sign(BODY))
    (line,) = [record.message for record in caplog.records if record.name == "airweave_webhooks"]
    assert line.startswith("receiver default refused a request with 401: no secret of ours signed this")
    assert "msg_1" in line


async def test_slow_and_endless_bodies(served: Served, seen: list[Delivery]) -> None:
    """The read deadline and the limit hold, the connection ends, and the room for bodies is free again."""
    fields = "".join(f"{name}: {value}\r\n" for name, value in sign(BODY).items())
    head = f"POST /webhooks/airweave HTTP/1.1\r\nhost: t\r\n{fields}"
    stalled = await served.raw(f"{head}content-length: {len(BODY)}\r\n\r\n".encode() + BODY[:10])
    assert stalled.startswith(b"HTTP/1.1 408 ")
    assert stalled.endswith(b'{"status":"too_slow"}')
    chunk = b"2000\r\n" + b"x" * 0x2000 + b"\r\n"
    endless = await served.raw(f"{head}transfer-encoding: chunked\r\n\r\n".encode() + 2 * chunk)
    assert endless.startswith(b"HTTP/1.1 413 ")
    assert b"connection: close" in endless
    _, writer = await asyncio.open_connection("127.0.0.1", served.port)
    writer.write(f"{head}content-length: 9000\r\n\r\nx".encode())
    await writer.drain()
    writer.close()
    for _ in range(3):  # each takes nearly all of the room
        body = b'{"x":"' + b"x" * 9_000 + b'"}'
        answer = await served.client.post("/webhooks/airweave", content=body, headers=sign(body))
        assert answer.json() == {"status": "mine"}
    assert len(seen) == 3


async def test_room_is_held_while_the_route_runs(app: FastAPI, receiver: Receiver, caplog: Any) -> None:
    """A route that fails, by whatever it raises, gives the room back, and its error stays its own."""

    @app.post("/fails")
    async def fails(delivery: Annotated[Delivery, Depends(verified(receiver))]) -> None:
        raise HTTPException(418, "mine")

    body = b'{"x":"' + b"x" * 9_000 + b'"}'
    async with serving(app) as served:
        for _ in range(3):
            answer = await served.client.post("/fails", content=body, headers=sign(body))
            assert (answer.status_code, answer.json()) == (418, {"detail": "mine"})


async def test_a_lookup_that_fails_asks_the_sender_to_come_again(seen: list[Delivery]) -> None:
    """503 with Retry-After, as everywhere."""

    def lookup() -> str:
        raise OSError("vault is sealed")

    app = FastAPI()

    @app.post("/")
    async def receive(delivery: Annotated[Delivery, Depends(verified(Receiver(secrets=lookup)))]) -> None:
        seen.append(delivery)

    async with serving(app) as served:
        answer = await served.client.post("/", content=BODY, headers=sign(BODY))
    assert (answer.status_code, answer.json(), seen) == (503, {"status": "unavailable"}, [])
    assert int(answer.headers["retry-after"]) > 0


async def test_without_any_secret_it_is_not_served(seen: list[Delivery]) -> None:
    """A configuration that cannot work never lets anything through."""
    app = FastAPI()

    @app.post("/")
    async def receive(delivery: Annotated[Delivery, Depends(verified(Receiver()))]) -> None:
        seen.append(delivery)

    async with serving(app) as served:
        answer = await served.client.post("/", content=BODY, headers=sign(BODY))
    assert (answer.status_code, seen) == (503, [])


async def test_tenants() -> None:
    """The path names the tenant, whose secret it has to be."""
    receiver = Receiver(secrets={"acme": SECRET, "umbrella": OTHER_SECRET}.get)
    app = FastAPI()

    @app.post("/hooks/{tenant}")
    async def receive(tenant: str, delivery: Annotated[Delivery, Depends(verified(receiver))]) -> str | None:
        return delivery.tenant

    async with serving(app) as served:

        async def post(tenant: str, secret: str) -> tuple[int, Any]:
            answer = await served.client.post(f"/hooks/{tenant}", content=BODY, headers=sign(BODY, secret=secret))
            return answer.status_code, answer.json()

        assert await post("acme", SECRET) == (200, "acme")
        assert await post("umbrella", OTHER_SECRET) == (200, "umbrella")
        assert await post("umbrella", SECRET) == (401, {"status": "unauthorized"})
        assert await post("nobody", SECRET) == (401, {"status": "unauthorized"})


async def test_a_tenant_without_secrets_of_its_own_is_not_served() -> None:
    """With one secret for all, any tenant could sign for another."""
    app = FastAPI()

    @app.post("/hooks/{tenant}")
    async def receive(tenant: str, delivery: Annotated[Delivery, Depends(verified(Receiver(secrets=SECRET)))]) -> None:
        raise AssertionError

    async with serving(app) as served:
        answer = await served.client.post("/hooks/acme", content=BODY, headers=sign(BODY))
    assert answer.status_code == 503


async def test_the_application_may_answer_itself(app: FastAPI, served: Served) -> None:
    """A handler for `DeliveryRefused` goes first; handlers for other errors do not see it."""
    other = FastAPI()
    other.mount("/inner", app)

    @other.exception_handler(DeliveryRefused)
    async def answer(_: Request, error: DeliveryRefused) -> JSONResponse:
        return JSONResponse({"own": error.reply.outcome}, error.reply.status)

    @other.exception_handler(401)
    async def page(_: Request, error: Exception) -> JSONResponse:
        raise AssertionError

    receiver = Receiver(secrets=SECRET)

    @other.post("/")
    async def receive(delivery: Annotated[Delivery, Depends(verified(receiver))]) -> None: ...

    async with serving(other) as served:
        refused = await served.client.post("/", content=BODY, headers=sign(BODY, secret=OTHER_SECRET))
        assert (refused.status_code, refused.json()) == (401, {"own": "unauthorized"})
        inner = await served.client.post("/inner/webhooks/airweave", content=BODY)
        assert (inner.status_code, inner.json()) == (400, {"status": "malformed"})


def reading_by_the_request(app: FastAPI, receiver: Receiver) -> None:
    """FastAPI has read the body for a parameter: it still has the bytes."""

    @app.post("/")
    async def receive(event: Annotated[Any, Body()], delivery: Annotated[Delivery, Depends(verified(receiver))]) -> str:
        return delivery.id


def reading_in_a_dependency(app: FastAPI, receiver: Receiver) -> None:
    """Likewise a dependency that awaits `request.body()`."""

    async def read(request: Request) -> bytes:
        return await request.body()

    @app.post("/", dependencies=[Depends(read)])
    async def receive(delivery: Annotated[Delivery, Depends(verified(receiver))]) -> str:
        return delivery.id


def reading_in_a_middleware(app: FastAPI, receiver: Receiver) -> None:
    """Likewise Starlette's middleware class, which hands the body on."""

    async def read(request: Request, call_next: Callable[[Request], Any]) -> Any:
        await request.body()
        return await call_next(request)

    app.add_middleware(BaseHTTPMiddleware, dispatch=read)

    @app.post("/")
    async def receive(delivery: Annotated[Delivery, Depends(verified(receiver))]) -> str:
        return delivery.id


def sharing_it(app: FastAPI, receiver: Receiver) -> None:
    """Several dependencies of one route have the same delivery."""
    shared = Depends(verified(receiver))

    async def check(delivery: Delivery = shared) -> None: ...

    @app.post("/", dependencies=[Depends(check)])
    async def receive(delivery: Delivery = shared) -> str:
        return delivery.id


@pytest.mark.parametrize(
    "route", [sharing_it, reading_by_the_request, reading_in_a_dependency, reading_in_a_middleware]
)
async def test_a_body_that_was_read_and_kept(route: Callable[[FastAPI, Receiver], None], receiver: Receiver) -> None:
    """The bytes are what counts: what the request kept of them is verified."""
    app = FastAPI()
    route(app, receiver)
    async with serving(app) as served:
        assert (await served.client.post("/", content=BODY, headers=sign(BODY))).json() == "msg_1"
        forged = await served.client.post("/", content=BODY.replace(b"42", b"43"), headers=sign(BODY))
        assert forged.status_code == 401


async def test_a_body_that_was_streamed_away(receiver: Receiver, caplog: pytest.LogCaptureFixture) -> None:
    """Nothing is left of it: the log says so, and nothing waits for it."""
    app = FastAPI()

    async def stream(request: Request) -> None:
        async for _ in request.stream():
            pass

    @app.post("/", dependencies=[Depends(stream)])
    async def receive(delivery: Annotated[Delivery, Depends(verified(receiver))]) -> None: ...

    async with serving(app) as served:
        answer = await served.client.post("/", content=BODY, headers=sign(BODY))
    assert (answer.status_code, answer.json()) == (400, {"status": "malformed"})
    assert "the body was consumed before it could be verified" in caplog.text


async def test_outside_of_starlettes_handlers(receiver: Receiver) -> None:
    """Where nobody answers exceptions of ours, FastAPI's own exception has the status and the headers."""
    dependency: Any = verified(receiver)
    scope = {"type": "http", "method": "POST", "headers": [], "path_params": {}, "query_string": b""}
    with pytest.raises(HTTPException) as raised:
        await anext(dependency(Request(scope), None))
    detail: Any = raised.value.detail
    assert (raised.value.status_code, detail) == (400, {"status": "malformed"})


def test_it_is_documented(app: FastAPI) -> None:
    """The signature as security, the other headers, and the refusals."""
    schema = app.openapi()
    post = schema["paths"]["/webhooks/airweave"]["post"]
    ((name, _),) = post["security"][0].items()
    scheme = schema["components"]["securitySchemes"][name]
    assert (scheme["type"], scheme["in"], scheme["name"]) == ("apiKey", "header", "svix-signature")
    assert {parameter["name"] for parameter in post["parameters"]} == {"svix-id", "svix-timestamp"}
    assert all(re.fullmatch(r"[a-zA-Z0-9.\-_]+", key) for part in schema["components"].values() for key in part)
    assert {"400", "401", "408", "413", "503"} < set(post["responses"])
    assert "Retry-After" in post["responses"]["503"]["headers"]


def references(value: Any) -> Iterator[str]:
    if isinstance(value, dict):
        if isinstance(reference := value.get("$ref"), str):
            yield reference
        for part in value.values():
            yield from references(part)
    elif isinstance(value, list):
        for part in value:
            yield from references(part)


async def test_the_events_are_in_openapi(receiver: Receiver) -> None:
    """All of them as `webhooks`, each with its model and an example that fits; and no route serves them."""
    app = FastAPI()
    app.include_router(receiver_router(receiver, "/webhooks/airweave"))
    document_webhooks(app)
    async with serving(app) as served:
        schema = (await served.client.get("/openapi.json")).json()
        assert (await served.client.post("/sync.completed")).status_code == 404
    assert schema["openapi"].startswith("3.1")  # `webhooks` is new in 3.1
    assert set(schema["webhooks"]) == set(EVENT_TYPES)
    assert list(schema["paths"]) == ["/webhooks/airweave"]
    for event_type, item in schema["webhooks"].items():
        post = item["post"]
        content = post["requestBody"]["content"]["application/json"]["schema"]
        cls = EVENT_TYPES[event_type]
        assert next(references(content)) == f"#/components/schemas/{cls.__name__}"
        (example,) = content["examples"]
        assert cls.model_validate(example).event_type == event_type
        assert {parameter["name"] for parameter in post["parameters"]} == {
            "svix-id",
            "svix-timestamp",
            "svix-signature",
        }
        assert post["requestBody"]["required"]
        assert {"200", "401", "503"} <= set(post["responses"])
    for reference in references(schema):
        found = schema
        for key in reference.removeprefix("#/").split("/"):
            found = found[key]
    operations = [item["post"]["operationId"] for part in ("paths", "webhooks") for item in schema[part].values()]
    assert len(operations) == len(set(operations))
