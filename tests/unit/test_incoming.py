"""Bodies that frameworks hand over: read within bounds, or not at all, and whoever read them before is named."""

from collections.abc import Callable
from io import BytesIO
from typing import Any

import pytest

from airweave_webhooks import BodyLimits, Receiver
from airweave_webhooks.errors import BodyTooLarge, MalformedRequest, Refused
from airweave_webhooks.integrations.incoming import Incoming, read
from airweave_webhooks.signing import raw_headers
from conftest import SECRET, sign

BODY = b"x" * 500
receiver = Receiver(secrets=SECRET, body_limits=BodyLimits(most_bytes=1000))


def reading(
    take: Callable[[int], bytes], length: str, *, ends: bool = True, at: float | None = None
) -> bytes | Refused:
    return read(receiver, Incoming(raw_headers(sign(BODY, at=at)), length, take, ends))


def never(_most: int) -> bytes:
    raise AssertionError("it was read")


@pytest.mark.parametrize("ends", [False, True])
def test_a_body_is_read(ends: bool) -> None:
    """Whether or not the stream says where it ends."""
    assert reading(BytesIO(BODY).read, "500", ends=ends) == BODY


def test_a_stream_that_does_not_end_is_read_no_further_than_its_length() -> None:
    """Whoever reads further there waits for the client to hang up."""
    stream = BytesIO(BODY + b"the next request")
    assert reading(stream.read, "500", ends=False) == BODY
    assert stream.read() == b"the next request"


def test_without_a_length() -> None:
    """It is all that comes where the stream ends, and nothing where it does not."""
    assert reading(BytesIO(BODY).read, "") == BODY
    assert reading(never, "", ends=False) == b""
    assert isinstance(reading(BytesIO(b"x" * 1001).read, ""), BodyTooLarge)


def test_refused_headers_leave_the_body_unread() -> None:
    """Neither memory nor time is spent on what is refused already."""
    refused = reading(never, "500", at=1)
    assert isinstance(refused, Refused)


@pytest.mark.parametrize("length", ["-1", "1e3", "x", "9" * 19, "5,5", "\u0661", " 5"])
def test_a_length_that_is_none_leaves_the_body_unread(length: str) -> None:
    """What servers let through of it, and what they do not."""
    assert isinstance(reading(never, length), MalformedRequest)


def test_no_more_than_twice_what_is_allowed_is_read() -> None:
    """Whatever the length says: the rest is the server's to throw away."""
    stream = BytesIO(b"x" * 5000)
    refused = reading(stream.read, "5000")
    assert isinstance(refused, BodyTooLarge)
    assert stream.tell() == 2000


def test_a_client_that_hangs_up() -> None:
    """Servers say so by an error, each by its own."""

    def hung_up(_most: int) -> bytes:
        raise ConnectionResetError("gone")

    refused = reading(hung_up, "500")
    assert isinstance(refused, MalformedRequest)
    assert "the client hung up" in refused.diagnosis


@pytest.mark.parametrize(
    ("body", "kind", "said"),
    [
        (b"", MalformedRequest, "0 of 500 bytes were left of the body: something before the receiver has consumed it"),
        (BODY + b"x", BodyTooLarge, "a middleware or proxy re-encoded it"),
    ],
)
def test_who_touched_it_is_named(body: bytes, kind: Any, said: str) -> None:
    """By the length that the client gave."""
    refused = reading(BytesIO(body).read, "500")
    assert isinstance(refused, kind)
    assert said in refused.diagnosis
