"""Every documented way to mount a receiver, served by uvicorn over a real socket."""

import contextlib
import subprocess
import sys
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest
from fastapi import FastAPI
from litestar import Litestar, Request, Response, post
from starlette.applications import Starlette
from starlette.routing import Mount

from airweave_webhooks import ConfigurationError, Delivery, Receiver, SyncCompleted
from airweave_webhooks.integrations.fastapi import receiver_router
from airweave_webhooks.testing.payloads import payload
from conftest import OTHER_SECRET, SECRET, sign
from serving import serving

pytestmark = pytest.mark.anyio

BODY = payload("sync.completed")


def a_receiver(name: str = "default", **settings: Any) -> tuple[Receiver, list[Delivery]]:
    receiver = Receiver(name=name, **{"secrets": SECRET} | settings)
    seen: list[Delivery] = []

    @receiver.on("sync.completed")
    async def handle(event: SyncCompleted, delivery: Delivery) -> None:
        seen.append(delivery)

    return receiver, seen


def bare(receiver: Receiver) -> Any:
    return receiver


def starlette_route(receiver: Receiver) -> Any:
    return Starlette(routes=[receiver.route("/webhooks/airweave")], lifespan=receiver.lifespan)


def starlette_route_with_slash(receiver: Receiver) -> Any:
    return Starlette(routes=[receiver.route("/webhooks/airweave/")], lifespan=receiver.lifespan)


def starlette_mount(receiver: Receiver) -> Any:
    return Starlette(routes=[Mount("/webhooks", receiver)], lifespan=receiver.lifespan)


def starlette_without_lifespan(receiver: Receiver) -> Any:
    return Starlette(routes=[receiver.route("/webhooks/airweave")])


def starlette_in_starlette(receiver: Receiver) -> Any:
    inner = Starlette(routes=[receiver.route("/airweave")])
    return Starlette(routes=[Mount("/webhooks", inner)], lifespan=receiver.lifespan)


def fastapi_router(receiver: Receiver) -> Any:
    app = FastAPI(lifespan=receiver.lifespan)
    app.include_router(receiver_router(receiver, "/webhooks/airweave"))
    return app


def fastapi_router_with_prefix(receiver: Receiver) -> Any:
    app = FastAPI(lifespan=receiver.lifespan)
    app.include_router(receiver_router(receiver, "/airweave/"), prefix="/webhooks")
    return app


def fastapi_mount(receiver: Receiver) -> Any:
    app = FastAPI(lifespan=receiver.lifespan)
    app.mount("/webhooks", receiver)
    return app


def fastapi_with_its_own_lifespan(receiver: Receiver) -> Any:
    @contextlib.asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        async with receiver:
            yield

    app = FastAPI(lifespan=lifespan)
    app.include_router(receiver_router(receiver, "/webhooks/airweave"))
    return app


MOUNTS = [
    bare,
    starlette_route,
    starlette_route_with_slash,
    starlette_mount,
    starlette_without_lifespan,
    starlette_in_starlette,
    fastapi_router,
    fastapi_router_with_prefix,
    fastapi_mount,
    fastapi_with_its_own_lifespan,
]


@pytest.mark.parametrize("mount", MOUNTS)
async def test_a_mounted_receiver_answers(mount: Callable[[Receiver], Any]) -> None:
    """Both spellings of the path are the endpoint, never a redirect; probes get 200 without a body."""
    receiver, seen = a_receiver()
    async with serving(mount(receiver)) as served:
        for n, path in enumerate(["/webhooks/airweave", "/webhooks/airweave/"]):
            answer = await served.client.post(path, content=BODY, headers=sign(BODY, message_id=f"msg_{n}"))
            assert (answer.status_code, answer.json()) == (200, {"status": "processed"})
            again = await served.client.post(path, content=BODY, headers=sign(BODY, message_id=f"msg_{n}"))
            assert again.json() == {"status": "duplicate"}
            unsigned = await served.client.post(path, content=BODY)
            assert (unsigned.status_code, unsigned.json()) == (400, {"status": "malformed"})
            for method in ("HEAD", "GET"):
                probe = await served.client.request(method, path)
                assert (probe.status_code, probe.content) == (200, b"")
            for method in ("PUT", "DELETE", "PATCH", "OPTIONS"):
                refused = await served.client.request(method, path)
                assert (refused.status_code, refused.headers["allow"]) == (405, "POST, HEAD, GET")
    assert [delivery.id for delivery in seen] == ["msg_0", "msg_1"]
    assert seen[0].headers == {"content-type": "application/json", "user-agent": seen[0].headers["user-agent"]}
    assert seen[0].body == BODY


async def test_the_root_path() -> None:
    """A receiver can sit at `/` as well."""
    receiver, seen = a_receiver()
    async with serving(Starlette(routes=[receiver.route("/")], lifespan=receiver.lifespan)) as served:
        assert (await served.client.post("/", content=BODY, headers=sign(BODY))).status_code == 200
    assert len(seen) == 1


@pytest.mark.parametrize("framework", ["starlette", "fastapi"])
async def test_two_receivers_in_one_app(framework: str) -> None:
    """Each has its own secret, its own record, and its own handlers."""
    (one, seen_by_one), (two, seen_by_two) = a_receiver("one"), a_receiver("two", secrets=OTHER_SECRET)

    @contextlib.asynccontextmanager
    async def lifespan(_: Any) -> AsyncIterator[None]:
        async with one, two:
            yield

    app: Any
    if framework == "starlette":
        app = Starlette(routes=[one.route("/one"), two.route("/two")], lifespan=lifespan)
    else:
        app = FastAPI(lifespan=lifespan)
        app.include_router(receiver_router(one, "/one"))
        app.include_router(receiver_router(two, "/two"))
    async with serving(app) as served:
        post = served.client.post
        assert (await post("/one", content=BODY, headers=sign(BODY))).json() == {"status": "processed"}
        assert (await post("/two", content=BODY, headers=sign(BODY))).json() == {"status": "unauthorized"}
        for _ in range(2):
            await post("/two", content=BODY, headers=sign(BODY, secret=OTHER_SECRET))
    assert (len(seen_by_one), len(seen_by_two)) == (1, 1)


def tenant_route(receiver: Receiver) -> Any:
    return Starlette(routes=[receiver.route("/hooks/{tenant}")], lifespan=receiver.lifespan)


def tenant_router(receiver: Receiver) -> Any:
    app = FastAPI(lifespan=receiver.lifespan)
    app.include_router(receiver_router(receiver, "/hooks/{tenant}"))
    return app


def tenant_mount(receiver: Receiver) -> Any:
    return Starlette(routes=[Mount("/hooks/{tenant}", receiver)], lifespan=receiver.lifespan)


def tenant_in_litestar(receiver: Receiver) -> Any:
    @post("/hooks/{tenant:str}")
    async def airweave(request: Request[Any, Any, Any]) -> Response[bytes]:
        reply = await receiver.handle(request.scope["headers"], await request.body(), request.path_params["tenant"])
        return Response(reply.body, status_code=reply.status, headers=reply.headers)

    return Litestar([airweave], lifespan=[receiver.lifespan], logging_config=None)


@pytest.mark.parametrize("mount", [tenant_route, tenant_router, tenant_mount, tenant_in_litestar])
async def test_a_tenant_in_the_path(mount: Callable[[Receiver], Any]) -> None:
    """The tenant chooses the secret and is part of the key; nobody signs for another, and strangers get 401."""
    receiver, seen = a_receiver(secrets={"acme": SECRET, "umbrella": OTHER_SECRET}.get)
    async with serving(mount(receiver)) as served:

        async def post(tenant: str, secret: str) -> int:
            answer = await served.client.post(f"/hooks/{tenant}/", content=BODY, headers=sign(BODY, secret=secret))
            return answer.status_code

        assert await post("acme", SECRET) == 200
        assert await post("umbrella", OTHER_SECRET) == 200
        assert await post("umbrella", SECRET) == 401
        assert await post("nobody", SECRET) == 401
    assert [delivery.tenant for delivery in seen] == ["acme", "umbrella"]


def test_a_tenant_needs_secrets_of_its_own() -> None:
    """With one secret for all, any tenant could sign for another."""
    receiver, _ = a_receiver()
    with pytest.raises(ConfigurationError, match="any tenant could sign for another"):
        receiver.route("/hooks/{tenant}")
    with pytest.raises(ConfigurationError, match="any tenant could sign for another"):
        receiver_router(receiver, "/hooks/{tenant}")


async def test_a_mounted_tenant_without_secrets_of_its_own_is_not_served() -> None:
    """A mount shows its tenant only in the request: then nothing is verified, and the log says why."""
    receiver, seen = a_receiver()
    async with serving(tenant_mount(receiver)) as served:
        answer = await served.client.post("/hooks/acme/", content=BODY, headers=sign(BODY))
    assert (answer.status_code, seen) == (503, [])


async def test_without_a_lifespan_the_log_says_so_once(caplog: pytest.LogCaptureFixture) -> None:
    """Opening on the first delivery works, and nobody is left to wonder why shutdown is not graceful."""
    receiver, seen = a_receiver()
    async with serving(starlette_without_lifespan(receiver)) as served:
        for n in range(3):
            await served.client.post("/webhooks/airweave", content=BODY, headers=sign(BODY, message_id=f"msg_{n}"))
    assert len(seen) == 3
    assert [record.message for record in caplog.records if "lifespan" in record.message] == [
        (
            "receiver default opens on its first delivery: nobody will close it; give the application"
            " lifespan=receiver.lifespan for a graceful shutdown"
        )
    ]


async def test_the_documentation_is_in_openapi() -> None:
    """Every event, the headers and the answers are documented, and the plain route behind them is not."""
    receiver, _ = a_receiver()
    app = fastapi_router(receiver)
    schema = app.openapi()
    assert list(schema["paths"]) == ["/webhooks/airweave"]
    post = schema["paths"]["/webhooks/airweave"]["post"]
    mapping = post["requestBody"]["content"]["application/json"]["schema"]["discriminator"]["mapping"]
    assert mapping["sync.completed"] == "#/components/schemas/SyncCompleted"
    assert len(mapping) == 25
    assert {parameter["name"] for parameter in post["parameters"]} == {"svix-id", "svix-timestamp", "svix-signature"}
    assert {"200", "400", "401", "409", "503"} <= set(post["responses"])
    async with serving(app) as served:
        assert (await served.client.get("/openapi.json")).status_code == 200


async def test_the_openapi_of_a_tenant_path() -> None:
    """The tenant is a documented parameter."""
    receiver, _ = a_receiver(secrets=lambda tenant: SECRET)
    post = tenant_router(receiver).openapi()["paths"]["/hooks/{tenant}"]["post"]
    assert "tenant" in {parameter["name"] for parameter in post["parameters"]}


def test_an_application_that_cannot_open_does_not_start(tmp_path: Path) -> None:
    """Without a secret the server refuses to start, and says in one sentence what to set."""
    (tmp_path / "app.py").write_text("from airweave_webhooks import Receiver\nreceiver = Receiver()\n")
    command = [sys.executable, "-m", "uvicorn", "app:receiver", "--port", "0"]
    ended = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=30, check=False)
    assert ended.returncode == 3
    assert "no webhook secret: set AIRWEAVE_WEBHOOK_SECRET" in ended.stderr
    assert "Traceback" not in ended.stderr


def test_without_fastapi_the_error_names_the_extra() -> None:
    """Whoever imports the integration without its framework learns what to install."""
    program = "import sys; sys.modules['fastapi'] = None; import airweave_webhooks.integrations.fastapi"
    ended = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=30, check=False)
    assert ended.stderr.splitlines()[-1] == (
        "airweave_webhooks.errors.ConfigurationError: receiver_router needs FastAPI:"
        " pip install 'airweave-webhooks[fastapi]'"
    )


async def test_websockets_are_closed() -> None:
    """A receiver is no websocket endpoint, and says so without an error."""
    receiver, _ = a_receiver()
    sent: list[Any] = []

    async def send(message: Any) -> None:
        sent.append(message)

    async def receive() -> Any:
        return {"type": "websocket.connect"}

    await receiver({"type": "websocket"}, receive, send)
    assert sent == [{"type": "websocket.close", "code": 1000}]
