"""WSGI: Flask, Bottle, Pyramid, …, with a receiver that runs in the background of each process."""

from collections.abc import Callable, Iterable
from http import HTTPStatus
from typing import Any, Final

from airweave_webhooks.asgi import METHOD_NOT_ALLOWED
from airweave_webhooks.delivery import Reply
from airweave_webhooks.errors import BodyTooLarge, ConfigurationError, MalformedRequest, Refused, Unavailable
from airweave_webhooks.integrations.background import Background
from airweave_webhooks.receiver import Receiver
from airweave_webhooks.signing import raw_headers

_PIECE: Final = 65_536


class WSGIReceiver:
    """A receiver as a WSGI application; every path that leads to it is the endpoint.

    It opens on the first delivery that a process gets, so after a server's fork, and closes when the process ends.

    Args:
        receiver: what answers.
    """

    def __init__(self, receiver: Receiver) -> None:
        self._receiver = receiver
        self._background = Background(receiver)

    def __call__(self, environ: dict[str, Any], start_response: Callable[..., object]) -> Iterable[bytes]:
        """Answer one request: a delivery, or the sender's probe."""
        method = environ["REQUEST_METHOD"]
        if method in {"GET", "HEAD"}:
            start_response("200 OK", [("content-length", "0")])
            return []
        allow = [] if method == "POST" else [("allow", "POST, HEAD, GET")]
        reply = self.answer(environ) if method == "POST" else METHOD_NOT_ALLOWED
        start_response(f"{reply.status} {HTTPStatus(reply.status).phrase}", [*reply.headers.items(), *allow])
        return [reply.body]

    def answer(self, environ: dict[str, Any], tenant: str | None = None) -> Reply:
        """Receive one delivery, for a view of your own.

        Args:
            environ: WSGI's, with a body that nobody has read.
            tenant: whose secrets to verify with, on a receiver that serves tenants.
        """
        headers = [(name[5:].replace("_", "-"), value) for name, value in environ.items() if name.startswith("HTTP_")]
        headers.append(("content-type", environ.get("CONTENT_TYPE", "")))
        body = _read_body(environ, self._receiver.body_limits.most_bytes)
        try:
            return self._background.run(self._receive(headers, body, tenant))
        except (Unavailable, ConfigurationError) as error:
            return self._receiver.refuse(error)

    def close(self) -> None:
        """Let running handlers finish within the mode's grace, and close. Done for you at the end of the process."""
        self._background.close()

    async def _receive(self, headers: list[tuple[str, str]], body: bytes | Refused, tenant: str | None) -> Reply:
        if isinstance(body, bytes):
            return await self._receiver.handle(headers, body, tenant)
        try:
            self._receiver.admit(raw_headers(headers))  # what is wrong with the headers goes first, as everywhere
        except (Refused, Unavailable) as error:
            return self._receiver.refuse(error)
        return self._receiver.refuse(body)


def _read_body(environ: dict[str, Any], most: int) -> bytes | Refused:
    """Read the body, for as long as the server lets a slow client take."""
    said: str = environ.get("CONTENT_LENGTH") or "0"
    # Of a chunked body nobody says the length: the server ends the input, or there is none.
    chunked = said == "0" and environ.get("wsgi.input_terminated")
    if not (said.isascii() and said.isdigit() and len(said) <= 18):
        return MalformedRequest("the Content-Length is not a number")
    length = most + 1 if chunked else int(said)
    # Some of what is too much is read, and thrown away: whoever is hung up on while they send lose their answer.
    body = b"".join(_pieces(environ["wsgi.input"], min(length, 2 * most)))
    if max(length if not chunked else 0, len(body)) > most:
        return BodyTooLarge(f"the body has more than the {most} bytes that are allowed")
    if len(body) < length and not chunked:
        return MalformedRequest(
            f"{len(body)} of {length} bytes were left of the body: something before the receiver has consumed it"
            " (request.get_data(), request.form, a middleware), or the client hung up; mount the receiver before it"
        )
    return body


def _pieces(stream: Any, most: int) -> Iterable[bytes]:
    while most > 0 and (piece := stream.read(min(_PIECE, most))):
        most -= len(piece)
        yield piece
