"""A receiver in Litestar: AIRWEAVE_WEBHOOK_SECRET=whsec_… uvicorn litestar_app:app."""

from litestar import Litestar, asgi, get
from litestar.types import Receive, Scope, Send

from airweave_webhooks import Receiver, SyncCompleted

receiver = Receiver(store="sqlite:///airweave.db")


@receiver.on("sync.completed")
async def refresh(event: SyncCompleted) -> None:
    print(f"refreshing the cache of {event.collection_readable_id}")


@asgi("/webhooks/airweave", is_mount=True, copy_scope=True)  # one of Litestar's own handlers would parse the body
async def airweave(scope: Scope, receive: Receive, send: Send) -> None:
    await receiver(scope, receive, send)  # type: ignore[arg-type]  # Litestar's own names for ASGI's types


@get("/")
async def index() -> str:
    return "the rest of the application"


app = Litestar([airweave, index], lifespan=[receiver.lifespan])
