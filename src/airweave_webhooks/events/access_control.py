"""Access-control lists written by a running sync: `access_control.*`. Not in Airweave's documentation."""

from typing import ClassVar, Literal
from uuid import UUID

from pydantic import AwareDatetime

from airweave_webhooks.events.base import Event


class AccessControlBatchProcessed(Event):
    """A sync wrote one batch of access-control memberships. Sent at a high rate."""

    domain: ClassVar[str] = "access_control"

    event_type: Literal["access_control.batch_processed"]
    timestamp: AwareDatetime
    sync_id: UUID
    sync_job_id: UUID
    source_connection_id: UUID
    source_type: str
    """As in `github`."""
    collected: int
    upserted: int

    @property
    def natural_key(self) -> str:
        """`<event_type>:<sync_job_id>:<timestamp>`: batches have no number here."""
        return self._key_at_time(self.sync_job_id)
