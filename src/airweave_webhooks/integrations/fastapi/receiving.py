"""A receiver in FastAPI: the traffic on a plain route, the documentation in OpenAPI.

FastAPI's dependency layer costs 34 µs a request and wants to parse the body, so a plain route in front of it takes
the requests, and the documented one behind it is never called.
"""

from typing import Annotated, Any

from fastapi import APIRouter, Body, Header
from starlette.routing import Route

from airweave_webhooks.events.parsing import KnownEvent
from airweave_webhooks.integrations.fastapi.responses import RESPONSES, Answer
from airweave_webhooks.receiver import Receiver


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
