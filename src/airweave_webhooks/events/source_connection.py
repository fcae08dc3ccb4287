"""Source connections: `source_connection.*`."""

from typing import ClassVar, Literal
from uuid import UUID

from pydantic import AwareDatetime

from airweave_webhooks.events.base import Event


class SourceConnectionEvent(Event):
    """A connection to a source was made, authenticated or removed."""

    domain: ClassVar[str] = "source_connection"
    documented: ClassVar[bool] = True

    timestamp: AwareDatetime
    source_connection_id: UUID
    collection_readable_id: str
    """What Airweave's API knows the collection by."""
    source_type: str
    """As in `github`."""
    is_authenticated: bool
    """Whether it can be synced. Always false once it is deleted."""


class SourceConnectionCreated(SourceConnectionEvent):
    """A connection was created; it may still have to be authenticated."""

    event_type: Literal["source_connection.created"]

    @property
    def natural_key(self) -> str:
        """`<event_type>:<source_connection_id>`."""
        return self._key(self.source_connection_id)


class SourceConnectionAuthCompleted(SourceConnectionEvent):
    """A connection was authenticated, for the first time or again."""

    event_type: Literal["source_connection.auth_completed"]

    @property
    def natural_key(self) -> str:
        """`<event_type>:<source_connection_id>:<timestamp>`: it can be authenticated again."""
        return self._key_at_time(self.source_connection_id)


class SourceConnectionDeleted(SourceConnectionEvent):
    """A connection was deleted; `is_authenticated` is always false. Not sent when its collection is deleted."""

    event_type: Literal["source_connection.deleted"]

    @property
    def natural_key(self) -> str:
        """`<event_type>:<source_connection_id>`."""
        return self._key(self.source_connection_id)
