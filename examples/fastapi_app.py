"""A receiver in FastAPI: AIRWEAVE_WEBHOOK_SECRET=whsec_… uvicorn fastapi_app:app."""

from pathlib import Path

from fastapi import FastAPI

from airweave_webhooks import OrganizationMemberAdded, Receiver, Reject, Retry, SyncCompleted, SyncFailed
from airweave_webhooks.integrations.fastapi import receiver_router

receiver = Receiver(store="sqlite:///airweave.db")


@receiver.on("sync.completed", source_type={"github", "gitlab"})
async def refresh(event: SyncCompleted) -> None:
    print(f"refreshing the cache of {event.collection_readable_id}")


@receiver.on("sync.failed")
def alert(event: SyncFailed) -> None:  # a plain function runs in a thread, so it may block
    if Path("maintenance").exists():
        raise Retry("nobody is paged during maintenance", after=600)  # Airweave sends it again, then
    print(f"paging somebody: {event.collection_name} failed with {event.error}")


@receiver.on("organization.member_added")
def welcome(event: OrganizationMemberAdded) -> None:
    if not event.affected_user_emails:
        raise Reject("nobody to welcome")  # sending it again would not help
    for address in event.affected_user_emails:
        print(f"welcoming {address}")


app = FastAPI(lifespan=receiver.lifespan)
app.include_router(receiver_router(receiver, "/webhooks/airweave"))
