"""What holds for every request that anybody could send: unsigned ones change nothing, signed ones are never lost."""

import base64
import hmac
import itertools
import json
import logging
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from hypothesis import example, given, settings
from hypothesis import strategies as st
from starlette.applications import Starlette

from airweave_webhooks import Delivery, Receiver, Reply, natural_key
from airweave_webhooks.events import EVENT_TYPES
from airweave_webhooks.testing.payloads import payload, payload_names
from conftest import OTHER_SECRET, SECRET, sign

pytestmark = pytest.mark.anyio

thorough = settings(derandomize=True, max_examples=200, deadline=None)

NOW = 1_800_000_000
MARKER = "wombat"
ORIGINAL = payload("sync.completed")
FAMILIES = ("svix", "webhook")
PRIVATE = Ed25519PrivateKey.from_private_bytes(bytes(range(32)))
PUBLIC = "whpk_" + base64.b64encode(PRIVATE.public_key().public_bytes_raw()).decode()

Pairs = Sequence[tuple[bytes, bytes]]


def signed(body: bytes, message_id: str = "msg_1", family: str = "svix", *, asymmetric: bool = False) -> Pairs:
    """Raw headers, signed with nothing of ours: whatever the bytes of the body."""
    content = f"{message_id}.{NOW}.".encode() + body
    if asymmetric:
        token = b"v1a," + base64.b64encode(PRIVATE.sign(content))
    else:
        raw_key = base64.b64decode(SECRET.removeprefix("whsec_"))
        token = b"v1," + base64.b64encode(hmac.digest(raw_key, content, "sha256"))
    name = family.encode()
    return (
        (name + b"-id", message_id.encode()),
        (name + b"-timestamp", str(NOW).encode()),
        (name + b"-signature", token),
    )


class Untouched:
    """A store that nobody may so much as open."""

    round_trip = False
    durable = False

    def __init__(self) -> None:
        self.touched: list[str] = []

    def __getattr__(self, verb: str) -> Any:
        def touch(*_: object, **__: object) -> Any:
            self.touched.append(verb)
            raise AssertionError(verb)

        return touch


class Guarded:
    """A receiver of which nothing may run, be stored, or be logged that holds the marker."""

    def __init__(self) -> None:
        self.store = Untouched()
        store: Any = self.store
        self.receiver = Receiver(secrets=[SECRET, PUBLIC], store=store, clock=lambda: NOW, key=natural_key)
        self.ran: list[str] = []
        self.receiver.on("*")(self.handle)

    async def handle(self, delivery: Delivery) -> None:
        self.ran.append(delivery.id)

    @contextmanager
    def watched(self) -> Iterator[None]:
        """Let one request in, and see that it left no trace."""
        lines: list[str] = []
        watcher = logging.Handler()
        watcher.emit = lambda record: lines.append(logging.Formatter().format(record))  # type: ignore[method-assign]
        root = logging.getLogger()
        level = root.level
        root.addHandler(watcher)
        root.setLevel(logging.DEBUG)
        try:
            yield
        finally:
            root.removeHandler(watcher)
            root.setLevel(level)
        assert (self.ran, self.store.touched) == ([], [])
        assert MARKER not in "\n".join(lines)


def refused(reply: Reply, *statuses: int) -> None:
    assert reply.status in statuses
    assert MARKER not in reply.body.decode() + repr(reply.headers)


NAMES = [f"{family}-{part}".encode() for family in FAMILIES for part in ("id", "timestamp", "signature")]
GOOD = dict(signed(ORIGINAL))[b"svix-signature"]
FORGED = sign(ORIGINAL, at=NOW, secret=OTHER_SECRET)["svix-signature"].encode()
IDS = st.sampled_from([b"msg_1", b"msg_2", b"m" * 257, b"", b"\xff", b"m\x00", b"msg_1.1800000000"])
TIMES = st.sampled_from([b"%d" % NOW, b"%d" % (NOW - 301), b"9" * 12, b"1.8e9", b"+1", b"", b"\xb2", b"9" * 5000])
NULL_SIGNATURE = b"v1a," + base64.b64encode(bytes(64))
TOKENS = st.sampled_from(
    [GOOD, FORGED, NULL_SIGNATURE, b"v1", b"v1,", b"v1,,", b"v1,A", b"v1,\xff", b"v2,A", b"", b"\xff"]
)
SIGNATURES = st.lists(TOKENS | st.binary(max_size=8), max_size=20).map(b" ".join)
ANY_VALUE = IDS | TIMES | SIGNATURES | st.binary(max_size=20)
ANY_NAME = st.sampled_from([*NAMES, b"content-type", b"content-length", b"host"]) | st.binary(max_size=12)


def family_of_headers(family: bytes, *values: st.SearchStrategy[bytes]) -> st.SearchStrategy[list[tuple[bytes, bytes]]]:
    """One complete set."""
    parts = (b"-id", b"-timestamp", b"-signature")
    return st.tuples(*values).map(
        lambda found: [(family + part, value) for part, value in zip(parts, found, strict=True)]
    )


EITHER = st.sampled_from([b"svix", b"webhook"])
# What gets as far as the signature, and what does not.
SOUND = EITHER.flatmap(lambda family: family_of_headers(family, st.just(b"msg_1"), st.just(b"%d" % NOW), SIGNATURES))
MESSY = EITHER.flatmap(lambda family: family_of_headers(family, ANY_VALUE, ANY_VALUE, ANY_VALUE))
HEADERS = st.one_of(
    SOUND,
    st.builds(list.__add__, SOUND, st.lists(st.tuples(st.binary(max_size=12), ANY_VALUE), max_size=4)),
    st.builds(list.__add__, SOUND, st.lists(st.tuples(ANY_NAME, ANY_VALUE), min_size=1, max_size=4)),
    st.builds(list.__add__, MESSY, st.just([]) | MESSY),
    st.lists(st.tuples(ANY_NAME, ANY_VALUE), max_size=8),
)
# Never the body that GOOD signs: that one has no marker.
BODIES = st.one_of(
    st.just(b""),
    st.builds(lambda before, after: before + MARKER.encode() + after, st.binary(max_size=40), st.binary(max_size=40)),
    st.sampled_from([ORIGINAL[:-1] + f',"extra":"{MARKER}"}}'.encode(), f'["{MARKER}"]'.encode()]),
)


@thorough
@given(headers=HEADERS, body=BODIES, as_text=st.booleans())
@example(headers=list(signed(ORIGINAL)), body=ORIGINAL + MARKER.encode(), as_text=False)
async def test_nothing_unsigned_is_accepted(headers: Pairs, body: bytes, as_text: bool) -> None:
    """Whatever the headers and the body: 400, 401 or 413, nothing runs, is stored or is logged from the body."""
    guarded = Guarded()
    text = [(name.decode("latin-1"), value.decode("latin-1")) for name, value in headers]
    with guarded.watched():
        refused(await guarded.receiver.handle(text if as_text else headers, body), 400, 401, 413)


async def call(app: Any, method: str, headers: Pairs, chunks: Sequence[bytes], complete: bool = True) -> list[Any]:
    """Send one request as a server would, and return the messages that come back."""
    incoming = [{"type": "http.request", "body": chunk, "more_body": True} for chunk in chunks]
    incoming.append(
        {"type": "http.request", "body": b"", "more_body": False} if complete else {"type": "http.disconnect"}
    )
    sent: list[Any] = []

    async def receive() -> Any:
        return incoming.pop(0) if incoming else {"type": "http.disconnect"}

    async def send(message: Any) -> None:
        sent.append(message)

    scope = {
        "type": "http",
        "asgi": {"version": "3.0"},
        "http_version": "1.1",
        "method": method,
        "path": "/hooks",
        "raw_path": b"/hooks",
        "root_path": "",
        "scheme": "http",
        "query_string": b"",
        "headers": list(headers),
    }
    await app(scope, receive, send)
    return sent


METHODS = st.just("POST") | st.sampled_from(["GET", "HEAD", "PUT", "OPTIONS", "post", ""]) | st.text(max_size=8)


@pytest.mark.parametrize("mounted", [False, True], ids=["alone", "routed"])
@thorough
@given(
    headers=HEADERS,
    body=BODIES,
    cuts=st.lists(st.integers(0, 90), max_size=4).map(sorted),
    method=METHODS,
    complete=st.sampled_from([True, True, True, False]),
)
async def test_no_unsigned_request_is_a_server_error(
    mounted: bool, headers: Pairs, body: bytes, cuts: list[int], method: str, complete: bool
) -> None:
    """Through ASGI, with raw bytes, repeated headers, chunks and any method: the answer is never a 5xx."""
    guarded = Guarded()
    app = Starlette(routes=[guarded.receiver.route("/hooks")]) if mounted else guarded.receiver
    chunks = [body[start:end] for start, end in itertools.pairwise([0, *cuts, len(body)])]
    with guarded.watched():
        sent = await call(app, method, headers, chunks, complete)
    if not sent:
        assert (method, complete) == ("POST", False)  # nobody is left to answer
        return
    start, end = sent
    expected = {"POST": {400, 401, 413}, "GET": {200}, "HEAD": {200}}.get(method, {405})
    assert (start["type"], end["type"]) == ("http.response.start", "http.response.body")
    assert start["status"] in expected
    assert MARKER.encode() not in end["body"]
    assert (end["body"] == b"") == (method in {"GET", "HEAD"})


@pytest.mark.parametrize("method", ["GET", "HEAD", "PUT", "DELETE", "PATCH"])
async def test_a_signed_body_under_another_method(method: str) -> None:
    """Only a POST delivers: not even a signature makes another method do anything."""
    guarded = Guarded()
    with guarded.watched():
        start, _ = await call(guarded.receiver, method, signed(ORIGINAL), [ORIGINAL])
    assert start["status"] == (200 if method in {"GET", "HEAD"} else 405)


@pytest.fixture(scope="module", params=[None, natural_key], ids=["message id", "natural key"])
async def open_receiver(request: pytest.FixtureRequest) -> AsyncIterator[Receiver]:
    """A receiver with handlers for everything, with and without filters, on a store that works."""
    receiver = Receiver(secrets=[SECRET, PUBLIC], clock=lambda: NOW, key=request.param, name="open")

    @receiver.on("*")
    async def everything(delivery: Delivery) -> None:
        assert delivery.headers is not None
        assert delivery.idempotency_key

    @receiver.on("sync.*", source_type="github", collection_readable_id={"a", "engineering-context-k4x9q"})
    async def some(delivery: Delivery) -> None:
        assert delivery.event.natural_key

    async with receiver:
        yield receiver


numbers = itertools.count()


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("asymmetric", [False, True], ids=["v1", "v1a"])
async def test_the_signed_request_that_is_changed_below(open_receiver: Receiver, family: str, asymmetric: bool) -> None:
    """Unchanged, it is accepted: what refuses it below is the change."""
    message_id = f"control_{next(numbers)}"
    body = ORIGINAL.replace(b"0f8fad5b", b"%08x" % next(numbers))
    headers = signed(body, message_id, family, asymmetric=asymmetric)
    assert await open_receiver.handle(headers, body) == Reply(200, "processed")
    assert await open_receiver.handle(headers, body) == Reply(200, "duplicate")


@thorough
@given(
    family=st.sampled_from(FAMILIES),
    asymmetric=st.booleans(),
    part=st.sampled_from(["id", "timestamp", "signature", "body"]),
    place=st.integers(0, 10_000),
    flip=st.integers(0, 255),
)
async def test_a_changed_byte_is_refused(family: str, asymmetric: bool, part: str, place: int, flip: int) -> None:
    """One byte of the id, the time, the signature or the body, changed or (for 0) left out, and nothing is accepted."""
    guarded = Guarded()
    values = dict(signed(ORIGINAL, family=family, asymmetric=asymmetric and part != "signature"))
    values[b"body"] = ORIGINAL
    name = b"body" if part == "body" else f"{family}-{part}".encode()
    value = values[name]
    at = place % len(value)
    values[name] = value[:at] + (bytes([value[at] ^ flip]) if flip else b"") + value[at + 1 :]
    body = values.pop(b"body")
    with guarded.watched():
        refused(await guarded.receiver.handle(list(values.items()), body), 400, 401)


SCALARS = (
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(st.characters(exclude_categories=()), max_size=12)
)
VALUES = st.recursive(
    SCALARS | st.just(MARKER),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=6), inner, max_size=3),
    max_leaves=8,
)
NO_OBJECTS = st.one_of(
    (SCALARS | st.lists(VALUES, max_size=3)).map(lambda value: json.dumps(value).encode()),
    st.binary(max_size=30).map(lambda raw: raw.lstrip(b" \t\r\n{") + MARKER.encode()),
    st.text(max_size=20).map(lambda text: "{" + MARKER + text).map(str.encode),
    VALUES.map(lambda value: json.dumps({"a": value}).encode()[:-1]),
)


@thorough
@given(body=NO_OBJECTS, asymmetric=st.booleans())
@example(body=b"[" * 100_000, asymmetric=False)
@example(body=b"", asymmetric=True)
async def test_a_signed_body_that_is_no_object_is_refused(body: bytes, asymmetric: bool) -> None:
    """Not JSON, an array, a scalar: 400 although it is signed, never stored, and nothing of it logged."""
    guarded = Guarded()
    with guarded.watched():
        reply = await guarded.receiver.handle(signed(body, asymmetric=asymmetric), body)
    refused(reply, 400)
    assert reply.outcome == "invalid"


FIELDS = sorted({field for cls in EVENT_TYPES.values() for field in cls.model_fields})
CHANGES = st.dictionaries(st.sampled_from(FIELDS) | st.text(max_size=6), VALUES, max_size=4)
OBJECTS = st.builds(
    lambda base, changes: json.dumps({**base, **changes}).encode(),
    st.sampled_from([{}, *(json.loads(payload(name)) for name in payload_names())]),
    CHANGES | st.builds(dict, event_type=SCALARS | st.sampled_from(sorted(EVENT_TYPES))),
)


@thorough
@given(body=OBJECTS, asymmetric=st.booleans())
@example(body=b"{}", asymmetric=False)
@example(body=b'{"event_type":"\\ud800","\\u0000":1e400}', asymmetric=False)
async def test_every_signed_object_is_taken(open_receiver: Receiver, body: bytes, asymmetric: bool) -> None:
    """Known, unknown, drifted or absurd: it is answered with 200, and once more when it comes again."""
    headers = signed(body, f"msg_{next(numbers)}", asymmetric=asymmetric)
    first = await open_receiver.handle(headers, body)
    assert (first.status, first.outcome in {"processed", "accepted", "duplicate"}) == (200, True)
    again = await open_receiver.handle(headers, body)
    assert (again.status, again.outcome in {"duplicate", "accepted"}) == (200, True)
