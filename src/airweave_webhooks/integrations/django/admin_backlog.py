"""What stands above the list of deliveries: how far the workers of each receiver are behind.

Each query reads a small part of an index, however many deliveries are done.
"""

import time
import weakref
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from django.db.models import Count, Max, Min, QuerySet
from django.http import HttpRequest

from airweave_webhooks.cli.words import age
from airweave_webhooks.health import WORKER_GONE_AFTER
from airweave_webhooks.integrations.django.models import Delivery, Worker

if TYPE_CHECKING:
    _Deliveries = QuerySet[Delivery]
else:
    _Deliveries = QuerySet

LATEST: Final = 1000
"""Deliveries of a receiver that are looked at to know which sources and collections there are."""
MOST_RECEIVERS: Final = 20


class Named(NamedTuple):
    """A receiver that has deliveries."""

    hash: str
    name: str


class Behind(NamedTuple):
    """One receiver's line."""

    receiver: str
    pending: int
    oldest: str | None
    """For how long the oldest that waits has been due."""
    dead: int
    worker: str
    """When one was last seen."""
    gone: bool
    """Something waits, and no worker is seen."""


def receivers(deliveries: _Deliveries) -> Iterator[Named]:
    """Find the receivers that have deliveries, by one short look into an index for each."""
    ordered = deliveries.order_by("receiver_hash")
    after = ""
    for _ in range(MOST_RECEIVERS):
        found = ordered.filter(receiver_hash__gt=after).values_list("receiver_hash", "receiver").first()
        if found is None:
            return
        yield Named(*found)
        after = found[0]


# Several filters of one page ask.
_latest: Final[weakref.WeakKeyDictionary[HttpRequest, list[Delivery]]] = weakref.WeakKeyDictionary()


def latest(request: HttpRequest, deliveries: _Deliveries) -> list[Delivery]:
    """The latest deliveries of each receiver, with no more than what filters need; read once for a request."""
    if request not in _latest:
        some = deliveries.only("source_type", "collection")
        _latest[request] = [
            delivery
            for receiver in receivers(deliveries)
            for delivery in some.filter(receiver_hash=receiver.hash).order_by("-received_at")[:LATEST]
        ]
    return _latest[request]


def behind(deliveries: _Deliveries) -> list[Behind]:
    """Say how far the workers of each receiver are behind."""
    seen: dict[Any, Any] = dict(
        Worker.objects.using(deliveries.db).values_list("receiver").annotate(at=Max("seen_at")).order_by()
    )
    now = time.time()
    return [_line(deliveries, receiver, seen.get(receiver.name), now) for receiver in receivers(deliveries)]


def _line(deliveries: _Deliveries, receiver: Named, seen: float | None, now: float) -> Behind:
    unfinished = deliveries.filter(receiver_hash=receiver.hash, state__in=["pending", "dead"]).order_by()
    counted = {
        state: (number, due)
        for state, number, due in unfinished.values_list("state").annotate(Count("pk"), Min("due_at"))
    }
    pending, due = counted.get("pending", (0, None))
    dead, _ = counted.get("dead", (0, None))
    waits = now - due if due is not None and due < now else None
    return Behind(
        receiver.name,
        pending,
        None if waits is None else age(waits),
        dead,
        "no worker was ever seen" if seen is None else f"a worker was seen {age(now - seen)} ago",
        waits is not None and waits > WORKER_GONE_AFTER and (seen is None or now - seen > WORKER_GONE_AFTER),
    )
