"""The receiver that the demo sends to. Its handlers stand for what a user's would do, and note that they did it."""

import asyncio
import logging
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import Final

from fastapi import FastAPI

from airweave_webhooks import (
    CollectionEvent,
    Delivery,
    Inbox,
    OrganizationMemberAdded,
    Receiver,
    Reject,
    Retry,
    SourceConnectionEvent,
    SyncCompleted,
    SyncFailed,
    UnknownEvent,
)
from airweave_webhooks.integrations.fastapi import receiver_router

PATH: Final = "/webhooks/airweave"
INBOX_PATH: Final = "/webhooks/inbox"
EFFECTS: Final = "demo.effects"

# Collections and sources with which the sender asks for trouble.
LARGE: Final = "large-collection"
UNLUCKY: Final = "unlucky-collection"
SLOW_SOURCE: Final = "notion"

# Seconds that a large collection takes: enough for a second attempt to arrive meanwhile.
LARGE_TAKES: Final = 1.5
# Seconds that the slow source asks for.
SOURCE_TAKES: Final = 30

receiver = Receiver(name="demo", store="sqlite:///demo.db")
inbox = Receiver(name="demo-inbox", store="sqlite:///demo.db", mode=Inbox(first_pause=0.2, poll=0.1))


def done(handler: str, delivery: Delivery) -> None:
    logging.getLogger(EFFECTS).info("%s %s", delivery.id, handler)


@receiver.on("sync.completed", source_type={"github", "gitlab"})
async def refresh(event: SyncCompleted, delivery: Delivery) -> None:
    done(f"refresh {event.collection_readable_id}", delivery)


@receiver.on("sync.failed")
def page(event: SyncFailed, delivery: Delivery) -> None:
    if event.collection_readable_id == UNLUCKY and delivery.attempt == 1:
        raise ConnectionError("the pager does not answer")
    done(f"page {event.error}", delivery)


@receiver.on("source_connection.*")
async def connect(event: SourceConnectionEvent, delivery: Delivery) -> None:
    if event.source_type == SLOW_SOURCE:
        raise Retry("the source is not ready", after=SOURCE_TAKES)
    done("connect", delivery)


@receiver.on("collection.*")
async def index(event: CollectionEvent, delivery: Delivery) -> None:
    if event.collection_readable_id == LARGE:
        await asyncio.sleep(LARGE_TAKES)
    done("index", delivery)


@receiver.on("organization.member_added")
def welcome(event: OrganizationMemberAdded, delivery: Delivery) -> None:
    if not event.affected_user_emails:
        raise Reject("nobody to welcome")
    done("welcome", delivery)


@receiver.on(UnknownEvent)
async def notice(event: UnknownEvent, delivery: Delivery) -> None:
    done(f"notice {event.event_type}", delivery)


@inbox.on("sync.failed")
def page_later(event: SyncFailed, delivery: Delivery) -> None:
    if event.collection_readable_id == UNLUCKY and delivery.attempt == 1:
        raise ConnectionError("the pager does not answer")
    done(f"page_later {event.error}", delivery)


@inbox.on("collection.*")
async def index_later(event: CollectionEvent, delivery: Delivery) -> None:
    if event.collection_readable_id == LARGE:
        await asyncio.sleep(LARGE_TAKES)
    done("index_later", delivery)


@asynccontextmanager
async def lifespan(_: FastAPI) -> AsyncGenerator[None]:
    async with receiver, inbox:
        yield


app = FastAPI(lifespan=lifespan)
app.include_router(receiver_router(receiver, PATH))
app.include_router(receiver_router(inbox, INBOX_PATH))
