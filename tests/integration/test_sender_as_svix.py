import asyncio
import json
import random
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from itertools import count
from typing import Any, Literal, TypeAlias

import httpx
import pytest

from airweave_webhooks import signing
from airweave_webhooks.testing import Sender

pytestmark = pytest.mark.anyio

SECRET = signing.generate_secret()
PAYLOAD = {"event_type": "sync.completed", "collection_name": "Ingénierie"}

# What the server does with a request: write these bytes, say nothing, or hang up.
Reply: TypeAlias = bytes | Literal["silence", "hang up"]


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


def answer(status: str, body: bytes = b"", *headers: str) -> bytes:
    head = "\r\n".join([f"HTTP/1.1 {status}", f"content-length: {len(body)}", *headers])
    return head.encode() + b"\r\n\r\n" + body


OK = answer("200 OK", b'{"status":"processed"}', "content-type: application/json")
ERROR = answer("500 Internal Server Error")


class Server:
    """A real HTTP/1.1 server of a few lines: each request gets the next reply, the last one from then on."""

    def __init__(self, *replies: Reply, byte_by_byte: bool = False) -> None:
        self.replies = list(replies)
        self.byte_by_byte = byte_by_byte
        self.requests: list[bytes] = []
        self.connections = 0
        self.closing = asyncio.Event()
        self.port = 0
        self.writers: list[asyncio.StreamWriter] = []

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/webhooks/airweave?team=a"

    async def start(self) -> None:
        self.listener = await asyncio.start_server(self.serve, "127.0.0.1", self.port)
        self.port = self.listener.sockets[0].getsockname()[1]

    def stop(self) -> None:
        self.listener.close()

    def drop_connections(self) -> None:
        for writer in self.writers:
            writer.transport.abort()

    def header(self, name: str) -> list[str]:
        return [headers(request)[name] for request in self.requests]

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        self.writers.append(writer)
        try:
            while not self.closing.is_set():
                head = await reader.readuntil(b"\r\n\r\n")
                body = await reader.readexactly(int(headers(head).get("content-length", 0)))
                self.requests.append(head + body)
                reply = self.replies.pop(0) if len(self.replies) > 1 else self.replies[0]
                if reply == "hang up":
                    break
                if reply == "silence":
                    await self.closing.wait()
                    break
                for piece in [reply[i : i + 1] for i in range(len(reply))] if self.byte_by_byte else [reply]:
                    writer.write(piece)
                    await writer.drain()
                    if self.byte_by_byte:
                        await asyncio.sleep(0.01)
                if b"connection: close" in reply:
                    break
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            writer.transport.abort()


def headers(request: bytes) -> dict[str, str]:
    lines = request.partition(b"\r\n\r\n")[0].decode().split("\r\n")[1:]
    return {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}


@asynccontextmanager
async def serving(*replies: Reply, byte_by_byte: bool = False) -> AsyncIterator[Server]:
    server = Server(*replies, byte_by_byte=byte_by_byte)
    await server.start()
    try:
        async with asyncio.timeout(10):
            yield server
    finally:
        server.closing.set()
        server.stop()


class Waits:
    """Notes the waits between attempts, and does not wait."""

    def __init__(self) -> None:
        self.seconds: list[float] = []

    async def __call__(self, seconds: float) -> None:
        self.seconds.append(seconds)


async def test_the_request_is_svix_s() -> None:
    """On the wire is a plain HTTP/1.1 POST with a length and the headers of Svix, and nothing else."""
    async with serving(OK) as server, Sender(server.url, secrets=SECRET) as sender:
        message = sender.message(PAYLOAD)
        attempt = await sender.attempt(message)
        assert (attempt.status, attempt.outcome, attempt.error) == (200, "processed", None)
        head, _, body = server.requests[0].partition(b"\r\n\r\n")
        assert head.startswith(b"POST /webhooks/airweave?team=a HTTP/1.1\r\n")
        assert body == json.dumps(PAYLOAD, separators=(",", ":"), ensure_ascii=False).encode()
        sent = headers(server.requests[0])
        assert sent["host"] == server.url.split("/")[2]
        assert sent["content-type"] == "application/json"
        assert sent["content-length"] == str(len(body))
        assert sent["user-agent"].startswith("Svix-Webhooks/1.100")
        assert sent["svix-id"] == message.id
        assert set(sent) == {
            "host",
            "accept",
            "content-type",
            "content-length",
            "user-agent",
            "svix-id",
            "svix-timestamp",
            "svix-signature",
        }
        envelope = signing.read_envelope(signing.raw_headers(sent))
        signing.check_signature(envelope, body, [signing.parse_key(SECRET)])
        signing.check_freshness(envelope, now=time.time(), tolerance=5)


async def test_a_failure_is_retried_until_it_succeeds() -> None:
    """500 and 410 are followed by an attempt with the same id and a new signature, 200 by none."""
    ticks = count(1_800_000_000)
    async with (
        serving(ERROR, answer("410 Gone"), OK) as server,
        Sender(server.url, secrets=SECRET, time_scale=0.0001, clock=lambda: next(ticks)) as sender,
    ):
        message = sender.message(PAYLOAD)
        result = await sender.deliver(message)
        assert result.succeeded
        assert [attempt.status for attempt in result.attempts] == [500, 410, 200]
        assert server.header("svix-id") == [message.id] * 3
        assert len(set(server.header("svix-timestamp"))) == 3
        assert len(set(server.header("svix-signature"))) == 3
        assert (await sender.deliver(message)).attempts == ()
        assert len(server.requests) == 3
        # One connection served it all, as with a sender that keeps connections alive.
        assert server.connections == 1


async def test_a_redirect_is_a_failure() -> None:
    """A 301 is retried at the same URL; its location is never asked."""
    redirect = answer("301 Moved Permanently", b"", "location: /elsewhere")
    waits = Waits()
    async with (
        serving(redirect, OK) as server,
        Sender(server.url, secrets=SECRET, sleep=waits) as sender,
    ):
        result = await sender.deliver(sender.message(PAYLOAD))
        assert [attempt.status for attempt in result.attempts] == [301, 200]
        assert len(waits.seconds) == 1
        assert all(request.startswith(b"POST /webhooks/airweave?team=a ") for request in server.requests)


async def test_silence_is_a_time_out() -> None:
    """No headers in time fails the attempt, is not repeated at once, and the retry waits a minute."""
    waits = Waits()
    async with (
        serving("silence", OK) as server,
        Sender(server.url, secrets=SECRET, timeout=0.05, time_scale=0.01, sleep=waits) as sender,
    ):
        result = await sender.deliver(sender.message(PAYLOAD))
        assert [(attempt.status, attempt.error) for attempt in result.attempts] == [
            (None, "timeout"),
            (200, None),
        ]
        assert 0.05 <= result.attempts[0].seconds < 10
        assert waits.seconds == pytest.approx([0.6])
        assert len(server.requests) == 2
        assert (sender.statistics.timeouts, sender.statistics.connection_breaks) == (1, 0)


async def test_headers_that_trickle_in_are_a_time_out() -> None:
    """The limit counts for all of the headers: a byte now and then does not extend it."""
    async with (
        serving(OK, byte_by_byte=True) as server,
        Sender(server.url, secrets=SECRET, timeout=0.1) as sender,
    ):
        attempt = await sender.attempt(sender.message(PAYLOAD))
        assert attempt.error == "timeout"
        assert 0.1 <= attempt.seconds < 10


async def test_only_the_sender_s_own_limit_counts() -> None:
    """A given client's limits on single reads do not end a request that the sender still waits for."""
    async with (
        serving(answer("200 OK"), byte_by_byte=True) as server,
        httpx.AsyncClient(timeout=0.005, trust_env=False) as client,
        Sender(server.url, secrets=SECRET, client=client) as sender,
    ):
        attempt = await sender.attempt(sender.message(PAYLOAD))
        assert (attempt.status, attempt.error) == (200, None)


async def test_a_broken_connection_gets_the_identical_request_again() -> None:
    """A connection that is closed without an answer is followed at once by the same bytes, in one attempt."""
    ticks = count(1_800_000_000)
    async with (
        serving("hang up", OK) as server,
        Sender(server.url, secrets=SECRET, clock=lambda: next(ticks)) as sender,
    ):
        attempt = await sender.attempt(sender.message(PAYLOAD))
        assert attempt.succeeded
        first, second = server.requests
        assert first == second
        assert (sender.statistics.attempts, sender.statistics.connection_breaks) == (1, 1)


async def test_a_connection_that_always_breaks_exhausts_the_schedule() -> None:
    """The repetition happens once per attempt; every attempt fails and nothing is raised."""
    async with (
        serving("hang up") as server,
        Sender(server.url, secrets=SECRET, schedule=[1, 1], time_scale=0) as sender,
    ):
        result = await sender.deliver(sender.message(PAYLOAD))
        assert not result.succeeded
        assert [attempt.error for attempt in result.attempts] == ["connection"] * 3
        assert len(server.requests) == 6
        assert sender.statistics.exhausted == 1


async def test_a_server_that_is_down_is_a_failure_until_it_is_back() -> None:
    """A refused connection is retried on the schedule, and the delivery succeeds when somebody listens."""
    async with serving(OK) as server:
        server.stop()

        async def come_back(seconds: float) -> None:
            await server.start()

        async with Sender(server.url, secrets=SECRET, sleep=come_back) as sender:
            assert await sender.probe() is None
            result = await sender.deliver(sender.message(PAYLOAD))
        assert [(attempt.status, attempt.error) for attempt in result.attempts] == [
            (None, "connection"),
            (200, None),
        ]
        assert len(server.requests) == 1


async def test_a_connection_that_the_server_dropped_costs_no_attempt() -> None:
    """A restart of the server between two messages closes the kept connection; the next attempt succeeds."""
    async with serving(OK) as server, Sender(server.url, secrets=SECRET) as sender:
        assert (await sender.attempt(sender.message(PAYLOAD))).succeeded
        server.drop_connections()
        assert (await sender.attempt(sender.message(PAYLOAD))).succeeded
        assert server.connections == 2
        assert len(server.requests) == 2


async def test_a_body_that_breaks_does_not_undo_the_success() -> None:
    """After the headers of a 200 the verdict stands, even if the connection dies in the body."""
    cut = b"HTTP/1.1 200 OK\r\ncontent-length: 100\r\nconnection: close\r\n\r\n{"
    async with serving(cut) as server, Sender(server.url, secrets=SECRET) as sender:
        attempt = await sender.attempt(sender.message(PAYLOAD))
        assert (attempt.status, attempt.outcome, attempt.succeeded) == (200, None, True)


async def test_a_body_that_never_ends_is_given_up() -> None:
    """An answer whose body stalls or goes on for ever holds the sender no longer than its time-out."""
    stalled = b"HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\n{"
    endless = b"HTTP/1.1 500 Oh\r\ncontent-length: 9000000\r\n\r\n" + b" " * 200_000
    async with (
        serving(stalled, endless, OK) as server,
        Sender(server.url, secrets=SECRET, timeout=0.1) as sender,
    ):
        attempts = [await sender.attempt(sender.message(PAYLOAD)) for _ in range(3)]
        assert [attempt.status for attempt in attempts] == [200, 500, 200]
        assert [attempt.outcome for attempt in attempts] == [None, None, "processed"]


async def test_retry_after_delays_the_next_attempt() -> None:
    """A `Retry-After` on a 503 moves the next attempt, up to twice the step."""
    waits = Waits()
    refusals = [answer("503 Busy", b"", f"retry-after: {value}") for value in ("8", "3600")]
    async with (
        serving(*refusals, OK) as server,
        Sender(server.url, secrets=SECRET, schedule=[5, 5], sleep=waits) as sender,
    ):
        result = await sender.deliver(sender.message(PAYLOAD))
        assert result.succeeded
        assert waits.seconds == pytest.approx([8, 10])


async def test_the_waits_are_real_and_scaled() -> None:
    """Without an injected sleep the sender really waits: 5 s and 300 s at a scale of 1/1000."""
    async with (
        serving(ERROR, ERROR, OK) as server,
        Sender(server.url, secrets=SECRET, time_scale=0.001, rng=random.Random(1)) as sender,
    ):
        started = time.perf_counter()
        result = await sender.deliver(sender.message(PAYLOAD))
        assert result.succeeded
        assert 0.8 * 0.305 <= time.perf_counter() - started < 30


@pytest.mark.parametrize("slow", [False, True])
async def test_the_probe_takes_any_answer(slow: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """`probe` is a `HEAD`; a redirect is an answer like any other, and silence ends with its own limit."""
    if slow:
        monkeypatch.setattr("airweave_webhooks.testing.wire.PROBE_TIMEOUT", 0.05)
    redirect = b"HTTP/1.1 307 Temporary Redirect\r\nlocation: /x/\r\ncontent-length: 0\r\n\r\n"
    async with (
        serving("silence" if slow else redirect) as server,
        Sender(server.url, secrets=SECRET) as sender,
    ):
        assert await sender.probe() == (None if slow else 307)
        (request,) = server.requests
        assert request.startswith(b"HEAD /webhooks/airweave?team=a HTTP/1.1\r\n")
        assert b"svix" not in request


async def test_proxies_of_the_environment_are_ignored(monkeypatch: pytest.MonkeyPatch) -> None:
    """A proxy variable that leads nowhere does not come between the sender and its endpoint."""
    for name in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    for name in ("no_proxy", "NO_PROXY"):
        monkeypatch.delenv(name, raising=False)
    async with serving(OK) as server, Sender(server.url, secrets=SECRET) as sender:
        assert (await sender.attempt(sender.message(PAYLOAD))).succeeded
        assert await sender.probe() == 200


async def test_many_messages_out_of_order() -> None:
    """200 messages arrive complete and shuffled, and the failed ones among them are retried to success."""
    replies: list[Reply] = [ERROR, "hang up", answer("503 Busy", b"", "retry-after: 1")] * 10
    async with (
        serving(*replies, OK) as server,
        Sender(server.url, secrets=SECRET, time_scale=0.0001, rng=random.Random(5)) as sender,
    ):
        messages = [sender.message(PAYLOAD | {"number": number}) for number in range(200)]
        results = await sender.send_all(messages, concurrency=50, shuffle=True)
        assert [result.message for result in results] == messages
        assert all(result.succeeded for result in results)
        assert set(server.header("svix-id")) == {message.id for message in messages}
        assert server.header("svix-id")[:200] != [message.id for message in messages]
        counted: dict[str, Any] = sender.statistics.as_dict()
        assert counted["successes"] == counted["statuses"][200] == 200
        assert counted["connection_breaks"] == 10
        assert counted["duplicates"] == len(server.requests) - 200 == 30


async def test_copies_travel_on_connections_of_their_own() -> None:
    """`concurrent` has all copies open at the same time on the server."""
    async with (
        serving("silence") as server,
        Sender(server.url, secrets=SECRET, timeout=0.2) as sender,
    ):
        attempts = await sender.concurrent(sender.message(PAYLOAD), 8)
        assert [attempt.error for attempt in attempts] == ["timeout"] * 8
        assert server.connections == 8
        assert len(set(server.header("svix-id"))) == 1
