"""Sync jobs: `sync.*`."""

from typing import ClassVar, Literal
from uuid import UUID

from pydantic import AliasChoices, AwareDatetime, Field

from airweave_webhooks.events.base import Event


class SyncEvent(Event):
    """A sync job changed its state.

    All six types carry all fields; the older shape of `sync.*` names the job `job_id` and has neither `sync_id`,
    `collection_id` nor `organization_id`. The current server never passes the statistics on: every count of a
    `sync.completed` can be 0 although entities were written.
    """

    domain: ClassVar[str] = "sync"
    documented: ClassVar[bool] = True

    timestamp: AwareDatetime
    sync_id: UUID | None = None
    """The sync that the job is a run of. Absent in the older shape."""
    sync_job_id: UUID = Field(validation_alias=AliasChoices("sync_job_id", "job_id"))
    """The job."""
    collection_id: UUID | None = None
    """Absent in the older shape."""
    source_connection_id: UUID
    source_type: str
    """As in `github`."""
    collection_name: str
    """For people; it can be changed."""
    collection_readable_id: str
    """What Airweave's API knows the collection by."""
    entities_inserted: int = 0
    """0 in the current server, as all counts, also when there were some."""
    entities_updated: int = 0
    entities_deleted: int = 0
    entities_skipped: int = 0
    chunks_written: int = 0
    error: str | None = None
    """Why the job failed."""

    @property
    def natural_key(self) -> str:
        """`<event_type>:<sync_job_id>`: a job enters each state once."""
        return self._key(self.sync_job_id)


class SyncPending(SyncEvent):
    """A job waits for a worker."""

    event_type: Literal["sync.pending"]


class SyncRunning(SyncEvent):
    """A job has started. It can arrive after its `sync.completed`."""

    event_type: Literal["sync.running"]


class SyncCancelling(SyncEvent):
    """A job was asked to stop. Not in Airweave's documentation."""

    documented: ClassVar[bool] = False

    event_type: Literal["sync.cancelling"]


class SyncCompleted(SyncEvent):
    """A job is done, and the collection is fresh."""

    event_type: Literal["sync.completed"]


class SyncFailed(SyncEvent):
    """A job failed; `error` says why."""

    event_type: Literal["sync.failed"]


class SyncCancelled(SyncEvent):
    """A job stopped because somebody asked for it. Cancelling a job that is still pending sends no event."""

    event_type: Literal["sync.cancelled"]
