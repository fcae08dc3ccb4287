"""The verbs of an `InboxStore`, in Django's ORM, each a function of a transaction. See `inbox_transitions`."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any, Final

from django.db import connections
from django.db.models import Count, Exists, OuterRef, Q, QuerySet, Sum

from airweave_webhooks.integrations.django.models import Delivery, Queue, Worker
from airweave_webhooks.integrations.django.store_connections import by_index, disk_of
from airweave_webhooks.integrations.django.store_records import (
    WITH_BODY,
    WITH_BODY_OR_NOT,
    chunks,
    deliveries,
    locked,
    write,
)
from airweave_webhooks.integrations.django.store_rows import FIELDS, hash_of, id_of, record_of
from airweave_webhooks.integrations.django.store_threads import Transaction
from airweave_webhooks.stores import inbox_transitions as transitions
from airweave_webhooks.stores.base import Key, Record
from airweave_webhooks.stores.inbox import SUSPECT_AFTER, Backlog, Cursor, Search, Take, Taken, Tally
from airweave_webhooks.stores.text import as_text

_UNFINISHED: Final = ("pending", "leased")
_DAY: Final = 86_400.0
"""Seconds."""
_WITHOUT_BODY: Final = FIELDS[:-4]


def take(transaction: Transaction, wish: Take) -> list[Taken]:
    """Lease what is due. What was chosen, and somebody else has changed since, is left for the next time."""
    receiver = hash_of(wish.receiver)
    _lock_queue(transaction, receiver, wish.receiver)
    ours = deliveries(transaction).filter(WITH_BODY, receiver_hash=receiver)
    again = ours.filter(state="leased", token=wish.token).order_by("received_at", "tenant", "key")
    ids = list(again.values_list("id", flat=True))
    if not ids:
        with by_index(connections[transaction.using]):
            ids = _choose(transaction, ours, wish)
        _lease(transaction, ids, wish)
    return _taken(transaction, ids, wish.token)


def _lock_queue(transaction: Transaction, receiver: str, name: str) -> None:
    """Let no other take of this receiver's be under way: what an order allows depends on more rows than are leased."""
    queues = Queue.objects.using(transaction.using)
    if not queues.filter(id=receiver).select_for_update().values_list("id"):
        queues.create(id=receiver, receiver=as_text(name) or "")


def _choose(transaction: Transaction, ours: QuerySet[Delivery], wish: Take) -> list[str]:
    now = transaction.now
    most = 1 if wish.suspects else wish.most
    wanted = ours.filter(_is_free(transaction))
    if wish.without:
        wanted = wanted.exclude(event_type__in=[as_text(name) for name in wish.without])
    if wish.only:
        wanted = wanted.filter(event_type__in=[as_text(name) for name in wish.only])
    found: list[tuple[Any, ...]] = []
    for due, since in (_waits(wish.suspects, now), "due_at"), (_was_lost(wish.suspects, now), "lease_until"):
        order = (since, "received_at", "tenant", "key")
        found += _first(wanted.filter(due), since, most).order_by(*order).values_list(*order, "id")[:most]
    return [row[-1] for row in sorted(found)[:most]]


def _first(found: QuerySet[Delivery], by: str, most: int) -> QuerySet[Delivery]:
    """Leave out what comes after the first so many by one column: to order by more, MySQL sorts all that it finds."""
    column = by.removeprefix("-")
    first = list(found.order_by(by).values_list(column, flat=True)[:most])
    return found.filter(Q((f"{column}__{'lte' if by == column else 'gte'}", first[-1]))) if first else found.none()


def _waits(suspects: bool, now: float) -> Q:
    """What is due, and whether it has lost its lease too often."""
    lost = Q(leases_lost__gte=SUSPECT_AFTER) if suspects else Q(leases_lost__lt=SUSPECT_AFTER)
    return Q(state="pending", due_at__lte=now) & lost


def _was_lost(suspects: bool, now: float) -> Q:
    """What is due because its lease has run out: one more that it lost."""
    lost = Q(leases_lost__gte=SUSPECT_AFTER - 1) if suspects else Q(leases_lost__lt=SUSPECT_AFTER - 1)
    return Q(state="leased", lease_until__lte=now) & lost


def _is_free(transaction: Transaction) -> Q:
    """What is the first of its line, if it has one, while nothing of that is under way.

    Whether something happened before is asked in parts: each is answered by the index without reading the line.
    """
    others = deliveries(transaction).filter(WITH_BODY, line=OuterRef("line"), state__in=_UNFINISHED)
    came_before = Q(received_at__lt=OuterRef("received_at")) | Q(
        received_at=OuterRef("received_at"), key__lt=OuterRef("key")
    )
    timeless = others.filter(event_time=None)
    return Q(line=None) | Q(
        ~Exists(others.filter(event_time__lt=OuterRef("event_time"))),
        ~Exists(others.filter(came_before, event_time=OuterRef("event_time"))),
        Q(event_time=None) | ~Exists(timeless),
        Q(event_time__isnull=False) | ~Exists(timeless.filter(came_before)),
        ~Exists(others.filter(state="leased", lease_until__gt=transaction.now)),
    )


def _lease(transaction: Transaction, ids: Sequence[str], wish: Take) -> None:
    changed: list[tuple[Record, Record]] = []
    for record in locked(transaction, ids).values():
        since = transitions.due_since(record)
        if since is None or since > transaction.now or transitions.is_suspect(record) != wish.suspects:
            continue
        before = replace(record)
        transitions.lease(record, wish, transaction.now)
        changed.append((before, record))
    write(transaction, changed)


def _taken(transaction: Transaction, ids: Sequence[str], token: bytes) -> list[Taken]:
    """Read what was leased, in the order of `ids`."""
    later = deliveries(transaction).filter(
        WITH_BODY_OR_NOT, line=OuterRef("line"), state="done", event_time__gt=OuterRef("event_time")
    )
    found: dict[str, Taken] = {}
    for chunk in chunks(ids):
        rows = deliveries(transaction).filter(id__in=chunk, state="leased").annotate(stale=Exists(later))
        for name, stale, *values in rows.values_list("id", "stale", *FIELDS):
            record = record_of(values)
            if record.token == token:
                found[name] = Taken(record, bool(stale))
    return [found[name] for name in ids if name in found]


def beat(transaction: Transaction, receiver: str, owner: str) -> None:
    """Note that a worker works; forget those that have not done so for a day."""
    workers = Worker.objects.using(transaction.using)
    name = hash_of(receiver, owner)
    if not workers.filter(id=name).update(seen_at=transaction.now):
        workers.create(id=name, receiver=as_text(receiver) or "", owner=as_text(owner) or "", seen_at=transaction.now)
    workers.filter(seen_at__lt=transaction.now - _DAY).delete()


def backlog(transaction: Transaction, receiver: str) -> Backlog:
    """Say how far the workers are behind."""
    now = transaction.now
    all_ours = deliveries(transaction).filter(receiver_hash=hash_of(receiver))
    ours = all_ours.filter(WITH_BODY)
    free = ours.filter(_is_free(transaction))
    with by_index(connections[transaction.using]):
        since = [
            *free.filter(state="pending", due_at__lte=now).order_by("due_at").values_list("due_at", flat=True)[:1],
            *free.filter(state="leased", lease_until__lte=now)
            .order_by("lease_until")
            .values_list("lease_until", flat=True)[:1],
        ]
    workers = Worker.objects.using(transaction.using).filter(receiver=as_text(receiver) or "")
    seen = workers.order_by("-seen_at").values_list("seen_at", flat=True).first()
    lost = all_ours.filter(leases_lost__gt=0).aggregate(sum=Sum("leases_lost"))["sum"]
    return Backlog(
        pending=ours.filter(state="pending").count(),
        oldest=now - min(since, default=now),
        suspects=ours.filter(_waits(True, now) | _was_lost(True, now)).count(),
        dead=all_ours.filter(state="dead").count(),
        leases_lost=lost or 0,
        worker_seen=None if seen is None else max(0.0, now - seen),
        disk=disk_of(connections[transaction.using], [model._meta.db_table for model in (Delivery, Worker, Queue)]),
    )


def forget_bodies(transaction: Transaction, *, done_for: float, most: int) -> int:
    """Drop the bodies of what has been done for long."""
    before = transaction.now - done_for
    old = deliveries(transaction).filter(WITH_BODY, state="done", settled_at__lt=before).order_by("settled_at")
    changed = [
        (record, replace(record, body=None))
        for record in locked(transaction, old.values_list("id", flat=True)[:most]).values()
        if transitions.has_old_body(record, before)
    ]
    write(transaction, changed)
    return len(changed)


def replay(transaction: Transaction, keys: Sequence[Key], *, who: str, why: str) -> list[bool]:
    """Make each due again that is finished and has a body."""
    found = locked(transaction, map(id_of, keys))
    answers: list[bool] = []
    changed: list[tuple[Record, Record]] = []
    for key in keys:
        record = found.get(id_of(key))
        before = None if record is None else replace(record)
        replayed = record is not None and transitions.replay(record, as_text(who) or "", why, transaction.now)
        if replayed and before is not None and record is not None:
            changed.append((before, record))
        answers.append(replayed)
    write(transaction, changed)
    return answers


def search(transaction: Transaction, wish: Search, after: Cursor | None, most: int) -> list[Record]:
    """Find deliveries, the latest first."""
    found = deliveries(transaction).filter(_where(wish))
    if after is not None:
        at, tenant, key = after
        same_time = Q(received_at=at)
        found = found.filter(
            Q(received_at__lt=at)
            | same_time & Q(tenant__lt=as_text(tenant))
            | same_time & Q(tenant=as_text(tenant), key__lt=as_text(key)),
            received_at__lte=at,
        )
    latest = _first(found, "-received_at", most).order_by("-received_at", "-tenant", "-key")
    rows = latest.values_list(*_WITHOUT_BODY)[:most]
    return [record_of((*values, None, None, None, None)) for values in rows]


def count(transaction: Transaction, wish: Search) -> int:
    """Say how many deliveries a search finds."""
    return deliveries(transaction).filter(_where(wish)).count()


def _where(wish: Search) -> Q:
    found = Q(receiver_hash=hash_of(wish.receiver))
    for field, wanted in (
        ("state", wish.states),
        ("event_type", wish.event_types),
        ("collection", wish.collections),
        ("source_type", wish.source_types),
    ):
        if wanted:
            found &= Q((f"{field}__in", [as_text(text) for text in wanted]))
    if wish.tenant is not None:
        found &= Q(tenant=as_text(wish.tenant))
    if wish.name is not None:
        found &= Q(key=as_text(wish.name)) | Q(message_id=as_text(wish.name))
    if wish.since is not None:
        found &= Q(received_at__gte=wish.since)
    if wish.until is not None:
        found &= Q(received_at__lt=wish.until)
    if wish.replayable:
        found &= Q(state__in=("done", "dead"), has_body=True)
    return found


def tally(transaction: Transaction, receiver: str) -> list[Tally]:
    """Count deliveries that are alike."""
    ours = deliveries(transaction).filter(receiver_hash=hash_of(receiver))
    rows = ours.values_list("state", "reason", "event_type").annotate(deliveries=Count("id"))
    found = [Tally(*row) for row in rows]
    return sorted(found, key=lambda one: (one.state, one.reason is not None, one.reason or "", one.event_type))
