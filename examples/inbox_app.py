"""Acknowledge at once, work later: AIRWEAVE_WEBHOOK_SECRET=whsec_… uvicorn inbox_app:app.

The worker runs in the same process. To keep it apart, say Inbox(worker=False), and start beside uvicorn:
AIRWEAVE_WEBHOOK_SECRET=whsec_… airweave-webhooks worker inbox_app:receiver
"""

import time
from pathlib import Path

from starlette.applications import Starlette

from airweave_webhooks import Delivery, Inbox, Receiver, Retry, SyncCompleted, SyncEvent

INDEX = Path("index")

receiver = Receiver(store="sqlite:///airweave.db", mode=Inbox(first_pause=0.5))


@receiver.on("sync.*", order_by="sync_job_id", stale="drop")
async def status(event: SyncEvent) -> None:
    """One job's events one at a time, by their own time; what is older than what is done is left out."""
    print(f"{event.sync_job_id}: {event.event_type}")


@receiver.on("sync.completed", timeout=60, max_attempts=8, concurrency=2)
def reindex(event: SyncCompleted, delivery: Delivery) -> None:  # a plain function runs in a thread
    if not INDEX.is_dir():
        raise Retry("the index is not there yet", after=0.5)
    time.sleep(0.1)  # what takes longer than the sender would wait
    print(f"indexed {event.collection_readable_id} in attempt {delivery.attempt}")


app = Starlette(
    lifespan=receiver.lifespan,
    routes=[receiver.route("/webhooks/airweave"), receiver.health_route("/health")],
)
