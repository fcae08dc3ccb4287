"""A receiver in Starlette: AIRWEAVE_WEBHOOK_SECRET=whsec_… uvicorn starlette_app:app."""

from pathlib import Path

from starlette.applications import Starlette

from airweave_webhooks import Delivery, Receiver, Reject, Retry, SourceConnectionEvent, SyncEvent, UnknownEvent

receiver = Receiver(store="sqlite:///airweave.db")


def ended(event: SyncEvent) -> bool:
    return event.event_type in {"sync.completed", "sync.failed", "sync.cancelled"}


@receiver.on("sync.*", when=ended)
def record(event: SyncEvent, delivery: Delivery) -> None:  # a plain function runs in a thread, so it may block
    if event.sync_id is None:
        raise Reject("the older shape of the event, which does not say which sync")  # sending it again would not help
    with Path("syncs.csv").open("a") as file:
        file.write(f"{event.sync_id},{event.event_type},{delivery.attempt}\n")


@receiver.on(SourceConnectionEvent, source_type="github")
async def invite(event: SourceConnectionEvent) -> None:
    if not event.is_authenticated and event.event_type == "source_connection.auth_completed":
        raise Retry("the token is still being written", after=30)  # Airweave sends it again, then
    print(f"{event.event_type}: {event.collection_readable_id}")


@receiver.on(UnknownEvent)
async def notice(event: UnknownEvent) -> None:
    print(f"Airweave has a new event, {event.event_type}: time for an upgrade?")


app = Starlette(lifespan=receiver.lifespan, routes=[receiver.route("/webhooks/airweave")])
