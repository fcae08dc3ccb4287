"""Airweave's events: one class a type, one base a domain, and `parse()`."""

from airweave_webhooks.events.access_control import AccessControlBatchProcessed
from airweave_webhooks.events.base import Event, UnknownEvent
from airweave_webhooks.events.collection import (
    CollectionCreated,
    CollectionDeleted,
    CollectionEvent,
    CollectionUpdated,
)
from airweave_webhooks.events.entity import EntityBatchProcessed, EntityCounts
from airweave_webhooks.events.organization import (
    OrganizationCreated,
    OrganizationDeleted,
    OrganizationEvent,
    OrganizationMemberAdded,
    OrganizationMemberRemoved,
)
from airweave_webhooks.events.parsing import EVENT_TYPES, AnyEvent, parse
from airweave_webhooks.events.query import QueryProcessed
from airweave_webhooks.events.search import (
    SearchCompleted,
    SearchEvent,
    SearchFailed,
    SearchReranking,
    SearchStarted,
    SearchThinking,
    SearchToolCalled,
)
from airweave_webhooks.events.source_connection import (
    SourceConnectionAuthCompleted,
    SourceConnectionCreated,
    SourceConnectionDeleted,
    SourceConnectionEvent,
)
from airweave_webhooks.events.sync import (
    SyncCancelled,
    SyncCancelling,
    SyncCompleted,
    SyncEvent,
    SyncFailed,
    SyncPending,
    SyncRunning,
)

__all__ = [
    "EVENT_TYPES",
    "AccessControlBatchProcessed",
    "AnyEvent",
    "CollectionCreated",
    "CollectionDeleted",
    "CollectionEvent",
    "CollectionUpdated",
    "EntityBatchProcessed",
    "EntityCounts",
    "Event",
    "OrganizationCreated",
    "OrganizationDeleted",
    "OrganizationEvent",
    "OrganizationMemberAdded",
    "OrganizationMemberRemoved",
    "QueryProcessed",
    "SearchCompleted",
    "SearchEvent",
    "SearchFailed",
    "SearchReranking",
    "SearchStarted",
    "SearchThinking",
    "SearchToolCalled",
    "SourceConnectionAuthCompleted",
    "SourceConnectionCreated",
    "SourceConnectionDeleted",
    "SourceConnectionEvent",
    "SyncCancelled",
    "SyncCancelling",
    "SyncCompleted",
    "SyncEvent",
    "SyncFailed",
    "SyncPending",
    "SyncRunning",
    "UnknownEvent",
    "parse",
]
