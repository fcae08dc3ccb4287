"""Queries counted for billing: `query.*`. Not in Airweave's documentation."""

from typing import ClassVar, Literal
from uuid import UUID

from pydantic import AwareDatetime

from airweave_webhooks.events.base import Event


class QueryProcessed(Event):
    """Queries were processed. It names no query, so it has no natural key."""

    domain: ClassVar[str] = "query"

    event_type: Literal["query.processed"]
    timestamp: AwareDatetime
    collection_id: UUID | None = None
    queries: int
    """How many."""
    billable: bool
