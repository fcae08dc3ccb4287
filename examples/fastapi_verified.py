"""Only verified, typed deliveries, in a FastAPI route: AIRWEAVE_WEBHOOK_SECRET=whsec_… uvicorn fastapi_verified:app."""

from typing import Annotated

from fastapi import Depends, FastAPI

from airweave_webhooks import Delivery, Receiver, SyncCompleted
from airweave_webhooks.integrations.fastapi import REFUSALS, document_webhooks, verified

receiver = Receiver()

app = FastAPI()
document_webhooks(app)  # all of Airweave's events in /docs


@app.post("/webhooks/airweave", responses=REFUSALS)
async def receive(delivery: Annotated[Delivery, Depends(verified(receiver))]) -> dict[str, str]:
    # It may come twice, and has to be answered in 15 s: the rest is up to you.
    if isinstance(delivery.event, SyncCompleted):
        print(f"{delivery.id}: refreshing the cache of {delivery.event.collection_readable_id}")
    return {"status": "done"}
