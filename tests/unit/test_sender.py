import asyncio
import importlib.util
import json
import random
import re
import subprocess
import sys
import time
from base64 import b64decode, b64encode
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from itertools import count
from typing import Any, Literal

import httpx
import pytest
import standardwebhooks
import svix
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from airweave_webhooks import signing, testing
from airweave_webhooks.errors import ConfigurationError, SecretError, Unauthorized
from airweave_webhooks.testing import Attempt, Sender, Statistics, wire
from airweave_webhooks.testing.schedule import RETRY_SCHEDULE, read_retry_after, retry_delay

pytestmark = pytest.mark.anyio

URL = "http://receiver.test/webhooks/airweave"
SECRET = signing.generate_secret()
PAYLOAD = {"event_type": "sync.failed", "collection_name": "Ingénierie ☃", "error": None}
DAY = 24 * 3600.0


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


class Endpoint:
    """Answers with each of `replies` in turn and the last one from then on; keeps what came."""

    def __init__(self, *replies: int | httpx.Response | Exception) -> None:
        self.replies = list(replies)
        self.requests: list[httpx.Request] = []

    async def __call__(self, request: httpx.Request) -> httpx.Response:
        self.requests.append(request)
        reply = self.replies.pop(0) if len(self.replies) > 1 else self.replies[0]
        if isinstance(reply, Exception):
            raise reply
        return httpx.Response(reply) if isinstance(reply, int) else reply

    def header(self, name: str) -> list[str]:
        return [request.headers[name] for request in self.requests]


class Time:
    """A clock that only sleeping moves."""

    def __init__(self) -> None:
        self.now = 1_800_000_000.25
        self.sleeps: list[float] = []

    def __call__(self) -> float:
        return self.now

    async def sleep(self, seconds: float) -> None:
        self.sleeps.append(seconds)
        self.now += seconds


def make_sender(endpoint: Callable[[httpx.Request], Any], **options: Any) -> Sender:
    now = options.pop("time", None) or Time()
    options.setdefault("secrets", SECRET)
    options.setdefault("clock", now)
    options.setdefault("sleep", now.sleep)
    client = httpx.AsyncClient(transport=httpx.MockTransport(endpoint))
    return Sender(URL, client=client, **options)


def check(request: httpx.Request, *secrets: str) -> None:
    """Verify a request with this package's own code."""
    envelope = signing.read_envelope(signing.raw_headers(request.headers.multi_items()))
    signing.check_signature(envelope, request.content, [signing.parse_key(text) for text in secrets])


# The schedule


def test_each_wait_is_within_a_fifth_of_its_step() -> None:
    """The jitter fills the range of ±20 % and never leaves it."""
    rng = random.Random(1)
    delays = [retry_delay(100.0, rng) for _ in range(2000)]
    assert 80 <= min(delays) < 82
    assert 118 < max(delays) <= 120


@pytest.mark.parametrize(
    ("retry_after", "least", "most"),
    [(0.0, 80, 120), (60.0, 80, 120), (150.0, 150, 150), (200.0, 200, 200), (10_000.0, 200, 200)],
)
def test_retry_after_only_delays_and_at_most_to_twice_the_step(retry_after: float, least: float, most: float) -> None:
    """A `Retry-After` below the wait changes nothing, above it counts, and it is capped."""
    for seed in range(200):
        assert least <= retry_delay(100.0, random.Random(seed), retry_after=retry_after) <= most


def test_a_time_out_is_followed_by_a_minute_at_least() -> None:
    """After a time-out the 5 s step becomes 60 s, and a longer step stays as it is."""
    for seed in range(200):
        assert retry_delay(5.0, random.Random(seed), timed_out=True) == 60
        assert 240 <= retry_delay(300.0, random.Random(seed), timed_out=True) <= 360


@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        ("120", 120),
        ("120.1", 121),
        ("-3", 0),
        ("Wed, 21 Oct 2015 07:28:10 GMT", 10),
        ("Wed, 21 Oct 2015 07:28:10 -0000", 10),
        ("Wed, 21 Oct 2015 07:27:00 GMT", 0),
        ("soon", None),
        ("", None),
        ("nan", None),
        ("inf", None),
    ],
)
def test_retry_after_is_seconds_or_a_date(value: str, seconds: float | None) -> None:
    """Both forms are read, and what cannot be read asks for nothing."""
    assert read_retry_after(value, now=1_445_412_480.0) == seconds


@pytest.mark.skipif(not hasattr(time, "tzset"), reason="the zone of a process cannot be set here")
def test_a_date_is_utc_wherever_the_sender_runs(monkeypatch: pytest.MonkeyPatch) -> None:
    """A date without a zone of its own is not read as local time."""
    with monkeypatch.context() as patch:
        patch.setenv("TZ", "Asia/Tokyo")
        time.tzset()
        seconds = read_retry_after("Wed, 21 Oct 2015 07:28:10 -0000", now=1_445_412_480.0)
    time.tzset()
    assert seconds == 10


async def test_eight_attempts_take_about_28_hours() -> None:
    """A receiver that always fails gets 8 attempts, each wait within ±20 % of the documented one."""
    endpoint, time = Endpoint(500), Time()
    sender = make_sender(endpoint, time=time)
    result = await sender.deliver(sender.message(PAYLOAD))
    assert not result.succeeded
    assert [attempt.status for attempt in result.attempts] == [500] * 8
    steps = [5, 300, 1800, 7200, 18000, 36000, 36000]
    assert list(RETRY_SCHEDULE) == steps
    assert all(0.8 * step <= wait <= 1.2 * step for wait, step in zip(time.sleeps, steps, strict=True))
    assert result.attempts[-1].sent_at - result.attempts[0].sent_at == pytest.approx(sum(time.sleeps))


async def test_time_scale_and_schedule_can_be_set() -> None:
    """A custom schedule decides how many attempts there are, and every wait is scaled."""
    time = Time()
    sender = make_sender(Endpoint(500), time=time, schedule=[10, 20], time_scale=0.001)
    result = await sender.deliver(sender.message(PAYLOAD))
    assert len(result.attempts) == 3
    assert 0.008 <= time.sleeps[0] <= 0.012
    assert 0.016 <= time.sleeps[1] <= 0.024


async def test_retry_after_moves_the_next_delivery_scaled() -> None:
    """A failure's `Retry-After` moves the next attempt, capped and scaled like the schedule."""
    time = Time()
    refusals = [httpx.Response(503, headers={"retry-after": value}) for value in ("9", "3600")]
    sender = make_sender(Endpoint(*refusals, 200), time=time, schedule=[5, 5], time_scale=0.1)
    result = await sender.deliver(sender.message(PAYLOAD))
    assert time.sleeps == pytest.approx([0.9, 1.0])
    assert [attempt.retry_after for attempt in result.attempts] == [9, 3600, None]


async def test_a_time_out_moves_the_next_delivery_scaled() -> None:
    """The minute after a time-out is scaled like the schedule."""
    time = Time()
    sender = make_sender(Endpoint(httpx.ReadTimeout("slow"), 200), time=time, time_scale=0.5)
    result = await sender.deliver(sender.message(PAYLOAD))
    assert time.sleeps == [30]
    assert [attempt.error for attempt in result.attempts] == ["timeout", None]


@pytest.mark.parametrize("status", [100, 301, 304, 400, 409, 410, 429, 500, 503])
async def test_only_2xx_is_success(status: int) -> None:
    """Every status outside 200 to 299 is retried, 410 Gone and redirects included."""
    sender = make_sender(Endpoint(status, 299))
    result = await sender.deliver(sender.message(PAYLOAD))
    assert [attempt.status for attempt in result.attempts] == [status, 299]
    assert [attempt.succeeded for attempt in result.attempts] == [False, True]


async def test_what_succeeded_is_never_scheduled_again() -> None:
    """A 2xx ends the delivery for good: a second `deliver` sends nothing."""
    endpoint = Endpoint(204)
    sender = make_sender(endpoint)
    message = sender.message(PAYLOAD)
    assert (await sender.deliver(message)).succeeded
    again = await sender.deliver(message)
    assert again.succeeded
    assert again.attempts == ()
    assert len(endpoint.requests) == 1


async def test_a_resend_that_succeeds_ends_the_schedule() -> None:
    """When a manual resend succeeds between two scheduled attempts, the rest of the schedule is dropped."""
    endpoint = Endpoint(500, 200)

    async def resend_meanwhile(seconds: float) -> None:
        await sender.resend(message.id)

    sender = make_sender(endpoint, sleep=resend_meanwhile)
    message = sender.message(PAYLOAD)
    result = await sender.deliver(message)
    assert result.succeeded
    assert [attempt.status for attempt in result.attempts] == [500]
    assert endpoint.header("svix-id") == [message.id] * 2


# Messages and signatures


def test_ids_look_like_svix_ids() -> None:
    """Ids are `msg_` and 27 base62 characters, unique, and reproducible from the seed."""
    sender = make_sender(Endpoint(200), rng=random.Random(7))
    ids = [sender.message(PAYLOAD).id for _ in range(1000)]
    assert all(re.fullmatch(r"msg_[0-9A-Za-z]{27}", id_) for id_ in ids)
    assert len(set(ids)) == 1000
    assert make_sender(Endpoint(200), rng=random.Random(7)).message(PAYLOAD).id == ids[0]
    assert make_sender(Endpoint(200)).message(PAYLOAD).id != make_sender(Endpoint(200)).message(PAYLOAD).id


def test_bodies_are_compact_utf8_or_verbatim() -> None:
    """A mapping becomes compact UTF-8 JSON in its own order, bytes are kept, and an id can be given."""
    sender = make_sender(Endpoint(200))
    expected = '{"event_type":"sync.failed","collection_name":"Ingénierie ☃","error":null}'
    assert sender.message(PAYLOAD).body == expected.encode()
    message = sender.message(b'{ "a": 1 }\n\xff', id="msg_chosen")
    assert (message.id, message.body) == ("msg_chosen", b'{ "a": 1 }\n\xff')
    assert message.created == 1_800_000_000.25


@pytest.mark.parametrize("family", ["svix", "webhook"])
async def test_both_libraries_and_ours_verify(family: Literal["svix", "webhook"]) -> None:
    """Requests of either family pass the independent libraries that know the family, and our own check."""
    endpoint = Endpoint(200)
    # The libraries compare with the real time.
    sender = make_sender(endpoint, family=family, clock=time.time)
    await sender.attempt(sender.message(PAYLOAD))
    (request,) = endpoint.requests
    assert {name for name in request.headers if name.startswith(("svix-", "webhook-"))} == {
        f"{family}-id",
        f"{family}-timestamp",
        f"{family}-signature",
    }
    check(request, SECRET)
    headers = dict(request.headers)
    svix.Webhook(SECRET).verify(request.content, headers)
    # `standardwebhooks` reads `webhook-*` alone: it gets the svix headers under those names.
    renamed = {name.replace("svix-", "webhook-"): value for name, value in headers.items()}
    assert standardwebhooks.Webhook(SECRET).verify(request.content, renamed) == PAYLOAD
    with pytest.raises(standardwebhooks.WebhookVerificationError):
        standardwebhooks.Webhook(signing.generate_secret()).verify(request.content, renamed)


async def test_the_known_good_vector_comes_out() -> None:
    """Id, timestamp and body of the Standard Webhooks example give its published signature."""
    endpoint = Endpoint(200)
    sender = make_sender(endpoint, secrets="whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw")
    message = sender.message(b'{"test": 2432232314}', id="msg_p5jXN8AQM9LWM0D4loKWxJek")
    await sender.attempt(message, timestamp=1614265330)
    assert endpoint.header("svix-signature") == ["v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="]


async def test_private_keys_sign_v1a() -> None:
    """A `whsk_…` key gives a `v1a` token that `cryptography` verifies with the public key alone."""
    seed = bytes(range(32))
    text = b64encode(seed).decode()
    endpoint = Endpoint(200)
    sender = make_sender(endpoint, secrets=[f"whsk_{text}", SECRET])
    message = sender.message(PAYLOAD)
    await sender.attempt(message)
    (request,) = endpoint.requests
    asymmetric, symmetric = request.headers["svix-signature"].split(" ")
    assert symmetric.startswith("v1,")
    version, _, signature = asymmetric.partition(",")
    assert version == "v1a"
    public = Ed25519PrivateKey.from_private_bytes(seed).public_key()
    public.verify(b64decode(signature), f"{message.id}.1800000000.".encode() + message.body)
    check(request, signing.PrivateKey(f"whsk_{text}").public)
    check(request, SECRET)


async def test_every_attempt_is_signed_anew_under_one_id() -> None:
    """Retries, resends and recovery keep the id and body; timestamp and signature are those of the moment."""
    endpoint, time = Endpoint(500), Time()
    sender = make_sender(endpoint, time=time, schedule=[60])
    message = sender.message(PAYLOAD)
    await sender.deliver(message)
    time.now += 60
    await sender.resend(message.id)
    time.now += 60
    await sender.recover()
    assert endpoint.header("svix-id") == [message.id] * 4
    assert {request.content for request in endpoint.requests} == {message.body}
    assert len(set(endpoint.header("svix-timestamp"))) == 4
    assert endpoint.header("svix-timestamp")[0] == "1800000000"
    assert len(set(endpoint.header("svix-signature"))) == 4
    for request in endpoint.requests:
        check(request, SECRET)


async def test_a_rotation_signs_with_the_kept_secrets_too() -> None:
    """After `rotate` there is one token per live secret, the newest first, and dropped ones do not sign."""
    first, second, third = (signing.generate_secret() for _ in range(3))
    endpoint = Endpoint(200)
    sender = make_sender(endpoint, secrets=first)
    await sender.attempt(sender.message(PAYLOAD))
    sender.rotate(second)
    await sender.attempt(sender.message(PAYLOAD))
    sender.rotate(third, keep=1)
    await sender.attempt(sender.message(PAYLOAD))
    sender.rotate(signing.generate_secret(), keep=0)
    await sender.attempt(sender.message(PAYLOAD))
    before, during, after, alone = endpoint.requests
    assert [value.count("v1,") for value in endpoint.header("svix-signature")] == [1, 2, 2, 1]
    check(before, first)
    check(during, first)
    check(during, second)
    check(after, second)
    check(after, third)
    for request, retired in [(after, first), (alone, third)]:
        with pytest.raises(Unauthorized):
            check(request, retired)
    # Newest first: the library that signs with one secret gives the first token.
    sent = datetime.fromtimestamp(int(during.headers["svix-timestamp"]), UTC)
    token = svix.Webhook(second).sign(during.headers["svix-id"], sent, during.content.decode())
    assert during.headers["svix-signature"].split(" ")[0] == token


async def test_no_more_than_eleven_secrets_are_live() -> None:
    """The twelfth secret pushes the oldest out."""
    secrets = [signing.generate_secret() for _ in range(12)]
    endpoint = Endpoint(200)
    sender = make_sender(endpoint, secrets=secrets[0])
    for secret in secrets[1:]:
        sender.rotate(secret)
    await sender.attempt(sender.message(PAYLOAD))
    (request,) = endpoint.requests
    assert len(request.headers["svix-signature"].split(" ")) == 11
    for secret in secrets[1:]:
        check(request, secret)
    with pytest.raises(Unauthorized):
        check(request, secrets[0])


@pytest.mark.parametrize("keep", [-1, 11])
def test_rotate_refuses_an_impossible_keep(keep: int) -> None:
    """`keep` outside 0 to 10 is refused, and the secrets stay as they were."""
    sender = make_sender(Endpoint(200))
    with pytest.raises(ValueError, match="0 to 10"):
        sender.rotate(signing.generate_secret(), keep=keep)
    assert len(sender._signers) == 1


# Wrong on purpose


async def test_another_body_breaks_the_signature() -> None:
    """`attempt(body=…)` sends bytes that were not signed, once: the message itself is unharmed."""
    endpoint = Endpoint(200)
    sender = make_sender(endpoint)
    message = sender.message(PAYLOAD)
    await sender.attempt(message, body=b'{"event_type":"sync.completed"}')
    await sender.attempt(message)
    forged, honest = endpoint.requests
    assert forged.content == b'{"event_type":"sync.completed"}'
    with pytest.raises(Unauthorized):
        check(forged, SECRET)
    check(honest, SECRET)


async def test_an_empty_body_can_be_forged() -> None:
    """`attempt(body=b"")` really sends nothing in place of the body."""
    endpoint = Endpoint(400)
    sender = make_sender(endpoint)
    await sender.attempt(sender.message(PAYLOAD), body=b"")
    assert endpoint.requests[0].content == b""
    assert endpoint.header("content-length") == ["0"]


async def test_another_timestamp_is_signed_and_stale() -> None:
    """`attempt(timestamp=…)` is signed correctly for that time, so that only its age is wrong."""
    endpoint, time = Endpoint(401), Time()
    sender = make_sender(endpoint, time=time)
    await sender.attempt(sender.message(PAYLOAD), timestamp=0)
    (request,) = endpoint.requests
    check(request, SECRET)
    assert request.headers["svix-timestamp"] == "0"
    with pytest.raises(Unauthorized, match="stale"):
        envelope = signing.read_envelope(signing.raw_headers(request.headers))
        signing.check_freshness(envelope, now=time.now, tolerance=300)


async def test_headers_are_added_and_replaced() -> None:
    """`attempt(headers=…)` replaces by name in any case, adds the rest, and leaves the next attempt alone."""
    endpoint = Endpoint(401)
    sender = make_sender(endpoint)
    message = sender.message(PAYLOAD)
    await sender.attempt(message, headers={"Svix-Signature": "v1,AAAA", "x-extra": "1"})
    await sender.attempt(message)
    assert endpoint.requests[0].headers.get_list("svix-signature") == ["v1,AAAA"]
    assert endpoint.requests[0].headers["x-extra"] == "1"
    assert "x-extra" not in endpoint.requests[1].headers
    check(endpoint.requests[1], SECRET)


# Failures that are no answers


def transport_errors(base: type[httpx.TransportError]) -> Iterator[type[httpx.TransportError]]:
    yield base
    for kind in base.__subclasses__():
        yield from transport_errors(kind)


@pytest.mark.parametrize("kind", list(transport_errors(httpx.TransportError)))
async def test_no_transport_error_escapes(kind: type[httpx.TransportError]) -> None:
    """Whatever httpx raises about the transport is a recorded failure and retried."""
    sender = make_sender(Endpoint(kind("boom")), schedule=[1])
    result = await sender.deliver(sender.message(PAYLOAD))
    word = "timeout" if issubclass(kind, httpx.TimeoutException) else "connection"
    assert [(attempt.status, attempt.error) for attempt in result.attempts] == [(None, word)] * 2
    assert not result.succeeded


async def test_a_quick_break_is_repeated_once_identically() -> None:
    """The identical request goes out again at once, within the same attempt, and only once."""
    endpoint, ticks = Endpoint(httpx.ReadError("cut"), 200), count(1_800_000_000)
    sender = make_sender(endpoint, clock=lambda: next(ticks))
    attempt = await sender.attempt(sender.message(PAYLOAD))
    assert attempt.succeeded
    first, second = endpoint.requests
    assert first.headers.raw == second.headers.raw
    assert first.content == second.content
    assert sender.statistics.connection_breaks == 1
    assert sender.statistics.attempts == 1

    endpoint.replies = [httpx.ReadError("cut"), httpx.ReadError("cut"), 200]
    assert (await sender.attempt(sender.message(PAYLOAD))).error == "connection"
    assert len(endpoint.requests) == 4


async def test_a_late_break_is_not_repeated(monkeypatch: pytest.MonkeyPatch) -> None:
    """A connection that broke after the first second fails the attempt with one request."""
    monkeypatch.setattr(wire, "QUICK_BREAK", 0.0)
    endpoint = Endpoint(httpx.ReadError("cut"), 200)
    sender = make_sender(endpoint)
    assert (await sender.attempt(sender.message(PAYLOAD))).error == "connection"
    assert len(endpoint.requests) == 1


async def test_a_time_out_is_not_repeated_at_once() -> None:
    """A time-out ends the attempt: there is no second request."""
    endpoint = Endpoint(httpx.ConnectTimeout("slow"), 200)
    sender = make_sender(endpoint)
    assert (await sender.attempt(sender.message(PAYLOAD))).error == "timeout"
    assert len(endpoint.requests) == 1


class Chunks(httpx.AsyncByteStream):
    """A body that arrives in pieces and may break, as real ones do."""

    def __init__(self, *chunks: bytes | Exception) -> None:
        self.chunks = chunks
        self.closed = False

    async def __aiter__(self):  # type: ignore[no-untyped-def]
        for chunk in self.chunks:
            if isinstance(chunk, Exception):
                raise chunk
            yield chunk

    async def aclose(self) -> None:
        self.closed = True


@pytest.mark.parametrize(
    ("chunks", "headers", "outcome"),
    [
        ((b'{"sta', b'tus":"processed"}'), {}, "processed"),
        ((b'{"status":200}',), {}, None),
        ((b'["status"]',), {}, None),
        ((b"{}",), {}, None),
        ((b"ok",), {}, None),
        ((b"\xff\xfe",), {}, None),
        ((), {}, None),
        ((b"[" * 60_000,), {}, None),
        ((b'{"status":"x"}', b" " * 100_000), {}, None),
        ((b'{"status":', httpx.ReadError("cut")), {}, None),
        ((b'{"status":"processed"}',), {"content-encoding": "gzip"}, None),
    ],
)
async def test_the_outcome_word_is_read_if_it_can_be(
    chunks: tuple[bytes | Exception, ...], headers: dict[str, str], outcome: str | None
) -> None:
    """The `status` word of a JSON object is reported; nothing about the body changes a 200 or leaks it."""
    stream = Chunks(*chunks)
    sender = make_sender(Endpoint(httpx.Response(200, headers=headers, stream=stream)))
    attempt = await sender.attempt(sender.message(PAYLOAD))
    assert attempt.succeeded
    assert attempt.outcome == outcome
    assert stream.closed


# Many at once


async def test_results_keep_the_order_of_the_messages() -> None:
    """`send_all` sends in the rng's order when shuffled, and returns the results in the order given."""
    endpoint = Endpoint(200)
    sender = make_sender(endpoint)
    messages = [sender.message(PAYLOAD) for _ in range(50)]
    ids = [message.id for message in messages]
    results = await sender.send_all(messages, concurrency=1, shuffle=True, rng=random.Random(3))
    expected = list(ids)
    random.Random(3).shuffle(expected)
    assert endpoint.header("svix-id") == expected != ids
    assert [result.message for result in results] == messages
    assert all(result.succeeded for result in results)


async def test_send_all_keeps_the_order_unless_asked() -> None:
    """Without `shuffle` and with one slot, messages go out as they were given."""
    endpoint = Endpoint(200)
    sender = make_sender(endpoint)
    messages = [sender.message(PAYLOAD) for _ in range(20)]
    await sender.send_all(iter(messages), concurrency=1)
    assert endpoint.header("svix-id") == [message.id for message in messages]


async def test_concurrency_bounds_the_requests_in_flight() -> None:
    """No more than `concurrency` requests are in flight, and that many really are."""
    in_flight, most = 0, 0

    async def endpoint(request: httpx.Request) -> httpx.Response:
        nonlocal in_flight, most
        in_flight += 1
        most = max(most, in_flight)
        await asyncio.sleep(0.001)
        in_flight -= 1
        return httpx.Response(200)

    sender = make_sender(endpoint)
    await sender.send_all([sender.message(PAYLOAD) for _ in range(40)], concurrency=7)
    assert most == 7


async def test_waiting_for_a_retry_takes_no_slot() -> None:
    """With one slot, a message in its back-off lets the next one pass."""
    endpoint = Endpoint(500, 200)

    async def sleep(seconds: float) -> None:
        while len(endpoint.requests) < 2:
            await asyncio.sleep(0)

    sender = make_sender(endpoint, sleep=sleep)
    first, second = sender.message(PAYLOAD), sender.message(PAYLOAD)
    async with asyncio.timeout(5):
        await sender.send_all([first, second], concurrency=1)
    assert endpoint.header("svix-id") == [first.id, second.id, first.id]


async def test_copies_are_in_flight_together() -> None:
    """`concurrent` has every copy under way before the first is answered, all under one id."""
    barrier = asyncio.Barrier(5)
    ids: list[str] = []

    async def endpoint(request: httpx.Request) -> httpx.Response:
        ids.append(request.headers["svix-id"])
        await barrier.wait()
        return httpx.Response(200)

    sender = make_sender(endpoint)
    message = sender.message(PAYLOAD)
    async with asyncio.timeout(5):
        attempts = await sender.concurrent(message, 5)
    assert ids == [message.id] * 5
    assert all(attempt.succeeded for attempt in attempts)


# Resend, recover, probe


async def test_a_resend_needs_a_message_that_was_sent() -> None:
    """`resend` names the id that it does not know, and sends one that it knows even after a success."""
    endpoint = Endpoint(200)
    sender = make_sender(endpoint)
    with pytest.raises(LookupError, match="msg_unknown"):
        await sender.resend("msg_unknown")
    message = sender.message(PAYLOAD)
    await sender.deliver(message)
    assert (await sender.resend(message.id)).succeeded
    assert endpoint.header("svix-id") == [message.id] * 2


async def test_recover_replays_what_failed_up_to_14_days_old() -> None:
    """`recover` sends what failed once more; not what succeeded, is too old, or is outside the bounds."""
    endpoint, time = Endpoint(500), Time()
    sender = make_sender(endpoint, time=time, schedule=[])
    start = time.now
    by_age: dict[int, str] = {}
    for age in (15, 14, 9, 4):
        time.now = start - age * DAY
        message = sender.message(PAYLOAD)
        by_age[age] = message.id
        await sender.deliver(message)
    time.now = start - DAY
    endpoint.replies = [200]
    await sender.deliver(sender.message(PAYLOAD))
    sender.message(PAYLOAD)  # never sent, so it did not fail
    time.now = start
    endpoint.replies = [500]

    async def recovered(**bounds: float) -> list[str]:
        return [attempt.message_id for attempt in await sender.recover(**bounds)]

    assert await recovered() == [by_age[14], by_age[9], by_age[4]]
    assert await recovered(since=start - 10 * DAY) == [by_age[9], by_age[4]]
    assert await recovered(until=start - 5 * DAY) == [by_age[14], by_age[9]]
    assert await recovered(since=0, until=start - 10 * DAY) == [by_age[14]]
    endpoint.replies = [200]
    assert len(await recovered()) == 3
    assert await recovered() == []


async def test_the_probe_is_unsigned() -> None:
    """`probe` is a `HEAD` without signature headers; any status is returned, and it is not counted."""
    endpoint = Endpoint(405)
    sender = make_sender(endpoint)
    assert await sender.probe() == 405
    (request,) = endpoint.requests
    assert request.method == "HEAD"
    assert not [name for name in request.headers if name.startswith(("svix", "webhook"))]
    assert sender.statistics == Statistics()


async def test_a_probe_without_an_answer_gives_none() -> None:
    """A transport error is no HTTP answer."""
    assert await make_sender(Endpoint(httpx.ConnectError("refused"))).probe() is None


# Statistics


async def test_statistics_count_what_happened() -> None:
    """Each counter counts its own thing over a mix of answers, breaks, time-outs and duplicates."""
    cut, slow = httpx.ReadError("cut"), httpx.ReadTimeout("slow")
    sender = make_sender(Endpoint(500, cut, 200, slow, cut, cut, 410, 200), schedule=[1, 1])
    first, second = sender.message(PAYLOAD), sender.message(PAYLOAD)
    assert len((await sender.deliver(first)).attempts) == 2  # 500; broken, repeated, 200
    assert not (await sender.deliver(second)).succeeded  # time-out; broken twice; 410
    await sender.resend(first.id)  # 200
    counted = sender.statistics.as_dict()
    latency = counted.pop("latency")
    assert counted == {
        "attempts": 6,
        "successes": 2,
        "exhausted": 1,
        "timeouts": 1,
        "connection_breaks": 3,
        "duplicates": 6,
        "statuses": {200: 2, 410: 1, 500: 1},
    }
    assert 0 < latency["p50"] <= latency["p95"] <= latency["p99"] <= latency["max"] < 5


def test_percentiles_are_nearest_ranks() -> None:
    """Of the latencies 1 to 200 the percentiles are 100, 190, 198 and 200; failures have no latency."""
    statistics = Statistics()
    assert statistics.as_dict()["latency"] == {"p50": None, "p95": None, "p99": None, "max": None}
    for seconds in random.Random(0).sample(range(1, 201), 200):
        statistics.count(Attempt("msg_1", 0.0, float(seconds), status=200))
    statistics.count(Attempt("msg_1", 0.0, 1e9, error="connection"))
    assert statistics.as_dict()["latency"] == {"p50": 100, "p95": 190, "p99": 198, "max": 200}
    assert json.dumps(statistics.as_dict())


# Setting up


@pytest.mark.parametrize(
    "url", ["", "/webhooks", "receiver.test/webhooks", "http:///webhooks", "ftp://receiver.test/", "http://[::1"]
)
def test_a_sender_needs_an_absolute_url(url: str) -> None:
    """A URL that could never be reached is refused at once, not recorded as a broken connection."""
    with pytest.raises(ConfigurationError, match="URL"):
        Sender(url, secrets=SECRET)


@pytest.mark.parametrize(
    "secrets", [[], "", "plain", "whpk_AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=", [SECRET] * 12]
)
def test_a_sender_needs_secrets_that_can_sign(secrets: str | list[str]) -> None:
    """No secret, a public key, plain text and more than 11 secrets are refused."""
    with pytest.raises(SecretError):
        Sender(URL, secrets=secrets)


async def test_a_given_client_stays_open() -> None:
    """Leaving the context leaves a given client open."""
    async with httpx.AsyncClient() as client:
        async with Sender(URL, secrets=SECRET, client=client):
            pass
        assert not client.is_closed


def test_without_httpx_the_error_names_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where httpx is missing, the import says what to install."""
    monkeypatch.setitem(sys.modules, "httpx", None)
    spec = importlib.util.find_spec("airweave_webhooks.testing")
    assert spec is not None
    assert spec.loader is not None
    with pytest.raises(ConfigurationError, match=re.escape("pip install 'airweave-webhooks[testing]'")):
        spec.loader.exec_module(importlib.util.module_from_spec(spec))


def test_importing_it_does_not_import_pytest() -> None:
    """The tools run outside a test, as in a demo, without loading pytest."""
    program = "import sys, airweave_webhooks.testing; sys.exit('pytest' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", program], check=False).returncode == 0


def test_the_public_names_are_sorted_and_there() -> None:
    """`__all__` is sorted and every name in it exists."""
    assert testing.__all__ == sorted(testing.__all__)
    assert all(hasattr(testing, name) for name in testing.__all__)
