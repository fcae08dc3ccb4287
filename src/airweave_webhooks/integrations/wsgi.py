"""WSGI: Flask, Bottle, Pyramid, …, with a receiver that runs in the background of each process."""

from collections.abc import Callable, Iterable
from http import HTTPStatus
from typing import Any

from airweave_webhooks.asgi import METHOD_NOT_ALLOWED
from airweave_webhooks.delivery import Reply
from airweave_webhooks.errors import ConfigurationError, Unavailable
from airweave_webhooks.integrations.background import Background
from airweave_webhooks.integrations.incoming import from_environ, read, receive, refuse
from airweave_webhooks.receiver import Receiver


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
        incoming = from_environ(environ)
        body = read(self._receiver, incoming)
        try:
            return self._background.run(receive(self._receiver, incoming, body, tenant))
        except (Unavailable, ConfigurationError) as error:
            return refuse(self._receiver, body, error)

    def close(self) -> None:
        """Let running handlers finish within the mode's grace, and close. Done for you at the end of the process."""
        self._background.close()
