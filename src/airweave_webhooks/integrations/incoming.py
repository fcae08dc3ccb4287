"""A request as it reaches a framework that has read its headers: checked by them, and then read within bounds."""

from collections.abc import Callable, Iterable
from typing import Any, Final, NamedTuple

from airweave_webhooks.delivery import Reply
from airweave_webhooks.errors import BodyTooLarge, ConfigurationError, MalformedRequest, Refused, Unavailable
from airweave_webhooks.receiver import Receiver
from airweave_webhooks.signing import RawHeaders, raw_headers

_PIECE: Final = 65_536
_REMEDY: Final = "mount the receiver before it"


class Incoming(NamedTuple):
    """One request whose body is still to be read."""

    headers: RawHeaders
    length: str
    """The Content-Length as it came; empty where there is none."""
    read: Callable[[int], bytes]
    """Gives so many bytes of the body at most."""
    ends: bool
    """Whether `read` says where the body ends; otherwise only its length does, and who reads further waits."""


def from_environ(environ: dict[str, Any]) -> Incoming:
    """Take what WSGI gives."""
    return Incoming(
        environ_headers(environ),
        environ.get("CONTENT_LENGTH") or "",
        environ["wsgi.input"].read,
        bool(environ.get("wsgi.input_terminated")),
    )


def environ_headers(environ: dict[str, Any]) -> RawHeaders:
    """The headers that WSGI has put among its own variables."""
    headers = [(name[5:].replace("_", "-"), value) for name, value in environ.items() if name.startswith("HTTP_")]
    return raw_headers([*headers, ("content-type", environ.get("CONTENT_TYPE", ""))])


def read(receiver: Receiver, incoming: Incoming) -> bytes | Refused:
    """Read the body, for as long as the server lets a slow client take; not if the headers are refused."""
    try:
        receiver.check_headers(incoming.headers)
        return _read(incoming, receiver.body_limits.most_bytes)
    except Refused as error:
        return error
    except OSError as error:
        return MalformedRequest(f"the client hung up, or was too slow, while the server read the body: {error!r}")
    except Exception as error:  # noqa: BLE001 - gunicorn has errors of its own for chunks that are none
        # Not what it says, which may quote the body.
        return MalformedRequest(f"the server could not read the body: {type(error).__name__}")


async def receive(receiver: Receiver, incoming: Incoming, body: bytes | Refused, tenant: str | None) -> Reply:
    """Answer, on the receiver's event loop, with what `read` has read."""
    if isinstance(body, bytes):
        return await receiver.handle(incoming.headers, body, tenant)
    return receiver.refuse(body)


def refuse(receiver: Receiver, body: bytes | Refused, error: Unavailable | ConfigurationError) -> Reply:
    """Answer where the receiver cannot be opened: what is wrong with a request stays so, and no retry would mend it."""
    return receiver.refuse(body if isinstance(body, Refused) else error)


def _read(incoming: Incoming, most: int) -> bytes:
    said = incoming.length
    if said and not (said.isascii() and said.isdigit() and len(said) <= 18):
        raise MalformedRequest("the Content-Length is not a number")
    # Without a length the body is chunked, or there is none.
    length = int(said) if said else None if incoming.ends else 0
    expected = most if length is None else length
    # Some of what is too much is read, and thrown away: whoever is hung up on while they send lose their answer.
    body = b"".join(_pieces(incoming.read, min(expected + incoming.ends, 2 * most)))
    if max(len(body), length or 0) > most:
        raise BodyTooLarge(f"the body has more than the {most} bytes that are allowed")
    if length is not None and len(body) < length:
        raise MalformedRequest(
            f"{len(body)} of {length} bytes were left of the body: something before the receiver has consumed it"
            f" (request.get_data(), request.form, a middleware), or the client hung up; {_REMEDY}"
        )
    if length is not None and len(body) > length:
        raise BodyTooLarge(
            f"the body has more than the {length} bytes that its Content-Length says: a middleware or proxy"
            f" re-encoded it; {_REMEDY}, where the body is untouched"
        )
    return body


def _pieces(read: Callable[[int], bytes], most: int) -> Iterable[bytes]:
    while most > 0 and (piece := read(min(_PIECE, most))):
        most -= len(piece)
        yield piece
