"""User code that type checkers must accept as it stands, and that must run."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping, Sequence
from typing import Annotated, Any, assert_type
from uuid import UUID

import psycopg
from fastapi import Depends, FastAPI, Request, Response
from flask import Flask
from sqlalchemy import MetaData, create_engine, orm
from sqlalchemy.ext.asyncio import AsyncSession
from starlette.applications import Starlette
from starlette.routing import Route

from airweave_webhooks import (
    AccessControlBatchProcessed,
    BodyLimits,
    CollectionCreated,
    CollectionDeleted,
    CollectionEvent,
    Delivery,
    Event,
    Inbox,
    Inline,
    MemoryStore,
    Observer,
    OrganizationEvent,
    Receiver,
    Reject,
    Reply,
    Retry,
    Router,
    SearchCompleted,
    SearchEvent,
    SearchFailed,
    SearchStarted,
    SourceConnectionEvent,
    SQLiteStore,
    SyncCancelled,
    SyncCompleted,
    SyncEvent,
    SyncFailed,
    UnknownEvent,
    natural_key,
)
from airweave_webhooks.integrations.fastapi import REFUSALS, DeliveryRefused, document_webhooks, verified
from airweave_webhooks.integrations.psycopg import once as once_with_psycopg
from airweave_webhooks.integrations.sqlalchemy import once, once_table
from airweave_webhooks.integrations.wsgi import WSGIReceiver
from airweave_webhooks.stores import Store
from airweave_webhooks.stores.base import Claim, Claimed, Lease, Record, Settle
from airweave_webhooks.testing import AsyncClient, Client, Run, Sent, events

SECRET = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
receiver = Receiver(secrets=SECRET)
ID = UUID("7d444840-9dc0-41d1-b245-5ffdce74fad2")


# Handlers come back unchanged: names, defaults and results of their parameters included.


@receiver.on("sync.completed")
async def refresh(event: SyncCompleted) -> int:
    return event.entities_inserted


@receiver.on("sync.failed", "sync.cancelled", source_type="github")
def alert(event: SyncFailed | SyncCancelled, delivery: Delivery, urgency: int = 1) -> str:
    if event.error is None:
        raise Reject("nothing to tell")
    if urgency > 2:
        raise Retry("rate limit", after=60)
    return delivery.idempotency_key


async def called(completed: SyncCompleted, failed: SyncFailed, delivery: Delivery) -> None:
    assert_type(await refresh(completed), int)
    assert_type(await refresh(event=completed), int)
    assert_type(alert(failed, delivery, urgency=2), str)
    assert_type(alert(event=failed, delivery=delivery), str)


class Hooks:
    @receiver.on("collection.deleted")
    @staticmethod
    def forget(event: CollectionDeleted) -> bytes:
        return event.collection_id.bytes


def forgotten(event: CollectionDeleted) -> None:
    assert_type(Hooks.forget(event), bytes)


# Every kind of pattern.


@receiver.on("sync.*")
async def any_sync(event: SyncEvent) -> None: ...


@receiver.on("*")
async def anything(event: Event) -> None: ...


@receiver.on(SyncCompleted)
async def by_class(event: SyncCompleted) -> None: ...


@receiver.on(SyncCompleted, SyncFailed)
async def by_classes(event: SyncCompleted | SyncFailed) -> None: ...


@receiver.on(SyncEvent, CollectionEvent)
async def by_bases(event: SyncEvent | CollectionEvent) -> None: ...


@receiver.on("sync.failed", SyncCancelled, "collection.*", CollectionCreated)
async def by_all_kinds(event: SyncEvent | CollectionEvent) -> None: ...


@receiver.on("sync.completed", "collection.created", "search.*", id="several domains")
async def by_domains(event: SyncCompleted | CollectionCreated | SearchEvent) -> None: ...


@receiver.on(UnknownEvent, when=lambda event: event.event_type.startswith("moon.") and "crew" in event.payload)
async def unknown(event: UnknownEvent) -> None:
    assert_type(event.payload, Mapping[str, Any])


@receiver.on("sync.completed")
@receiver.on("sync.failed", id="stacked")
async def stacked() -> None: ...


# Predicates know the fields of what the patterns let through.

router = Router()
router.on("sync.failed", id="1", when=lambda event: event.error is not None and "401" in event.error)(any_sync)
router.on("sync.*", id="2", when=lambda event: event.entities_inserted + event.entities_updated > 100)(any_sync)
router.on("sync.failed", "sync.completed", id="3", when=lambda event: event.chunks_written > 0)(any_sync)
router.on("source_connection.created", id="4", when=lambda event: not event.is_authenticated)(anything)
router.on("source_connection.*", id="5", when=lambda event: event.source_type == "slack")(anything)
router.on("collection.updated", id="6", when=lambda event: event.collection_name.startswith("prod"))(anything)
router.on("organization.member_added", id="7", when=lambda event: "a@b.c" in event.affected_user_emails)(anything)
router.on("entity.batch_processed", id="8", when=lambda event: event.batch_seq == 0)(anything)
router.on("access_control.batch_processed", id="9", when=lambda event: event.upserted > 0)(anything)
router.on("query.processed", id="10", when=lambda event: event.queries > 1)(anything)
router.on("search.started", id="11", when=lambda event: "secret" in event.query)(anything)
router.on("search.completed", id="12", when=lambda event: len(event.results) == 0)(anything)
router.on("search.failed", id="13", when=lambda event: "quota" in event.message)(anything)
router.on("search.reranking", id="14", when=lambda event: event.duration_ms > 1000)(anything)
router.on("search.thinking", id="15", when=lambda event: event.text is not None)(anything)
router.on("search.tool_called", id="16", when=lambda event: event.tool_name == "search")(anything)
router.on("search.*", id="17", when=lambda event: event.request_id.startswith("req"))(anything)
router.on(SyncFailed, id="18", when=lambda event: event.error is None)(any_sync)
router.on(SyncEvent, id="19", when=lambda event: event.sync_id is None)(any_sync)
router.on(SearchStarted, id="20", when=lambda event: event.limit is None)(anything)
router.on(SearchCompleted, SearchFailed, id="21", when=lambda event: event.request_id != "")(anything)
router.on("*", id="22", when=lambda event: event.organization_id is not None)(anything)
router.on("sync.failed", "collection.created", id="23", when=lambda event: event.timestamp is not None)(anything)
router.on("sync.failed", SyncCancelled, id="24", when=lambda event: event.natural_key is not None)(any_sync)


def of_production(event: Event) -> bool:
    return event.domain != "search"


router.on("sync.failed", id="25", when=of_production)(any_sync)
router.on(OrganizationEvent, AccessControlBatchProcessed, SourceConnectionEvent, id="26", when=of_production)(anything)

# Filters take a value or a collection of values.

router.on("sync.*", id="30", source_type="github", collection_readable_id={"docs", "code"})(any_sync)
router.on("sync.*", id="31", source_type=["github", "slack"], collection_name=("Docs",))(any_sync)
router.on("sync.*", id="32", collection_id=ID, organization_id=str(ID), sync_id=[ID, str(ID)])(any_sync)
router.on("sync.*", id="33", source_connection_id=frozenset({ID}), sync_job_id=(str(ID),))(any_sync)
router.on("source_connection.*", id="34", is_authenticated=True)(anything)
router.on(SearchEvent, id="35", tier="instant", request_id=["req-1"], billable=False)(anything)
router.on("search.tool_called", id="36", tool_name={"search": 1}.keys(), when=lambda event: bool(event.tool_name))(
    anything
)


# Dependencies: every kind of factory, for bare and annotated types.


class Session:
    def __init__(self, dsn: str = "") -> None:
        self.dsn = dsn


def make_session() -> Session:
    return Session()


async def make_session_later(delivery: Delivery) -> Session:
    return Session(delivery.id)


def lend_session() -> Iterator[Session]:
    yield Session()


async def lend_session_later(event: Event) -> AsyncIterator[Session]:
    yield Session(event.event_type)


Replica = Annotated[Session, "replica"]
router.provide(Session, make_session)
router.provide(Replica, lend_session_later)
router.provide(Annotated[Session, "other"], make_session_later)
router.provide(Annotated[Session, "last"], lambda: Session("last"))


@router.on("sync.completed")
async def with_dependencies(event: SyncCompleted, /, session: Session, *, replica: Replica) -> tuple[Session, Session]:
    return session, replica


def overridden() -> None:
    with router.override(Session, lend_session), router.override(Replica, Session):
        assert router.table.handlers


receiver.include(router)


# A store, an observer and secrets of one's own.


class OwnStore:
    """Has what the protocol asks for, and does not derive from it."""

    round_trip = True
    durable = False

    async def open(self) -> None: ...

    async def close(self) -> None: ...

    async def claim(self, claims: Sequence[Claim]) -> list[Claimed]:
        return [Claimed("claimed") for _ in claims]

    async def settle(self, settles: Sequence[Settle]) -> list[bool]:
        return [True for _ in settles]

    def renew(self, leases: Sequence[Lease], seconds: float) -> list[bool]:
        return [seconds > 0 for _ in leases]

    async def get(self, keys: Sequence[Any]) -> list[Record | None]:
        return [None for _ in keys]

    async def purge(self, *, done_for: float, abandoned_for: float, most: int) -> int:
        return 0


stores: list[Store] = [OwnStore(), MemoryStore(), SQLiteStore("airweave.db")]


class Metrics(Observer):
    """Overrides one method of many."""

    def replied(self, delivery: Delivery, reply: Reply, seconds: float) -> None:
        self.last = f"{delivery.id}: {reply.status} after {seconds:.3f} s"


def secret() -> str:
    return SECRET


async def secret_later() -> list[str]:
    return [SECRET]


def secrets_of(tenant: str) -> str | None:
    return SECRET if tenant == "acme" else None


async def secrets_of_later(tenant: str) -> Sequence[str] | None:
    return [SECRET] if tenant == "acme" else None


def secret_awaitable() -> Awaitable[str]:
    return secrets_of_nobody()


async def secrets_of_nobody() -> str:
    return SECRET


receivers = [
    Receiver(),
    Receiver(secrets=None),
    Receiver(secrets=[SECRET]),
    Receiver(secrets=(SECRET, SECRET), retired_secrets=[SECRET]),
    Receiver(secrets=secret),
    Receiver(secrets=secret_later),
    Receiver(secrets=secret_awaitable),
    Receiver(secrets=secrets_of),
    Receiver(secrets=secrets_of_later),
    Receiver(secrets=lambda: SECRET),
    Receiver(store="sqlite:///airweave.db", mode=Inbox(worker=False, concurrency=10, first_pause=0.5)),
    Receiver(secrets=lambda tenant: SECRET if tenant == "acme" else None),
    Receiver(
        name="all",
        secrets=SECRET,
        store=OwnStore(),
        mode=Inline(answer_within=5, most_threads=2),
        key=natural_key,
        tolerance=60,
        retention_days=30,
        body_limits=BodyLimits(most_bytes=2**20),
        observer=Metrics(),
        clock=lambda: 0.0,
    ),
    Receiver(store="sqlite:///airweave.db", key=lambda delivery: delivery.id),
]


# Mounting, and doing without.


async def without_a_framework(headers: Mapping[str, str], body: bytes) -> tuple[int, bytes]:
    async with receiver as opened:
        assert_type(opened, Receiver)
        reply = await opened.handle(headers, body)
        assert_type(reply, Reply)
        await receiver.handle([("svix-id", "msg_1")], body, tenant="acme")
        await receiver.handle([(b"svix-id", b"msg_1")], body, None)
    assert_type(reply.headers, dict[str, str])
    assert_type(reply.retry_after, int | None)
    return reply.status, reply.body


assert_type(receiver.route("/webhooks/airweave"), Route)
app = Starlette(routes=[receiver.route("/webhooks/airweave")], lifespan=receiver.lifespan)
app.mount("/webhooks", receiver)


class TenantReceiver(Receiver):
    """Can be derived from."""

    async def deliver(self, body: bytes) -> int:
        async with self as opened:
            assert_type(opened.name, str)
            return (await opened.handle({}, body)).status


function: Callable[[SyncCompleted], Awaitable[int]] = refresh


async def exactly_once(delivery: Delivery, session: AsyncSession, connection: psycopg.AsyncConnection) -> None:
    """Awaits on async sessions and connections, and does not on others."""
    assert_type(await once(delivery, session), bool)
    assert_type(await once_with_psycopg(delivery, connection, name="audit"), bool)


def exactly_once_in_a_thread(delivery: Delivery, session: orm.Session, connection: psycopg.Connection) -> None:
    """Also connections and scoped sessions of SQLAlchemy."""
    assert_type(once(delivery, session, table=once_table(MetaData(), schema="app")), bool)
    assert_type(once(delivery, orm.scoped_session(orm.sessionmaker(create_engine("sqlite://")))), bool)
    assert_type(once_with_psycopg(delivery, connection), bool)


# Inbox mode.


@receiver.on("sync.*", order_by="sync_job_id", stale="drop", timeout=30, max_attempts=5, concurrency=2, id="ordered")
async def ordered(event: SyncEvent) -> None:
    """Options stand beside filters."""


async def operated(stop: asyncio.Event) -> None:
    """A worker of its own, and its health."""
    await receiver.work(concurrency=5, stop=stop)
    health = await receiver.health()
    assert_type(health.oldest_pending, float)
    assert_type(health.worker_seen, float | None)


Starlette(routes=[receiver.route("/webhooks/airweave"), receiver.health_route("/health")])

# Integrations.

api = FastAPI()
document_webhooks(api)
in_wsgi = WSGIReceiver(receiver)
flask = Flask("flask")
flask.add_url_rule("/webhooks", view_func=lambda: in_wsgi)


def view_of_my_own(environ: dict[str, Any], tenant: str) -> bytes:
    """The receiver's answer, for any framework."""
    reply = in_wsgi.answer(environ, tenant)
    assert_type(reply, Reply)
    return reply.body


@api.post("/verified", responses=REFUSALS)
async def verified_only(delivery: Annotated[Delivery, Depends(verified(receiver))]) -> str:
    """What is injected is typed by its annotation."""
    return delivery.event.event_type


@api.exception_handler(DeliveryRefused)
async def refused_by_ourselves(_: Request, error: DeliveryRefused) -> Response:
    """With the receiver's own answer at hand."""
    assert_type(error.reply, Reply)
    return Response(error.reply.body, error.reply.status, error.headers)


# The test kit.


def tested(airweave_client: Client) -> None:
    """Factories make their own class, and know its fields."""
    event = events.sync_completed(collection="docs", entities_inserted=3, timestamp="2026-01-01T00:00:00Z")
    assert_type(event, SyncCompleted)
    sent = airweave_client.send(event, tenant="acme")
    assert_type(sent, Sent)
    assert_type(airweave_client.concurrent(events.unknown("a.b", anything=1), 3), list[Sent])
    airweave_client.assert_handled_once(sent, airweave_client.duplicate(sent))
    with airweave_client.crash_after("claim"):
        airweave_client.send(b"{}")
    assert_type(airweave_client.run_pending(), list[Run])


async def tested_in_a_loop(airweave_client: AsyncClient) -> None:
    """The same, awaited."""
    assert_type(await airweave_client.send({"event_type": "a.b"}), Sent)
