"""Organizations: `organization.*`. Sent, but not in Airweave's documentation."""

from typing import ClassVar, Literal

from pydantic import AwareDatetime

from airweave_webhooks.events.base import Event


class OrganizationEvent(Event):
    """An organization or its members changed."""

    domain: ClassVar[str] = "organization"

    timestamp: AwareDatetime
    organization_name: str
    owner_email: str = ""
    affected_user_emails: tuple[str, ...] = ()
    """Who joined or left."""
    plan: str = ""

    def _key_for_members(self) -> str | None:
        emails = ",".join(self.affected_user_emails)
        return self._key_at_time(self.organization_id, emails) if self.organization_id else None


class OrganizationCreated(OrganizationEvent):
    """An organization was created."""

    event_type: Literal["organization.created"]

    @property
    def natural_key(self) -> str | None:
        """`<event_type>:<organization_id>`."""
        return self._key(self.organization_id) if self.organization_id else None


class OrganizationDeleted(OrganizationEvent):
    """An organization was deleted."""

    event_type: Literal["organization.deleted"]

    @property
    def natural_key(self) -> str | None:
        """`<event_type>:<organization_id>`."""
        return self._key(self.organization_id) if self.organization_id else None


class OrganizationMemberAdded(OrganizationEvent):
    """Users joined; `affected_user_emails` says who."""

    event_type: Literal["organization.member_added"]

    @property
    def natural_key(self) -> str | None:
        """`<event_type>:<organization_id>:<emails>:<timestamp>`: the same user can come back."""
        return self._key_for_members()


class OrganizationMemberRemoved(OrganizationEvent):
    """Users left; `affected_user_emails` says who."""

    event_type: Literal["organization.member_removed"]

    @property
    def natural_key(self) -> str | None:
        """`<event_type>:<organization_id>:<emails>:<timestamp>`: the same user can leave twice."""
        return self._key_for_members()
