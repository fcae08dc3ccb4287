"""What strangers may send: bodies that are long, slow, broken off, or too many."""

import asyncio
import contextlib
import gc
import tracemalloc
from collections.abc import AsyncIterator
from typing import Any

import pytest

from airweave_webhooks import BodyLimits, Delivery, Receiver, SyncCompleted
from airweave_webhooks.bodies import BodyReader
from airweave_webhooks.errors import BodyTooSlow
from airweave_webhooks.testing.payloads import payload
from conftest import SECRET, sign
from serving import Served, serving

pytestmark = pytest.mark.anyio

BODY = payload("sync.completed")
LIMITS = BodyLimits(most_bytes=100_000, most_bytes_in_flight=150_000, read_within=0.6)


@pytest.fixture
def seen() -> list[str]:
    return []


@pytest.fixture
def receiver(seen: list[str]) -> Receiver:
    receiver = Receiver(secrets=SECRET, body_limits=LIMITS)

    @receiver.on("sync.completed")
    async def handle(event: SyncCompleted, delivery: Delivery) -> None:
        seen.append(delivery.id)

    return receiver


@pytest.fixture(params=["httptools", "h11"])
async def served(receiver: Receiver, request: pytest.FixtureRequest) -> AsyncIterator[Served]:
    async with serving(receiver, http=request.param) as served:
        yield served


def head(*lines: str, **signing: Any) -> bytes:
    fields = [f"{name}: {value}" for name, value in sign(BODY, **signing).items()]
    return "\r\n".join(["POST / HTTP/1.1", "host: test", *fields, *lines, "", ""]).encode()


async def test_a_chunked_body_is_read(served: Served, seen: list[str]) -> None:
    """The sender always says how long its body is, but proxies re-chunk."""

    async def chunks() -> AsyncIterator[bytes]:
        for start in range(0, len(BODY), 100):
            yield BODY[start : start + 100]
            await asyncio.sleep(0)

    answer = await served.client.post("/", content=chunks(), headers=sign(BODY))
    assert (answer.json(), seen) == ({"status": "processed"}, ["msg_1"])


async def test_a_body_that_says_it_is_too_long_is_not_read(served: Served) -> None:
    """413 comes before a byte of the body does, and the connection ends."""
    answer = await served.raw(head("content-length: 100001"))
    assert answer.startswith(b"HTTP/1.1 413 ")
    assert answer.endswith(b'{"status":"too_large"}')


async def test_a_body_that_does_not_say_so_is_cut_off(served: Served) -> None:
    """An endless chunked body is read no further than the limit: the server hangs up on it."""
    reader, writer = await asyncio.open_connection("127.0.0.1", served.port)
    writer.write(head("transfer-encoding: chunked"))
    chunk = b"8000\r\n" + b"x" * 0x8000 + b"\r\n"
    sent = 0
    with contextlib.suppress(ConnectionError):
        for _ in range(1000):
            writer.write(chunk)
            await writer.drain()
            sent += len(chunk)
    with contextlib.suppress(ConnectionError):
        assert (await asyncio.wait_for(reader.read(), 10)).startswith(b"HTTP/1.1 413 ")
    writer.close()
    assert sent < 1000 * len(chunk)


async def test_a_body_over_the_limit_does_not_grow_memory(receiver: Receiver) -> None:
    """A hundred endless bodies at once are held to what their connections buffer."""

    async def receive() -> dict[str, Any]:
        await asyncio.sleep(0)
        return {"type": "http.request", "body": bytes(10_000), "more_body": True}

    async def send(_: Any) -> None: ...

    headers = [(name.encode(), value.encode()) for name, value in sign(BODY).items()]
    scope = {"type": "http", "method": "POST", "headers": headers}
    async with receiver:
        await receiver(scope, receive, send)
        gc.collect()
        tracemalloc.start()
        await asyncio.gather(*[receiver(scope, receive, send) for _ in range(100)])
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
    assert peak < 1_500_000  # without a bound it would be 100 times 100,000 bytes


async def test_a_sender_that_stalls_is_cut_off(served: Served, seen: list[str]) -> None:
    """Half a body, then silence: 408 at the read deadline, and the connection ends."""
    started = asyncio.get_running_loop().time()
    answer = await served.raw(head(f"content-length: {len(BODY)}") + BODY[:100])
    took = asyncio.get_running_loop().time() - started
    assert answer.startswith(b"HTTP/1.1 408 ")
    assert answer.endswith(b'{"status":"too_slow"}')
    assert 0.5 < took < 5
    assert seen == []


async def test_a_sender_that_trickles_is_cut_off(served: Served) -> None:
    """A byte now and then does not extend the deadline."""
    reader, writer = await asyncio.open_connection("127.0.0.1", served.port)
    writer.write(head(f"content-length: {len(BODY)}"))
    answered = asyncio.create_task(reader.read())
    for byte in BODY[:100]:
        if answered.done():
            break
        writer.write(bytes([byte]))
        await asyncio.sleep(0.05)
    # What is still on its way when the server hangs up can cost the answer: then the reset is the cut.
    with contextlib.suppress(ConnectionResetError):
        assert (await asyncio.wait_for(answered, 10)).startswith(b"HTTP/1.1 408 ")
    assert answered.done()
    writer.close()


async def test_a_client_that_hangs_up_in_its_body_leaves_nothing(served: Served, seen: list[str]) -> None:
    """There is nobody to answer, nothing to handle, and the room that it had is free again."""
    for _ in range(5):
        _, writer = await asyncio.open_connection("127.0.0.1", served.port)
        writer.write(head("content-length: 90000") + b"x" * 1000)
        await writer.drain()
        writer.close()
        await writer.wait_closed()
    answer = await served.client.post("/", content=BODY, headers=sign(BODY))
    assert (answer.json(), seen) == ({"status": "processed"}, ["msg_1"])


async def test_bodies_in_flight_wait_for_room(served: Served, seen: list[str]) -> None:
    """While a large body fills the room, the next one waits, and gets 408 rather than a 5xx if it waits too long."""
    _, hog = await asyncio.open_connection("127.0.0.1", served.port)
    hog.write(head("content-length: 100000"))
    await hog.drain()
    await asyncio.sleep(0.1)
    waiting = asyncio.create_task(served.raw(head("content-length: 99999", "connection: close") + bytes(99_999)))
    small = await served.raw(head(f"content-length: {len(BODY)}", "connection: close") + BODY)
    assert small.startswith((b"HTTP/1.1 408 ", b"HTTP/1.1 200 "))
    assert (await waiting).split(b" ", 2)[1] in {b"408", b"401"}
    hog.close()
    answer = await served.client.post("/", content=BODY, headers=sign(BODY, message_id="msg_2"))
    assert answer.status_code == 200
    assert seen[-1] == "msg_2"


async def silent() -> dict[str, Any]:
    """A body that never comes."""
    await asyncio.Event().wait()
    raise AssertionError


async def whole() -> dict[str, Any]:
    """A body that is there at once."""
    return {"type": "http.request", "body": b"x"}


async def test_one_that_is_late_makes_room_for_nobody_who_is_late_as_well() -> None:
    """Who fills the room and who waits for it are cut off at one moment: 408 for both, and the room is free."""
    loop = asyncio.get_running_loop()
    reader = BodyReader(BodyLimits(most_bytes=100, most_bytes_in_flight=150, read_within=0.05), loop)
    started = loop.time()
    late = await asyncio.gather(*[reader.read(100, silent, started) for _ in range(3)], return_exceptions=True)
    assert list(map(type, late)) == [BodyTooSlow] * 3
    async with asyncio.timeout(10):
        assert await reader.read(100, whole, loop.time()) == b"x"


async def test_one_that_waits_no_longer_keeps_nobody_waiting() -> None:
    """What is small enough for the room that is left comes in as soon as the larger one before it gives up."""
    loop = asyncio.get_running_loop()
    reader = BodyReader(BodyLimits(most_bytes=100, most_bytes_in_flight=150, read_within=60), loop)
    hog, large = (asyncio.create_task(reader.read(100, silent, loop.time())) for _ in range(2))
    small = asyncio.create_task(reader.read(50, whole, loop.time()))
    await asyncio.sleep(0)
    assert not small.done()
    large.cancel()
    async with asyncio.timeout(10):
        assert await small == b"x"
    hog.cancel()
    await asyncio.gather(hog, large, return_exceptions=True)


async def test_a_client_that_hangs_up_cancels_nothing(receiver: Receiver) -> None:
    """The handler finishes, and the retry finds it done."""
    started, finish, finished = asyncio.Event(), asyncio.Event(), asyncio.Event()

    @receiver.on("sync.failed")
    async def slow() -> None:
        started.set()
        await finish.wait()
        finished.set()

    body = payload("sync.failed")
    async with serving(receiver) as served:
        _, writer = await asyncio.open_connection("127.0.0.1", served.port)
        fields = "".join(f"{name}: {value}\r\n" for name, value in sign(body).items())
        writer.write(f"POST / HTTP/1.1\r\nhost: t\r\ncontent-length: {len(body)}\r\n{fields}\r\n".encode() + body)
        await started.wait()
        writer.close()
        await writer.wait_closed()
        busy = await served.client.post("/", content=body, headers=sign(body))
        assert busy.json() == {"status": "in_progress"}
        finish.set()
        await asyncio.wait_for(finished.wait(), 5)
        again = await served.client.post("/", content=body, headers=sign(body))
        assert again.json() == {"status": "duplicate"}


async def test_a_cancelled_request_cancels_nothing(receiver: Receiver) -> None:
    """Some servers and middlewares cancel the request's task when the client goes; the work goes on."""
    started, finish = asyncio.Event(), asyncio.Event()

    @receiver.on("sync.failed")
    async def slow() -> None:
        started.set()
        await finish.wait()

    body = payload("sync.failed")
    async with receiver:
        request = asyncio.create_task(receiver.handle(sign(body), body))
        await started.wait()
        request.cancel()
        with pytest.raises(asyncio.CancelledError):
            await request
        finish.set()
        await asyncio.sleep(0.01)
        assert (await receiver.handle(sign(body), body)).outcome == "duplicate"


@pytest.mark.parametrize("length", ["-1", "1e3", "ten", "1" * 30, "+5"])
async def test_a_content_length_that_is_no_number(receiver: Receiver, length: str) -> None:
    """A server lets such a thing through at most by mistake; it is refused and not guessed."""
    sent: list[Any] = []

    async def receive() -> dict[str, Any]:
        raise AssertionError("the body must not be read")

    async def send(message: Any) -> None:
        sent.append(message)

    headers = [(name.encode(), value.encode()) for name, value in (sign(BODY) | {"content-length": length}).items()]
    async with receiver:
        await receiver({"type": "http", "method": "POST", "headers": headers}, receive, send)
    assert sent[0]["status"] == 400


@pytest.mark.parametrize(
    "wrong", [{"most_bytes": 0}, {"most_bytes": 10, "most_bytes_in_flight": 9}, {"read_within": 0}]
)
def test_limits_that_cannot_work(wrong: dict[str, Any]) -> None:
    """A limit of nothing would refuse everything."""
    with pytest.raises(ValueError, match="BodyLimits"):
        BodyLimits(**wrong)
