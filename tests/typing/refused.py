"""User code that type checkers must refuse: every line that ends in `# refused`, and no other."""

from collections.abc import Mapping
from uuid import UUID

from starlette.applications import Starlette

from airweave_webhooks import (
    CollectionCreated,
    CollectionEvent,
    Delivery,
    Event,
    Inbox,
    Inline,
    MemoryStore,
    Observer,
    Receiver,
    Reject,
    Reply,
    Retry,
    Router,
    SyncCompleted,
    SyncEvent,
    SyncFailed,
    UnknownEvent,
    natural_key,
)
from airweave_webhooks.stores import Store
from airweave_webhooks.testing import Client, events

receiver = Receiver()
ID = UUID("7d444840-9dc0-41d1-b245-5ffdce74fad2")


@receiver.on("sync.completed")
async def refresh(event: SyncCompleted, factor: int = 1) -> int:
    return event.entities_inserted * factor


@receiver.on("sync.failed")
def alert(event: SyncFailed, delivery: Delivery) -> str | None:
    return event.error


async def handler(event: Event) -> None: ...


class Foreign:
    """No event."""


def use(value: object) -> None:
    """Take anything."""


# Patterns.

receiver.on("sync.complete")(handler)  # refused
receiver.on("sync")(handler)  # refused
receiver.on("syncs.*")(handler)  # refused
receiver.on("Sync.Completed")(handler)  # refused
receiver.on("sync.completed", "sync.fialed")(handler)  # refused
receiver.on("sync.completed", SyncFailed, "collection.crated")(handler)  # refused
receiver.on("moon.landed")(handler)  # refused
receiver.on(str(ID))(handler)  # refused
receiver.on(["sync.completed"])(handler)  # refused
receiver.on(Foreign)(handler)  # refused
receiver.on(SyncFailed, Foreign)(handler)  # refused
receiver.on()(handler)  # refused
receiver.on(None)(handler)  # refused
receiver.on(handler)  # refused
receiver.on("sync.completed")(5)  # refused

# Filters and options.

receiver.on("sync.*", sourcetype="github")(handler)  # refused
receiver.on("sync.*", collection="docs")(handler)  # refused
receiver.on("sync.*", error="401")(handler)  # refused
receiver.on(SyncEvent, source_tpye="github")(handler)  # refused
receiver.on("sync.*", source_type=5)(handler)  # refused
receiver.on("sync.*", source_type=None)(handler)  # refused
receiver.on("sync.*", source_type=["github", 5])(handler)  # refused
receiver.on("sync.*", collection_name=ID)(handler)  # refused
receiver.on("sync.*", collection_id=5)(handler)  # refused
receiver.on("sync.*", collection_id=[ID, 5])(handler)  # refused
receiver.on("source_connection.*", is_authenticated="yes")(handler)  # refused
receiver.on("search.completed", billable=1)(handler)  # refused
receiver.on("sync.*", id=5)(handler)  # refused
receiver.on("sync.*", retries=5)(handler)  # refused
receiver.on("sync.*", "refresh", "github")(handler)  # refused

# Predicates.


def about_collections(event: CollectionEvent) -> bool:
    return event.collection_name == "Docs"


receiver.on("sync.*", when=about_collections)(handler)  # refused
receiver.on("*", when=about_collections)(handler)  # refused
receiver.on(SyncCompleted, when=about_collections)(handler)  # refused
receiver.on("collection.*", when=lambda event: event.error == "")(handler)  # refused
receiver.on("sync.*", when=lambda event: event.is_authenticated)(handler)  # refused
receiver.on("sync.*", when=lambda event: event.eror == "")(handler)  # refused
receiver.on("search.*", when=lambda event: event.tool_name == "search")(handler)  # refused
receiver.on("search.started", when=lambda event: event.tool_name == "search")(handler)  # refused
receiver.on(SyncFailed, when=lambda event: event.eror == "")(handler)  # refused
receiver.on(UnknownEvent, when=lambda event: event.source_type == "slack")(handler)  # refused
receiver.on("sync.*", "collection.*", when=lambda event: event.sync_id is None)(handler)  # refused
receiver.on("sync.*", when=lambda: True)(handler)  # refused
receiver.on("sync.*", when=True)(handler)  # refused

# Decorated functions are still what they were.


async def wrong_calls(completed: SyncCompleted, failed: SyncFailed, delivery: Delivery) -> None:
    await refresh(failed)  # refused
    await refresh()  # refused
    await refresh(completed, factor="2")  # refused
    await refresh(completed, delivery)  # refused
    await refresh(evnt=completed)  # refused
    (await refresh(completed)).upper()  # refused
    alert(failed)  # refused
    alert(failed, delivery, 3)  # refused
    await alert(failed, delivery)  # refused


# Fields.


@receiver.on("collection.created")
async def fields(event: CollectionCreated, delivery: Delivery) -> None:
    use(event.eror)  # refused
    use(event.source_type)  # refused
    use(event.collection_id.upper())  # refused
    use(delivery.event_id)  # refused
    use(delivery.event.source_type)  # refused
    use(delivery.tenant.upper())  # refused


def in_branches(event: Event) -> None:
    if isinstance(event, SyncFailed):
        use(event.error.upper())  # refused
    elif isinstance(event, UnknownEvent):
        use(event.collection_id)  # refused


# Routers.

router = Router()
router.include(handler)  # refused
router.provide(Foreign)  # refused
router.provide(Foreign, Foreign())  # refused
router.override(Foreign)  # refused
receiver.include("routers")  # refused

# Receivers.

Receiver("acme")  # refused
Receiver(name=5)  # refused
Receiver(secret="whsec_")  # refused
Receiver(secrets=5)  # refused
Receiver(secrets=b"whsec_")  # refused
Receiver(secrets=lambda: 5)  # refused
Receiver(secrets=lambda tenant, region: "whsec_")  # refused
Receiver(store=5)  # refused
Receiver(store=MemoryStore)  # refused
Receiver(mode="inline")  # refused
Receiver(mode=Inline)  # refused
Receiver(mode=Inline(timeout=5))  # refused
Receiver(mode=Inline(answer_within="5"))  # refused
Receiver(mode=Inbox(concurrency="5"))  # refused
Receiver(mode=Inbox(worker="no"))  # refused
receiver.on("sync.completed", order_by="sync_jobid")(print)  # refused
receiver.on("sync.completed", timeout="5")(print)  # refused
receiver.on("sync.completed", order_by="sync_job_id", stale="keep")(print)  # refused
receiver.work()  # refused
Receiver(key=lambda delivery: delivery.sent_at)  # refused
Receiver(key=lambda delivery: delivery.natural_key)  # refused
Receiver(tolerance="5 minutes")  # refused
Receiver(observer=print)  # refused


class Incomplete:
    """Some of a store."""

    round_trip = True
    durable = True

    async def open(self) -> None: ...


store: Store = Incomplete()  # refused


class Deaf(Observer):
    """Overrides a method with another signature."""

    def replied(self, delivery: Delivery, reply: Reply) -> None: ...  # refused


async def without_a_framework(headers: Mapping[str, str], body: bytes) -> None:
    await receiver.handle(body, headers)  # refused
    await receiver.handle(headers, body.decode())  # refused
    await receiver.handle(headers)  # refused
    await receiver.handle(headers, body, 5)  # refused
    use((await receiver.handle(headers, body)).status_code)  # refused
    reply = await receiver.handle(headers, body)
    reply.status = 200  # refused


app = Starlette(routes=[receiver])  # refused
natural_key(app)  # refused

# Verdicts.

Retry(60)  # refused
Retry("rate limit", after="60")  # refused
Retry("rate limit", 60)  # refused
Reject()  # refused
Reject(5)  # refused

# The test kit.

events.sync_completed(colection="docs")  # refused
events.sync_completed(entities_inserted="3")  # refused
events.query_processed(collection="docs")  # refused
client = Client(receiver)
client.send("text")  # refused
client.crash_after("before")  # refused
client.assert_dead(events.sync_failed())  # refused
