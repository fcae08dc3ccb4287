"""A verified delivery as a FastAPI dependency, for routes that do everything else by themselves."""

from collections.abc import AsyncGenerator, AsyncIterator, Callable
from typing import Annotated, Any, Final

from fastapi import Header, HTTPException, Request, Security
from fastapi.security import APIKeyHeader
from starlette.requests import ClientDisconnect

from airweave_webhooks.asgi import hang_up
from airweave_webhooks.bodies import Receive
from airweave_webhooks.delivery import Delivery
from airweave_webhooks.errors import MalformedRequest, Refused, Unavailable
from airweave_webhooks.integrations.fastapi.refusing import refused
from airweave_webhooks.receiver import Receiver

_SIGNATURE: Final = APIKeyHeader(
    name="svix-signature",
    scheme_name="AirweaveSignature",
    description="`v1,<base64>`, one per secret: HMAC-SHA256 of `<svix-id>.<svix-timestamp>.<body>`",
    auto_error=False,
)
_ID: Final = Header(alias="svix-id", description="The message id, the same over all attempts")
_TIMESTAMP: Final = Header(alias="svix-timestamp", description="Seconds since the epoch")


def verified(receiver: Receiver) -> Callable[..., AsyncIterator[Delivery]]:
    """Make a dependency that verifies a request and gives its `Delivery`: `Annotated[Delivery, Depends(verified(…))]`.

    Only that: nothing is deduplicated, no handler runs, no store is opened, and `delivery.key` is the message id. The
    sender repeats what is not answered with 2xx in 15 s. `{tenant}` in the route's path names the tenant. The route
    must not have a parameter for the body: FastAPI would read and parse it first, without limits. Where several
    dependencies of one route want the delivery, they share what this returns: a body can be read once.

    Args:
        receiver: whose secrets, tolerance and body limits hold.

    Raises:
        DeliveryRefused: from the dependency; it is answered as the receiver itself would.
    """

    async def deliver(
        request: Request,
        _signature: Annotated[str | None, Security(_SIGNATURE)],
        _id: Annotated[str | None, _ID] = None,  # not required here: we say ourselves what is missing
        _timestamp: Annotated[str | None, _TIMESTAMP] = None,
    ) -> AsyncGenerator[Delivery]:
        admission = None
        unread = hang_up(request.scope)
        try:
            admission = receiver.admit(request.scope["headers"])
            reader = admission.pipeline.bodies
            room = reader.room_for(admission.headers)
            body = await reader.read(room, _receive_of(request), admission.started)
        except ClientDisconnect:
            raise HTTPException(400) from None  # to nobody
        except (Refused, Unavailable) as error:
            raise refused(request, receiver.refuse(error, admission), unread) from None
        try:
            tenant = request.path_params.get("tenant")
            try:
                delivery = await receiver.verify(admission, body, None if tenant is None else str(tenant))
            except (Refused, Unavailable) as error:
                raise refused(request, receiver.refuse(error, admission), ()) from None
            yield delivery
        finally:
            reader.release(room)

    return deliver


def _receive_of(request: Request) -> Receive:
    """Read through the request, which still has a body that FastAPI or a middleware has read by it."""
    stream = request.stream()

    async def receive() -> dict[str, Any]:
        try:
            return {"type": "http.request", "body": await anext(stream), "more_body": True}
        except StopAsyncIteration:
            return {"type": "http.request"}
        except RuntimeError:
            raise MalformedRequest("the body was consumed before it could be verified, as a stream") from None

    return receive
