"""What all events share."""

from collections.abc import Mapping
from typing import Any, ClassVar
from uuid import UUID

from pydantic import AwareDatetime, BaseModel, ConfigDict


class Event(BaseModel):
    """Base of every event. Immutable; fields that we do not know are kept in `model_extra`."""

    model_config: ClassVar[ConfigDict] = ConfigDict(frozen=True, extra="allow")

    domain: ClassVar[str] = ""
    """The part of `event_type` before the dot."""
    documented: ClassVar[bool] = False
    """Whether Airweave's documentation knows the type; what it does not know is sent all the same."""

    event_type: str
    """The name of the type."""
    timestamp: AwareDatetime | None
    """When it happened. Deliveries arrive in any order: order by this."""
    organization_id: UUID | None = None
    """Whose. Absent in the older shape of the sync events."""

    @property
    def natural_key(self) -> str | None:
        """What this event is about, the same however often it is published; None if it has no identity.

        The publisher gives each of its own retries a new message id, so one logical event can arrive under two
        ids. This key is the same for both. See `airweave_webhooks.natural_key`.
        """
        return None

    def _key(self, *parts: object) -> str:
        return ":".join([self.event_type, *map(str, parts)])

    def _key_at_time(self, *parts: object) -> str:
        """A key for what can happen to one object many times: the publisher's retries repeat the timestamp."""
        return self._key(*parts, self.timestamp.isoformat() if self.timestamp else "")


class UnknownEvent(Event):
    """An event of a type that this version does not know, or of a known type whose fields do not fit (drift).

    It is acknowledged and counted, never an error. `payload` is everything that came.
    """

    event_type: str
    timestamp: AwareDatetime | None = None
    payload: Mapping[str, Any]
    drifted: bool = False
    """True if the type is known and its fields did not fit."""
