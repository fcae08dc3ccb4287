"""Airweave's events in the `webhooks` section of an application's OpenAPI."""

import json
from importlib import resources
from typing import Annotated, Any

from fastapi import Body, FastAPI, Header

from airweave_webhooks.events import EVENT_TYPES, Event
from airweave_webhooks.integrations.fastapi.responses import RESPONSES, Answer


def document_webhooks(app: FastAPI) -> None:
    """Add every event that Airweave sends to `app.webhooks`: its model, an example, its headers and the answers.

    Args:
        app: whose `/docs` and `/openapi.json` are to show them.
    """
    for event_type, cls in EVENT_TYPES.items():
        app.webhooks.add_api_route(
            event_type,
            _documented(event_type, cls),
            methods=["POST"],
            name=event_type,
            summary=f"Airweave sends `{event_type}`",
            description=cls.__doc__,
            tags=["airweave"],
            response_model=Answer,
            response_description="Processed, or acknowledged",
            responses=RESPONSES,
        )


def _documented(event_type: str, cls: type[Event]) -> Any:
    async def webhook(
        event: Event,
        svix_id: Annotated[str, Header(alias="svix-id", description="The same over all attempts")],
        svix_timestamp: Annotated[str, Header(alias="svix-timestamp", description="Seconds since the epoch")],
        svix_signature: Annotated[str, Header(alias="svix-signature", description="`v1,<base64>`, one per secret")],
    ) -> None: ...

    # The samples lie beside the test kit, which needs more than FastAPI to be imported.
    sample = resources.files("airweave_webhooks") / "testing" / "payloads" / f"{event_type}.json"
    webhook.__annotations__["event"] = Annotated[cls, Body(examples=[json.loads(sample.read_bytes())])]
    return webhook
