"""What a receiver asks the store for, about a delivery that came."""

import hashlib
import itertools
import os
import socket
from typing import Literal

from airweave_webhooks.delivery import Delivery
from airweave_webhooks.events import AnyEvent, UnknownEvent
from airweave_webhooks.routing import Matched
from airweave_webhooks.stores.base import Claim, Facts, Key, Origin


class Claims:
    """Makes claims for one receiver in one process.

    Args:
        name: the receiver's.
        lease: seconds that a lease lasts.
        retention: seconds for which a finished delivery is remembered.
        inbox: whether what has handlers is stored for a worker, instead of being worked on.
    """

    def __init__(self, name: str, *, lease: float, retention: float, inbox: bool) -> None:
        self.owner: str = f"{socket.gethostname()}:{os.getpid()}"
        self._name = name
        self._lease = lease
        self._retention = retention
        self._inbox = inbox
        # Every claim has a token of its own, and no other process can have the same.
        self._token_prefix = os.urandom(16)
        self._token_numbers = itertools.count()

    def of(self, delivery: Delivery, matched: Matched) -> Claim:
        """The claim for a delivery, by what is to be done about it."""
        into: Literal["leased", "done", "dead", "pending"]
        into, reason, body, origin = "leased", None, None, None
        if not matched.handlers:
            into, reason = ("dead", "drift") if matched.waiting else ("done", "ignored")
        elif self._inbox:
            into = "pending"
        if into in {"dead", "pending"}:
            body = delivery.body
            origin = Origin(delivery.sent_at, delivery.kept_headers, matched.order(delivery.event))
        return Claim(
            Key(self._name, delivery.tenant or "", delivery.key),
            delivery.id,
            hashlib.sha256(delivery.body).digest(),
            self._token_prefix + next(self._token_numbers).to_bytes(8),
            facts_of(delivery.event),
            self._lease,
            self.owner,
            into,
            reason,
            body,
            self._retention,
            origin,
        )


def facts_of(event: AnyEvent) -> Facts:
    """What the record says about an event. Of an event that we do not know, only its type and time."""
    if isinstance(event, UnknownEvent):
        return Facts(event.event_type, event_time=event.timestamp)
    fields = event.__dict__
    job_id = fields.get("sync_job_id")
    return Facts(
        event.event_type,
        fields.get("collection_readable_id"),
        fields.get("source_type"),
        None if job_id is None else str(job_id),
        event.timestamp,
    )
