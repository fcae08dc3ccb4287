"""How a FastAPI dependency refuses a request with an answer of the receiver's."""

from typing import Any

from fastapi import HTTPException, Request, Response

from airweave_webhooks.delivery import Reply
from airweave_webhooks.errors import WebhookError


class DeliveryRefused(WebhookError):
    """A request did not pass `verified()`; the log says why. Answered with `reply`, unless the application handles it.

    Attributes:
        reply: what a receiver would answer.
        headers: of the answer.
    """

    def __init__(self, reply: Reply, headers: dict[str, str]) -> None:
        super().__init__(reply.outcome)
        self.reply = reply
        self.headers = headers


def refused(request: Request, reply: Reply, more: tuple[tuple[bytes, bytes], ...]) -> Exception:
    """Make the exception to raise: `reply`, with more headers, is what the sender gets."""
    headers = reply.headers | {name.decode(): value.decode() for name, value in more}
    # A dependency can answer only by raising, and FastAPI wraps its own exception's body in {"detail": …}. These are
    # the handlers of the application that routes this request; its own one for our exception goes first.
    handlers: Any = request.scope.get("starlette.exception_handlers")
    if handlers is None:
        return HTTPException(reply.status, {"status": reply.outcome}, headers)
    handlers[0].setdefault(DeliveryRefused, _answer)
    return DeliveryRefused(reply, headers)


async def _answer(_request: Request, error: DeliveryRefused) -> Response:
    return Response(error.reply.body, error.reply.status, error.headers)
