"""Entities written by a running sync: `entity.*`. Sent at a high rate, and not in Airweave's documentation."""

from collections.abc import Mapping
from typing import ClassVar, Literal
from uuid import UUID

from pydantic import AwareDatetime, BaseModel, ConfigDict

from airweave_webhooks.events.base import Event


class EntityCounts(BaseModel):
    """What happened to the entities of one type."""

    model_config: ClassVar[ConfigDict] = ConfigDict(frozen=True, extra="allow")

    inserted: int = 0
    updated: int = 0
    deleted: int = 0
    kept: int = 0


class EntityBatchProcessed(Event):
    """A sync wrote one batch of entities."""

    domain: ClassVar[str] = "entity"

    event_type: Literal["entity.batch_processed"]
    timestamp: AwareDatetime
    sync_id: UUID
    sync_job_id: UUID
    """The job that wrote the batch."""
    collection_id: UUID
    source_connection_id: UUID
    source_type: str
    """As in `github`."""
    inserted: int
    updated: int
    deleted: int
    kept: int
    type_breakdown: Mapping[str, EntityCounts] = {}
    """The counts of each type of entity."""
    batch_seq: int
    """Which batch of the job it is."""
    batch_duration_ms: float
    """Milliseconds."""
    billable: bool

    @property
    def natural_key(self) -> str:
        """`<event_type>:<sync_job_id>:<batch_seq>`."""
        return self._key(self.sync_job_id, self.batch_seq)
