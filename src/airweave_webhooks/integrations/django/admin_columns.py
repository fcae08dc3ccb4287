"""The facts of a delivery, as the admin names and shows them."""

import json
import time
from typing import Any, Final, cast

from django.contrib import admin
from django.utils.safestring import SafeString
from django.utils.text import Truncator

from airweave_webhooks.cli.words import redacted
from airweave_webhooks.integrations.django import admin_showing
from airweave_webhooks.integrations.django.admin_showing import NOTHING, visible
from airweave_webhooks.integrations.django.models import Delivery
from airweave_webhooks.stores.history import notes_of

LONGEST_ERROR: Final = 80
"""Characters of an error in the list."""


def _text(value: str | None) -> str:
    return visible(value) if value else NOTHING


class DeliveryColumns:
    """Columns of the list, and lines of the page of one delivery."""

    @admin.display(description="received")
    def received(self, delivery: Delivery) -> str:
        """When it came, in the current time zone."""
        return admin_showing.moment(delivery.received_at)

    @admin.display(description="state")
    def shown_state(self, delivery: Delivery) -> SafeString:
        """Its state, and why."""
        return admin_showing.state(delivery.state, delivery.reason)

    @admin.display(description="type")
    def type(self, delivery: Delivery) -> str:
        """The event's type."""
        return _text(delivery.event_type)

    @admin.display(description="collection")
    def shown_collection(self, delivery: Delivery) -> str:
        """The readable id of the event's collection."""
        return _text(delivery.collection)

    @admin.display(description="source")
    def source(self, delivery: Delivery) -> str:
        """The type of the event's source."""
        return _text(delivery.source_type)

    @admin.display(description="attempts")
    def tries(self, delivery: Delivery) -> int:
        """How often handlers were started since the last replay."""
        return delivery.attempts

    @admin.display(description="error")
    def short_error(self, delivery: Delivery) -> str:
        """The beginning of its last error."""
        return Truncator(visible(" ".join(redacted(delivery.error or "").split()))).chars(LONGEST_ERROR)

    @admin.display(description="message id")
    def message(self, delivery: Delivery) -> str:
        """The sender's id of it."""
        return _text(delivery.message_id)

    @admin.display(description="key")
    def other_key(self, delivery: Delivery) -> str:
        """What it is found by, if that is not its message id."""
        return "the message id" if delivery.key == delivery.message_id else _text(delivery.key)

    @admin.display(description="tenant")
    def whose(self, delivery: Delivery) -> str:
        """The tenant it is for."""
        return _text(delivery.tenant)

    @admin.display(description="job id")
    def job(self, delivery: Delivery) -> str:
        """The sync job that the event tells of."""
        return _text(delivery.job_id)

    @admin.display(description="happened")
    def happened(self, delivery: Delivery) -> str:
        """When the event says that it happened."""
        return admin_showing.relative(delivery.event_time, time.time())

    @admin.display(description="received")
    def came(self, delivery: Delivery) -> str:
        """When it came, also as seen from now."""
        return admin_showing.relative(delivery.received_at, time.time())

    @admin.display(description="settled")
    def settled(self, delivery: Delivery) -> str:
        """When it was done, or given up."""
        return admin_showing.relative(delivery.settled_at, time.time())

    @admin.display(description="due")
    def due(self, delivery: Delivery) -> str:
        """When a worker shall take it."""
        return admin_showing.relative(delivery.due_at, time.time()) if delivery.state == "pending" else NOTHING

    @admin.display(description="leased until")
    def leased(self, delivery: Delivery) -> str:
        """Until when, and to whom."""
        if delivery.state != "leased":
            return NOTHING
        return f"{admin_showing.relative(delivery.lease_until, time.time())}, to {visible(delivery.owner)}"

    @admin.display(description="leases lost")
    def lost(self, delivery: Delivery) -> int:
        """How often whoever worked on it was not heard of again."""
        return delivery.leases_lost

    @admin.display(description="replays")
    def replays(self, delivery: Delivery) -> int:
        """How often it was replayed."""
        return delivery.generation

    @admin.display(description="results")
    def handlers(self, delivery: Delivery) -> SafeString | str:
        """What each handler made of it."""
        return admin_showing.pairs(_object(delivery.results))

    @admin.display(description="last error")
    def error_text(self, delivery: Delivery) -> SafeString | str:
        """The whole of it."""
        return admin_showing.lines(delivery.error)

    @admin.display(description="history")
    def what_happened(self, delivery: Delivery) -> SafeString | str:
        """Attempts that failed, leases that were lost, replays."""
        return admin_showing.notes(notes_of(delivery.history))

    @admin.display(description="sent")
    def sent(self, delivery: Delivery) -> str:
        """When the sender signed it."""
        return admin_showing.moment(delivery.sent_at)

    @admin.display(description="headers")
    def headers_table(self, delivery: Delivery) -> SafeString | str:
        """Those that were kept."""
        return admin_showing.pairs(_object(delivery.headers))

    @admin.display(description="order")
    def order(self, delivery: Delivery) -> str:
        """What it runs in an order by."""
        return _text(delivery.order_key)

    @admin.display(description="SHA-256")
    def sha256(self, delivery: Delivery) -> str:
        """Of the body."""
        return bytes(delivery.digest).hex()

    @admin.display(description="body")
    def payload(self, delivery: Delivery) -> SafeString | str:
        """The body, as far as it can be shown."""
        return admin_showing.body(None if delivery.body is None else bytes(delivery.body))


def _object(text: str | None) -> dict[str, Any]:
    """Read a JSON object that a store has written; an empty one of what it has not."""
    try:
        found = json.loads(text or "{}")
    except ValueError:
        return {}
    match found:
        case {**pairs}:
            return cast("dict[str, Any]", pairs)
        case _:
            return {}
