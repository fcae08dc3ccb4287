"""FastAPI: the traffic on a plain route, the documentation in OpenAPI.

FastAPI's dependency layer costs 34 µs a request and wants to parse the body, so a plain route in front of it takes
the requests, and the documented one behind it is never called.
"""

from typing import Annotated, Any, Final

from pydantic import BaseModel

from airweave_webhooks.errors import ConfigurationError
from airweave_webhooks.events.parsing import KnownEvent
from airweave_webhooks.receiver import Receiver

try:
    from fastapi import APIRouter, Body, Header
    from starlette.routing import Route
except ModuleNotFoundError:
    raise ConfigurationError("receiver_router needs FastAPI: pip install 'airweave-webhooks[fastapi]'") from None


class Answer(BaseModel):
    """What the sender gets."""

    status: str


RESPONSES: Final[dict[int | str, dict[str, Any]]] = {
    400: {
        "model": Answer,
        "description": "Malformed signature headers, or a signed body that is not a JSON object",
    },
    401: {"model": Answer, "description": "Not signed by Airweave, or too long ago"},
    408: {"model": Answer, "description": "The body came too slowly"},
    409: {
        "model": Answer,
        "description": "Another attempt is in progress, or the message id came with another body",
    },
    413: {"model": Answer, "description": "The body is too large"},
    500: {"model": Answer, "description": "A handler failed; come again"},
    503: {"model": Answer, "description": "Not now; come again after `Retry-After` seconds"},
}


def receiver_router(receiver: Receiver, path: str) -> APIRouter:
    """Make a router for `app.include_router(receiver_router(receiver, "/webhooks/airweave"))`.

    Args:
        receiver: what answers.
        path: where, with or without a trailing slash; `{tenant}` in it names the tenant.

    Raises:
        ConfigurationError: a tenant in the path, but the same secrets for all.
    """
    receiver.check_path(path)
    bare = path.rstrip("/") or "/"
    router = APIRouter()
    for spelling in dict.fromkeys((bare, bare.rstrip("/") + "/")):
        router.routes.append(Route(spelling, receiver, name=receiver.name, include_in_schema=False))
    router.add_api_route(
        bare,
        _documented_for_tenants if "{tenant" in path else _documented,
        methods=["POST"],
        name=f"airweave-webhooks-{receiver.name}",
        summary="Receive a webhook from Airweave",
        response_model=Answer,
        response_description="Processed, or acknowledged",
        responses=RESPONSES,
    )
    return router


async def _documented(
    event: Annotated[KnownEvent, Body(discriminator="event_type")],
    svix_id: Annotated[str, Header(alias="svix-id", description="The same over all attempts")],
    svix_timestamp: Annotated[str, Header(alias="svix-timestamp", description="Seconds since the epoch")],
    svix_signature: Annotated[str, Header(alias="svix-signature", description="`v1,<base64>`, one per secret")],
) -> Any:
    """Verified, deduplicated by `svix-id`, and given to the handlers."""


async def _documented_for_tenants(
    tenant: str,
    event: Annotated[KnownEvent, Body(discriminator="event_type")],
    svix_id: Annotated[str, Header(alias="svix-id", description="The same over all attempts")],
    svix_timestamp: Annotated[str, Header(alias="svix-timestamp", description="Seconds since the epoch")],
    svix_signature: Annotated[str, Header(alias="svix-signature", description="`v1,<base64>`, one per secret")],
) -> Any:
    """Verified with the tenant's secret, deduplicated by `svix-id`, and given to the handlers."""
