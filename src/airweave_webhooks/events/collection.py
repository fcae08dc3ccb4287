"""Collections: `collection.*`."""

from typing import ClassVar, Literal
from uuid import UUID

from pydantic import AwareDatetime

from airweave_webhooks.events.base import Event


class CollectionEvent(Event):
    """A collection was created, changed or deleted."""

    domain: ClassVar[str] = "collection"
    documented: ClassVar[bool] = True

    timestamp: AwareDatetime
    collection_id: UUID
    collection_name: str
    """For people; it can be changed."""
    collection_readable_id: str
    """What Airweave's API knows the collection by."""


class CollectionCreated(CollectionEvent):
    """A collection was created."""

    event_type: Literal["collection.created"]

    @property
    def natural_key(self) -> str:
        """`<event_type>:<collection_id>`."""
        return self._key(self.collection_id)


class CollectionUpdated(CollectionEvent):
    """A collection was changed."""

    event_type: Literal["collection.updated"]

    @property
    def natural_key(self) -> str:
        """`<event_type>:<collection_id>:<timestamp>`: it changes many times."""
        return self._key_at_time(self.collection_id)


class CollectionDeleted(CollectionEvent):
    """A collection was deleted, with its connections: no `source_connection.deleted` is sent for those."""

    event_type: Literal["collection.deleted"]

    @property
    def natural_key(self) -> str:
        """`<event_type>:<collection_id>`."""
        return self._key(self.collection_id)
