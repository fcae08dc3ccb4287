"""A receiver in the background of a WSGI process: opened once, after a fork, and closed at the end."""

import concurrent.futures
import multiprocessing
import os
import re
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from io import BytesIO
from pathlib import Path
from typing import Any

import httpx
import pytest

from airweave_webhooks import BodyLimits, Delivery, Receiver, Retry
from airweave_webhooks.errors import StoreUnavailable
from airweave_webhooks.integrations.wsgi import WSGIReceiver
from airweave_webhooks.stores import MemoryStore
from airweave_webhooks.testing.payloads import payload
from conftest import OTHER_SECRET, SECRET, sign
from serving_sync import serving_wsgi

BODY = payload("sync.completed")

APP = """
import asyncio, os, pathlib
from flask import Flask, request
from werkzeug.middleware.dispatcher import DispatcherMiddleware
from airweave_webhooks import Inline, Receiver, SyncCompleted, SyncFailed
from airweave_webhooks.integrations.wsgi import WSGIReceiver

receiver = Receiver(store="sqlite:///airweave.db", mode=Inline(answer_within=0.3))

@receiver.on("sync.failed")
async def slow(event: SyncFailed) -> None:
    await asyncio.sleep(1.5)
    pathlib.Path(f"done-{os.getpid()}").touch()

airweave = WSGIReceiver(receiver)
app = Flask(__name__)
app.add_url_rule("/read", "read", lambda: airweave, methods=["POST"])
app.before_request(lambda: request.path == "/read" and request.get_data() and None)
app.wsgi_app = DispatcherMiddleware(app.wsgi_app, {"/webhooks/airweave": airweave})
"""


class Gunicorn:
    """An application that gunicorn serves."""

    def __init__(self, folder: Path, *options: str) -> None:
        (folder / "app.py").write_text(APP)
        self.folder = folder
        with (folder / "log").open("wb") as log:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "gunicorn", "app:app", "--bind", "127.0.0.1:0", "--no-control-socket", *options],
                cwd=folder,
                env={**os.environ, "AIRWEAVE_WEBHOOK_SECRET": SECRET},
                stdout=log,
                stderr=log,
            )
        while not (match := re.search(r"Listening at: (http://\S+)", self.log)):
            assert self._process.poll() is None, self.log
            time.sleep(0.05)
        self.client = httpx.Client(base_url=match[1], trust_env=False, timeout=30)

    @property
    def log(self) -> str:
        return (self.folder / "log").read_text()

    def post(self, name: str, message_id: str, path: str = "/webhooks/airweave", **signing: Any) -> tuple[int, str]:
        body = payload(name)
        answer = self.client.post(path, content=body, headers=sign(body, message_id=message_id, **signing))
        return answer.status_code, answer.json()["status"]

    def end(self) -> str:
        self.client.close()
        self._process.send_signal(signal.SIGTERM)
        self._process.wait(30)
        return self.log


@pytest.mark.parametrize("options", [["--workers", "2"], ["--preload"], ["--preload", "--threads", "4"]], ids=" ".join)
def test_gunicorn(tmp_path: Path, options: list[str]) -> None:
    """Each worker opens after its fork, what still runs when it ends gets the grace period, and its record stands."""
    server = Gunicorn(tmp_path, *options)
    try:
        assert server.post("sync.completed", "msg_1") == (200, "ignored")
        assert server.post("sync.completed", "msg_1") == (200, "duplicate")
        consumed = server.post("sync.completed", "msg_2", "/read")
        assert server.post("sync.failed", "msg_3") == (503, "still_running")
    finally:
        log = server.end()
    assert consumed == (400, "malformed")
    assert "something before the receiver has consumed it" in log
    assert "Traceback" not in log
    assert len(list(tmp_path.glob("done-*"))) == 1
    again = Gunicorn(tmp_path)
    try:
        assert again.post("sync.failed", "msg_3") == (200, "duplicate")
    finally:
        again.end()


@pytest.fixture
def seen() -> list[Delivery]:
    return []


@pytest.fixture
def receiver(seen: list[Delivery]) -> Receiver:
    receiver = Receiver(secrets=SECRET, body_limits=BodyLimits(most_bytes=10_000))

    @receiver.on("sync.completed")
    async def handle(delivery: Delivery) -> None:
        seen.append(delivery)

    return receiver


@pytest.fixture
def airweave(receiver: Receiver) -> Iterator[WSGIReceiver]:
    airweave = WSGIReceiver(receiver)
    yield airweave
    airweave.close()


def environ(body: bytes = BODY, **changed: Any) -> dict[str, Any]:
    signed = {f"HTTP_{name.upper().replace('-', '_')}": value for name, value in sign(body).items()}
    there = {"REQUEST_METHOD": "POST", "CONTENT_LENGTH": str(len(body)), "CONTENT_TYPE": "application/json"}
    return {**there, **signed, "wsgi.input": BytesIO(body), **changed}


@pytest.fixture
def threads() -> Callable[[], set[str]]:
    """The names of our threads; other tests may have left some of theirs."""
    before = set(threading.enumerate())
    return lambda: {t.name for t in set(threading.enumerate()) - before if t.name.startswith("airweave-")}


def test_many_threads_open_it_once(
    threads: Callable[[], set[str]], receiver: Receiver, airweave: WSGIReceiver, seen: list[Delivery]
) -> None:
    """However many requests come first: one event loop, one opening, and one effect for each message."""

    def one(n: int) -> str:
        return airweave.answer(environ(HTTP_SVIX_ID="msg_1", unused=n)).outcome

    with concurrent.futures.ThreadPoolExecutor(16) as pool:
        outcomes = list(pool.map(one, range(64)))
    assert set(outcomes) <= {"processed", "in_progress", "duplicate"}
    assert len(seen) == 1
    assert threads() == {"airweave-loop", "airweave-leases"}
    airweave.close()
    assert threads() == set()
    assert not receiver.is_open
    airweave.close()


def test_closed_it_opens_again(airweave: WSGIReceiver, seen: list[Delivery]) -> None:
    """For tests of an application, which close it each time; its store is the same."""
    outcomes: list[str] = []
    for _ in range(2):
        outcomes.append(airweave.answer(environ()).outcome)
        airweave.close()
    assert (outcomes, len(seen)) == (["processed", "duplicate"], 1)


def test_a_store_that_is_away_is_asked_again(threads: Callable[[], set[str]]) -> None:
    """503 while it is, and no thread stays behind."""

    class Away(MemoryStore):
        away = True

        async def open(self) -> None:
            if self.away:
                raise StoreUnavailable("the store is away")
            await super().open()

    store = Away()
    airweave = WSGIReceiver(Receiver(secrets=SECRET, store=store))
    reply = airweave.answer(environ())
    assert (reply.status, reply.outcome) == (503, "unavailable")
    assert threads() == set()
    store.away = False
    assert airweave.answer(environ()).outcome == "ignored"
    airweave.close()


def test_no_secret(caplog: pytest.LogCaptureFixture) -> None:
    """503, and the log says what to set."""
    assert WSGIReceiver(Receiver()).answer(environ()).status == 503
    assert "set AIRWEAVE_WEBHOOK_SECRET" in caplog.text


def test_tenants() -> None:
    """A view of one's own names the tenant."""
    airweave = WSGIReceiver(Receiver(secrets={"acme": SECRET, "umbrella": OTHER_SECRET}.get))
    assert airweave.answer(environ(), "acme").status == 200
    assert airweave.answer(environ(), "umbrella").status == 401
    assert airweave.answer(environ(), "nobody").status == 401
    airweave.close()


@pytest.mark.filterwarnings("ignore:.* is multi-threaded, use of fork:DeprecationWarning")
def test_a_fork_opens_its_own(receiver: Receiver, airweave: WSGIReceiver) -> None:
    """A child of a process that is at work has neither its parent's loop nor its parent's lock."""
    assert airweave.answer(environ()).status == 200
    answers: Any = multiprocessing.get_context("fork").SimpleQueue()

    def child() -> None:
        answers.put(airweave.answer(environ(HTTP_SVIX_ID="other")).status)
        airweave.close()

    process = multiprocessing.get_context("fork").Process(target=child)
    process.start()
    process.join(20)
    assert (process.exitcode, answers.get()) == (0, 401)
    assert airweave.answer(environ()).outcome == "duplicate"


@pytest.mark.parametrize(
    ("changed", "status"),
    [
        ({"CONTENT_LENGTH": "1e3"}, 400),
        ({"CONTENT_LENGTH": "-1"}, 400),
        ({"CONTENT_LENGTH": "9" * 30}, 400),
        ({"CONTENT_LENGTH": "9" * 18}, 413),
        ({"CONTENT_LENGTH": str(len(BODY) + 1)}, 400),  # the client hung up
        ({"CONTENT_LENGTH": ""}, 401),  # no length, no body
        ({"CONTENT_LENGTH": "", "wsgi.input_terminated": True}, 200),
        ({"CONTENT_LENGTH": "", "wsgi.input_terminated": True, "wsgi.input": BytesIO(bytes(10_001))}, 413),
    ],
)
def test_lengths(airweave: WSGIReceiver, changed: dict[str, Any], status: int) -> None:
    """What the request says of its body is not believed further than it is read."""
    assert airweave.answer(environ(**changed)).status == status


def test_a_huge_body_is_not_read(airweave: WSGIReceiver) -> None:
    """No more than twice what is allowed, however much there is, and in pieces."""

    class Endless:
        read_bytes = 0

        def read(self, most: int) -> bytes:
            self.read_bytes += most
            return bytes(most)

    endless = Endless()
    assert airweave.answer(environ() | {"wsgi.input": endless, "CONTENT_LENGTH": str(10**12)}).status == 413
    assert endless.read_bytes <= 20_000


def test_retry_after(receiver: Receiver, airweave: WSGIReceiver) -> None:
    """A handler's wish reaches the sender."""

    @receiver.on("sync.failed")
    def later() -> None:
        raise Retry(after=33)

    body = payload("sync.failed")
    with serving_wsgi(airweave) as url:
        answer = httpx.post(url, content=body, headers=sign(body), trust_env=False)
    assert (answer.status_code, answer.headers["retry-after"]) == (503, "33")


def test_a_client_that_hangs_up_in_its_body(airweave: WSGIReceiver, caplog: pytest.LogCaptureFixture) -> None:
    """It ends at once: nothing waits, and nothing turns in circles."""
    with (
        serving_wsgi(airweave) as url,
        socket.create_connection(("127.0.0.1", int(url.rpartition(":")[2]))) as connection,
    ):
        fields = "".join(f"{name}: {value}\r\n" for name, value in sign(BODY).items())
        connection.sendall(f"POST / HTTP/1.0\r\n{fields}content-length: 5000\r\n\r\nabc".encode())
        connection.shutdown(socket.SHUT_WR)
        assert b" 400 " in connection.recv(1000)
    assert "3 of 5000 bytes were left of the body" in caplog.text
