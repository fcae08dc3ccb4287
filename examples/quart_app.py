"""A receiver in Quart: AIRWEAVE_WEBHOOK_SECRET=whsec_… uvicorn quart_app:app."""

from collections.abc import AsyncGenerator
from typing import Any

from quart import Quart

from airweave_webhooks import Receiver, SyncCompleted

receiver = Receiver(store="sqlite:///airweave.db")


@receiver.on("sync.completed")
async def refresh(event: SyncCompleted) -> None:
    print(f"refreshing the cache of {event.collection_readable_id}")


app = Quart(__name__)
quart_alone = app.asgi_app


@app.while_serving
async def lifespan() -> AsyncGenerator[None]:
    async with receiver:
        yield


async def airweave_first(scope: Any, receive: Any, send: Any) -> None:
    """Before Quart: nothing of it can touch the body, and both spellings of the path are the endpoint."""
    ours = scope["type"] == "http" and scope["path"].rstrip("/") == "/webhooks/airweave"
    await (receiver if ours else quart_alone)(scope, receive, send)


app.asgi_app = airweave_first  # type: ignore[method-assign]


@app.get("/")
async def index() -> str:
    return "the rest of the application"
