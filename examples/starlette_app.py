"""A receiver in Starlette: AIRWEAVE_WEBHOOK_SECRET=whsec_… uvicorn starlette_app:app."""

from pathlib import Path

from starlette.applications import Starlette

from airweave_webhooks import Delivery, Receiver, Reject, Retry, SourceConnectionEvent, SyncEvent, UnknownEvent

REPORTS = Path("reports")

receiver = Receiver(store="sqlite:///airweave.db")


@receiver.on("sync.completed", "sync.failed", when=lambda event: event.source_type != "slack")
def report(event: SyncEvent, delivery: Delivery) -> None:  # a plain function runs in a thread, so it may block
    if event.sync_id is None:
        raise Reject("the older shape, which does not say which sync")  # sending it again would not help
    if not REPORTS.is_dir():
        raise Retry("the disk for the reports is not mounted", after=60)  # Airweave sends it again, then
    with (REPORTS / "syncs.csv").open("a") as file:
        file.write(f"{event.sync_id},{event.event_type},{delivery.attempt}\n")


@receiver.on("source_connection.*", source_type={"github", "gitlab"})
async def connected(event: SourceConnectionEvent) -> None:
    print(f"{event.event_type}: {event.collection_readable_id}")


@receiver.on(UnknownEvent)
async def notice(event: UnknownEvent) -> None:
    print(f"an event that this version does not know: {event.event_type}")


app = Starlette(lifespan=receiver.lifespan, routes=[receiver.route("/webhooks/airweave")])
