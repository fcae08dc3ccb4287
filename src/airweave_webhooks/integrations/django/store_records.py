"""The verbs of every `Store`, in Django's ORM, each a function of a transaction. See `stores.transitions`.

Whatever is decided of a record is decided while its row is locked; rows are locked in the order of their ids.
"""

import itertools
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from typing import Any, Final, TypeVar

from django.db.models import Q, QuerySet, Value

from airweave_webhooks.integrations.django.models import Delivery
from airweave_webhooks.integrations.django.store_rows import FIELDS, HELD, id_of, record_of, values_of
from airweave_webhooks.integrations.django.store_threads import Transaction
from airweave_webhooks.stores import transitions
from airweave_webhooks.stores.base import Claim, Claimed, Key, Lease, Record, Settle

T = TypeVar("T")

# Of so many at a time: every database takes as many parameters in one statement, and rows in one insert.
CHUNK: Final = 400
MOST_BYTES: Final = 2**20
"""Of bodies in one statement: those of MySQL may not be as long as one likes (`max_allowed_packet`)."""

# With a plain `True` Django asks `WHERE has_body`, for which SQLite uses no index.
WITH_BODY: Final = Q(has_body=Value(True))
WITHOUT_BODY: Final = Q(has_body=Value(False))
WITH_BODY_OR_NOT: Final = Q(has_body__in=(True, False))
"""Says nothing, but leads on to the columns that stand behind it in an index."""

_BODILESS: Final = (*FIELDS[:-1], "has_body")


def deliveries(transaction: Transaction) -> QuerySet[Delivery]:
    """All of them, without the order that people like to see them in."""
    return Delivery.objects.using(transaction.using).order_by()


def chunks(items: Iterable[T]) -> Iterator[list[T]]:
    """Cut what may be many."""
    iterator = iter(items)
    while chunk := list(itertools.islice(iterator, CHUNK)):
        yield chunk


def locked(transaction: Transaction, ids: Iterable[str]) -> dict[str, Record]:
    """Lock rows, those that exist. Bodies are not read: `HELD` stands for them."""
    found: dict[str, Record] = {}
    for chunk in chunks(sorted(ids)):
        rows = deliveries(transaction).filter(id__in=chunk).order_by("id").select_for_update()
        for name, *values, has_body in rows.values_list("id", *_BODILESS):
            found[name] = record_of((*values, HELD if has_body else None))
    return found


def write(transaction: Transaction, changed: Sequence[tuple[Record, Record]]) -> None:
    """Write what has changed of rows that are locked, as they were and as they are. Many change alike: one statement.

    Args:
        transaction: that has locked them.
        changed: each record as it was, and as it is.
    """
    alike: dict[tuple[tuple[str, Any], ...], list[str]] = {}
    for before, after in changed:
        old = values_of(before)
        changes = tuple((name, value) for name, value in values_of(after).items() if not _same(value, old[name]))
        alike.setdefault(changes, []).append(id_of(after.key))
    for changes, ids in alike.items():
        for chunk in chunks(ids):
            deliveries(transaction).filter(id__in=chunk).update(**dict(changes))


def _same(new: object, old: object) -> bool:
    # A body that was not read is another than any that comes, whatever stands in it.
    return new is old if new is HELD or old is HELD else new == old


def claim(transaction: Transaction, claims: Sequence[Claim]) -> list[Claimed]:
    """Claim each.

    What nobody has seen is inserted. If another transaction was faster, its row makes an `IntegrityError` of that, and
    the whole transaction begins anew: then the row is there to be looked at.
    """
    found = locked(transaction, [id_of(claim.key) for claim in claims])
    answers: list[Claimed] = []
    new: list[Record] = []
    changed: list[tuple[Record, Record]] = []
    for wish in claims:
        record = found.get(id_of(wish.key))
        if record is None:
            record = transitions.first_claim(wish, transaction.now)
            new.append(record)
            answers.append(transitions.granted(record))
            continue
        before = replace(record)
        answer, is_changed = transitions.claim_again(record, wish, transaction.now)
        if is_changed:
            changed.append((before, record))
        answers.append(answer)
    write(transaction, changed)
    _insert(transaction, new)
    return answers


def _insert(transaction: Transaction, records: Sequence[Record]) -> None:
    rows: list[Delivery] = []
    size = 0
    for record in sorted(records, key=lambda record: id_of(record.key)):
        size += len(record.body or b"")
        if rows and (len(rows) == CHUNK or size > MOST_BYTES):
            deliveries(transaction).bulk_create(rows)
            rows, size = [], len(record.body or b"")
        rows.append(Delivery(id=id_of(record.key), **values_of(record)))
    if rows:
        deliveries(transaction).bulk_create(rows)


def settle(transaction: Transaction, wishes: Sequence[Settle]) -> list[bool]:
    """Settle each whose lease is current."""
    found = locked(transaction, [id_of(wish.lease.key) for wish in wishes])
    answers: list[bool] = []
    changed: list[tuple[Record, Record]] = []
    for wish in wishes:
        record = found.get(id_of(wish.lease.key))
        before = None if record is None else replace(record)
        stands, is_changed = transitions.settle(record, wish, transaction.now)
        if is_changed and before is not None and record is not None:
            changed.append((before, record))
        answers.append(stands)
    write(transaction, changed)
    return answers


def renew(transaction: Transaction, leases: Sequence[Lease], seconds: float) -> list[bool]:
    """Renew each that is current."""
    until = transaction.now + seconds
    found = locked(transaction, [id_of(lease.key) for lease in leases])
    current = [transitions.may_renew(found.get(id_of(lease.key)), lease) for lease in leases]
    ids = [id_of(lease.key) for lease, may in zip(leases, current, strict=True) if may]
    for chunk in chunks(ids):
        deliveries(transaction).filter(id__in=chunk).update(lease_until=until)
    return current


def get(transaction: Transaction, keys: Sequence[Key]) -> list[Record | None]:
    """Read records, with their bodies."""
    found: dict[str, Record] = {}
    for chunk in chunks(map(id_of, keys)):
        for name, *values in deliveries(transaction).filter(id__in=chunk).values_list("id", *FIELDS):
            found[name] = record_of(values)
    return [found.get(id_of(key)) for key in keys]


def purge(transaction: Transaction, *, done_for: float, abandoned_for: float, most: int) -> int:
    """Remove what is finished, give up what is abandoned."""
    before = transaction.now - done_for
    finished = deliveries(transaction).filter(WITH_BODY_OR_NOT, state="done", settled_at__lt=before)
    gone = [
        id_of(record.key)
        for record in locked(transaction, finished.order_by("settled_at").values_list("id", flat=True)[:most]).values()
        if record.state == "done" and (record.settled_at or 0.0) < before
    ]
    for chunk in chunks(gone):
        deliveries(transaction).filter(id__in=chunk).delete()
    return len(gone) + _abandon(transaction, transaction.now - abandoned_for, most - len(gone))


def _abandon(transaction: Transaction, before: float, most: int) -> int:
    waits = WITHOUT_BODY & Q(state="pending") & ~Q(due_at__gte=before) & ~Q(settled_at__gte=before)
    left = deliveries(transaction).filter(waits | WITHOUT_BODY & Q(state="leased", lease_until__lt=before))
    changed: list[tuple[Record, Record]] = []
    for record in locked(transaction, left.values_list("id", flat=True)[:most]).values():
        if transitions.is_abandoned(record, before):
            old = replace(record)
            transitions.abandon(record, transaction.now)
            changed.append((old, record))
    write(transaction, changed)
    return len(changed)


def check(transaction: Transaction) -> None:
    """See whether there are tables."""
    deliveries(transaction).filter(id="").exists()
