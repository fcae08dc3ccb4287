"""A receiver as an AWS Lambda function, through mangum: the example, and what cannot work there."""

import asyncio
import importlib
import json
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from mangum import Mangum

from airweave_webhooks import ConfigurationError, Delivery, Inbox, Inline, PostgresStore, Receiver, SQLiteStore
from airweave_webhooks.testing import Sender
from airweave_webhooks.testing.payloads import payload
from conftest import SECRET, sign
from databases import in_schema
from serving_sync import function_url_event, serving_lambda

BODY = payload("sync.completed")


@pytest.fixture
def event_loop_of_the_function() -> Iterator[asyncio.AbstractEventLoop]:
    """The one that mangum finds and keeps, for all invocations of an instance."""
    with asyncio.Runner() as runner:
        asyncio.set_event_loop(runner.get_loop())
        yield runner.get_loop()
        asyncio.set_event_loop(None)


@pytest.fixture
def on_lambda(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_LAMBDA_FUNCTION_NAME", "webhooks")


def invoke(function: Callable[..., Any], body: bytes = BODY, **signing: Any) -> tuple[int, str]:
    event = function_url_event("POST", "/", sign(body, **signing) | {"content-length": str(len(body))}, body)
    answer = function(event, None)
    return answer["statusCode"], json.loads(answer["body"])["status"]


@pytest.mark.anyio
async def test_the_example(
    postgres_url: str,
    schema: str,
    monkeypatch: pytest.MonkeyPatch,
    on_lambda: None,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Each invocation opens and closes: what one remembers, the next one knows."""
    monkeypatch.setenv("DATABASE_URL", in_schema(postgres_url, schema))
    monkeypatch.setenv("AIRWEAVE_WEBHOOK_SECRET", SECRET)
    monkeypatch.syspath_prepend(Path(__file__).parents[2] / "examples")
    monkeypatch.delitem(sys.modules, "lambda_app", raising=False)

    def make() -> Any:
        return importlib.import_module("lambda_app").handler

    with serving_lambda(make) as url:
        async with Sender(url, secrets=SECRET) as sender, httpx.AsyncClient(trust_env=False) as client:
            assert await sender.probe() == 200
            message = sender.message(payload("sync.completed"))
            outcomes = [(await sender.attempt(message)).outcome for _ in range(2)]
            assert outcomes == ["processed", "duplicate"]
            assert (await client.post(url, content=BODY)).json() == {"status": "malformed"}
    assert capsys.readouterr().out == "refreshing the cache of engineering-context-k4x9q\n"
    assert not importlib.import_module("lambda_app").receiver.is_open


@pytest.mark.usefixtures("event_loop_of_the_function", "on_lambda")
def test_nothing_outlives_the_answer(tmp_path: Path) -> None:
    """A handler that is not done by then is ended with the invocation; the sender's retry starts it again."""
    receiver = Receiver(
        secrets=SECRET, store=f"sqlite:///{tmp_path}/db", mode=Inline(answer_within=0.2, shutdown_grace=0.1)
    )
    attempts: list[int] = []

    @receiver.on("sync.completed")
    async def slow(delivery: Delivery) -> None:
        attempts.append(delivery.attempt)
        await asyncio.sleep(30 if len(attempts) == 1 else 0)

    function = Mangum(receiver, lifespan="on")
    assert invoke(function) == (503, "still_running")
    assert not receiver.is_open
    assert invoke(function) == (200, "processed")
    assert len(attempts) == 2


@pytest.mark.usefixtures("event_loop_of_the_function", "on_lambda")
def test_without_a_lifespan_work_stands_still_between_requests(tmp_path: Path) -> None:
    """With lifespan="off" what passes the deadline goes on with the next invocation, whenever that is."""
    receiver = Receiver(secrets=SECRET, store=f"sqlite:///{tmp_path}/db", mode=Inline(answer_within=0.1))
    finished: list[str] = []

    @receiver.on("sync.completed")
    async def slow(delivery: Delivery) -> None:
        await asyncio.sleep(0.2)
        finished.append(delivery.id)

    function = Mangum(receiver, lifespan="off")
    assert invoke(function) == (503, "still_running")
    assert finished == []
    time.sleep(0.3)
    assert finished == []
    for n in range(2, 5):
        assert invoke(function, payload("collection.created"), message_id=f"msg_{n}") == (200, "ignored")
    assert finished == ["msg_1"]

    async def close() -> None:
        async with receiver:
            pass

    asyncio.get_event_loop().run_until_complete(close())


@pytest.mark.usefixtures("event_loop_of_the_function", "on_lambda")
@pytest.mark.parametrize("lifespan", ["on", "auto", "off"])
def test_a_worker_is_refused(lifespan: Any, caplog: pytest.LogCaptureFixture) -> None:
    """It would stand still: with a lifespan nothing is served, and without one nothing is acknowledged."""
    receiver = Receiver(secrets=SECRET, store="postgresql://nobody@127.0.0.1:1/none", mode=Inbox())
    function = Mangum(receiver, lifespan=lifespan)
    if lifespan != "off":
        with pytest.raises(Exception, match="stands still") as raised:
            invoke(function)
        assert "Inbox(worker=False)" in str(raised.value)
    else:
        assert invoke(function) == (503, "unavailable")
        assert "Inbox(worker=False)" in caplog.text


@pytest.mark.anyio
async def test_what_is_refused_on_lambda(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, postgres_url: str, schema: str
) -> None:
    """An inbox on a disk that does not last, and one with a worker; not one that somebody else works on."""
    sqlite = Receiver(secrets=SECRET, store=SQLiteStore(tmp_path / "db"), mode=Inbox(worker=False))
    postgres = PostgresStore(in_schema(postgres_url, schema))
    async with sqlite:
        pass
    monkeypatch.setenv("AWS_LAMBDA_FUNCTION_NAME", "webhooks")
    with pytest.raises(ConfigurationError, match="the disk of an AWS Lambda function"):
        await sqlite.__aenter__()
    with pytest.raises(ConfigurationError, match=r"awaits receiver\.drain"):
        await Receiver(secrets=SECRET, store=postgres, mode=Inbox()).__aenter__()
    held = Receiver(secrets=SECRET, store=postgres, mode=Inbox(worker=False))
    done: list[str] = []

    @held.on("sync.completed")
    async def handle(delivery: Delivery) -> None:
        done.append(delivery.id)

    async with held:
        assert (await held.handle(sign(BODY), BODY)).outcome == "accepted"
    await held.drain()  # as a scheduled function does
    assert done == ["msg_1"]
