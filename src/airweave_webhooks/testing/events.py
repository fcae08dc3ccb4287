"""Events to test with: a function for every event type, and for what is older, or newer, than this release.

Each makes an event as Airweave would send it, with values that fit together, a fresh identity (another job, another
search) and the present time; what matters to a test is given by name:

    events.sync_completed(collection="docs", entities_inserted=3)

`collection` is short for `collection_readable_id`, and names the collection, too. Type checkers know the fields.
"""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any, TypedDict, TypeVar, Unpack
from uuid import UUID

from airweave_webhooks.errors import ConfigurationError
from airweave_webhooks.events import (
    EVENT_TYPES,
    AccessControlBatchProcessed,
    CollectionCreated,
    CollectionDeleted,
    CollectionUpdated,
    EntityBatchProcessed,
    Event,
    OrganizationCreated,
    OrganizationDeleted,
    OrganizationMemberAdded,
    OrganizationMemberRemoved,
    QueryProcessed,
    SearchCompleted,
    SearchFailed,
    SearchReranking,
    SearchStarted,
    SearchThinking,
    SearchToolCalled,
    SourceConnectionAuthCompleted,
    SourceConnectionCreated,
    SourceConnectionDeleted,
    SyncCancelled,
    SyncCancelling,
    SyncCompleted,
    SyncFailed,
    SyncPending,
    SyncRunning,
    UnknownEvent,
)
from airweave_webhooks.events.parsing import event_type_of, parse
from airweave_webhooks.routing.nearest import nearest
from airweave_webhooks.testing.payloads import LEGACY, fresh_payload
from airweave_webhooks.testing.recording import compact

E = TypeVar("E", bound=Event)

Id = UUID | str
Time = datetime | str


class Common(TypedDict, total=False):
    """What all events have."""

    timestamp: Time
    organization_id: Id | None


class Sync(Common, total=False):
    """Fields of `sync.*`."""

    collection: str
    sync_id: Id
    sync_job_id: Id
    collection_id: Id
    source_connection_id: Id
    source_type: str
    collection_name: str
    collection_readable_id: str
    entities_inserted: int
    entities_updated: int
    entities_deleted: int
    entities_skipped: int
    chunks_written: int
    error: str | None


class SourceConnection(Common, total=False):
    """Fields of `source_connection.*`."""

    collection: str
    source_connection_id: Id
    collection_readable_id: str
    source_type: str
    is_authenticated: bool


class Collection(Common, total=False):
    """Fields of `collection.*`."""

    collection: str
    collection_id: Id
    collection_name: str
    collection_readable_id: str


class Organization(Common, total=False):
    """Fields of `organization.*`."""

    organization_name: str
    owner_email: str
    affected_user_emails: Sequence[str]
    plan: str


class EntityBatch(Common, total=False):
    """Fields of `entity.batch_processed`."""

    sync_id: Id
    sync_job_id: Id
    collection_id: Id
    source_connection_id: Id
    source_type: str
    inserted: int
    updated: int
    deleted: int
    kept: int
    type_breakdown: Mapping[str, Mapping[str, int]]
    batch_seq: int
    batch_duration_ms: float
    billable: bool


class AccessControlBatch(Common, total=False):
    """Fields of `access_control.batch_processed`."""

    sync_id: Id
    sync_job_id: Id
    source_connection_id: Id
    source_type: str
    collected: int
    upserted: int


class Query(Common, total=False):
    """Fields of `query.processed`."""

    collection_id: Id | None
    queries: int
    billable: bool


class Search(Common, total=False):
    """What all steps of a search have."""

    request_id: str


class Started(Search, total=False):
    """Fields of `search.started`."""

    collection: str
    tier: str
    collection_readable_id: str
    query: str
    plan: Any
    retrieval_strategy: Any
    thinking: Any
    filter: Any
    limit: int | None
    offset: int | None


class Ended(Search, total=False):
    """What `search.completed` and `search.failed` share."""

    tier: str
    plan: Any
    duration_ms: float
    diagnostics: Any


class Completed(Ended, total=False):
    """Fields of `search.completed`."""

    results: list[Any]
    billable: bool
    collection_id: Id | None


class Failed(Ended, total=False):
    """Fields of `search.failed`."""

    message: str


class Step(Search, total=False):
    """Fields of `search.reranking`."""

    duration_ms: float
    diagnostics: Any


class Thinking(Step, total=False):
    """Fields of `search.thinking`."""

    thinking: Any
    text: Any


class ToolCalled(Step, total=False):
    """Fields of `search.tool_called`."""

    tool_name: str


def sync_pending(**fields: Unpack[Sync]) -> SyncPending:
    """Make a `sync.pending`."""
    return _event(SyncPending, fields)


def sync_running(**fields: Unpack[Sync]) -> SyncRunning:
    """Make a `sync.running`."""
    return _event(SyncRunning, fields)


def sync_cancelling(**fields: Unpack[Sync]) -> SyncCancelling:
    """Make a `sync.cancelling`."""
    return _event(SyncCancelling, fields)


def sync_completed(**fields: Unpack[Sync]) -> SyncCompleted:
    """Make a `sync.completed`."""
    return _event(SyncCompleted, fields)


def sync_failed(**fields: Unpack[Sync]) -> SyncFailed:
    """Make a `sync.failed`."""
    return _event(SyncFailed, fields)


def sync_cancelled(**fields: Unpack[Sync]) -> SyncCancelled:
    """Make a `sync.cancelled`."""
    return _event(SyncCancelled, fields)


def source_connection_created(**fields: Unpack[SourceConnection]) -> SourceConnectionCreated:
    """Make a `source_connection.created`."""
    return _event(SourceConnectionCreated, fields)


def source_connection_auth_completed(**fields: Unpack[SourceConnection]) -> SourceConnectionAuthCompleted:
    """Make a `source_connection.auth_completed`."""
    return _event(SourceConnectionAuthCompleted, fields)


def source_connection_deleted(**fields: Unpack[SourceConnection]) -> SourceConnectionDeleted:
    """Make a `source_connection.deleted`."""
    return _event(SourceConnectionDeleted, fields)


def collection_created(**fields: Unpack[Collection]) -> CollectionCreated:
    """Make a `collection.created`."""
    return _event(CollectionCreated, fields)


def collection_updated(**fields: Unpack[Collection]) -> CollectionUpdated:
    """Make a `collection.updated`."""
    return _event(CollectionUpdated, fields)


def collection_deleted(**fields: Unpack[Collection]) -> CollectionDeleted:
    """Make a `collection.deleted`."""
    return _event(CollectionDeleted, fields)


def organization_created(**fields: Unpack[Organization]) -> OrganizationCreated:
    """Make a `organization.created`."""
    return _event(OrganizationCreated, fields)


def organization_deleted(**fields: Unpack[Organization]) -> OrganizationDeleted:
    """Make a `organization.deleted`."""
    return _event(OrganizationDeleted, fields)


def organization_member_added(**fields: Unpack[Organization]) -> OrganizationMemberAdded:
    """Make a `organization.member_added`."""
    return _event(OrganizationMemberAdded, fields)


def organization_member_removed(**fields: Unpack[Organization]) -> OrganizationMemberRemoved:
    """Make a `organization.member_removed`."""
    return _event(OrganizationMemberRemoved, fields)


def entity_batch_processed(**fields: Unpack[EntityBatch]) -> EntityBatchProcessed:
    """Make a `entity.batch_processed`."""
    return _event(EntityBatchProcessed, fields)


def access_control_batch_processed(**fields: Unpack[AccessControlBatch]) -> AccessControlBatchProcessed:
    """Make a `access_control.batch_processed`."""
    return _event(AccessControlBatchProcessed, fields)


def query_processed(**fields: Unpack[Query]) -> QueryProcessed:
    """Make a `query.processed`."""
    return _event(QueryProcessed, fields)


def search_started(**fields: Unpack[Started]) -> SearchStarted:
    """Make a `search.started`."""
    return _event(SearchStarted, fields)


def search_completed(**fields: Unpack[Completed]) -> SearchCompleted:
    """Make a `search.completed`."""
    return _event(SearchCompleted, fields)


def search_failed(**fields: Unpack[Failed]) -> SearchFailed:
    """Make a `search.failed`."""
    return _event(SearchFailed, fields)


def search_reranking(**fields: Unpack[Step]) -> SearchReranking:
    """Make a `search.reranking`."""
    return _event(SearchReranking, fields)


def search_thinking(**fields: Unpack[Thinking]) -> SearchThinking:
    """Make a `search.thinking`."""
    return _event(SearchThinking, fields)


def search_tool_called(**fields: Unpack[ToolCalled]) -> SearchToolCalled:
    """Make a `search.tool_called`."""
    return _event(SearchToolCalled, fields)


def legacy(event_type: str = "sync.completed", /, **fields: Any) -> dict[str, Any]:
    """Make the payload of a sync event in its older shape: `job_id` for `sync_job_id`, and no other ids.

    A payload and not an event: its shape is what matters, and an event has only one.
    """
    if event_type not in EVENT_TYPES or not event_type.startswith("sync."):
        raise ConfigurationError(f"the older shape is one of sync events, not of {event_type!r}")
    status = event_type.partition(".")[2]
    payload = fresh_payload(LEGACY) | {"event_type": event_type, "status": status}
    return payload | _given(payload, fields)


def unknown(event_type: str, /, **payload: Any) -> UnknownEvent:
    """Make an event of a type that this release does not know.

    Raises:
        ConfigurationError: it knows the type.
    """
    if event_type in EVENT_TYPES:
        raise ConfigurationError(f"{event_type} is known: use events.{event_type.replace('.', '_')}()")
    event = parse(compact(fresh_payload(None) | {"event_type": event_type} | payload))
    assert isinstance(event, UnknownEvent), "its type is not known"  # noqa: S101
    return event


def _event(cls: type[E], fields: Mapping[str, Any]) -> E:
    payload = fresh_payload(event_type_of(cls))
    return cls.model_validate(payload | _given(payload, fields))


def _given(payload: Mapping[str, Any], fields: Mapping[str, Any]) -> dict[str, Any]:
    """What was given, under the names that are sent."""
    given = dict(fields)
    if "collection" in given and "collection_readable_id" in payload:
        name = given.pop("collection")
        names = [each for each in ("collection_readable_id", "collection_name") if each in payload]
        given = dict.fromkeys(names, name) | given
    for name in given:
        if name not in payload or name == "event_type":
            raise TypeError(f"{payload['event_type']} has no field {name!r}{nearest(name, payload)}")
    return given
