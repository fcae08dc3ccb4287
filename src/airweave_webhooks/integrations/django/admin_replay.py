"""Replaying deliveries from the admin: which of those that were picked can be, and doing it."""

import asyncio
import contextlib
from collections import Counter
from collections.abc import Generator, Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from django import forms
from django.contrib.admin.models import CHANGE, LogEntry
from django.db.models import Count, Max, Q, QuerySet

from airweave_webhooks.integrations.django.models import Delivery
from airweave_webhooks.integrations.django.store import DjangoStore
from airweave_webhooks.operations import REPLAY_BATCH, Deliveries, Why
from airweave_webhooks.stores.base import Key
from airweave_webhooks.stores.history import LONGEST_TEXT

if TYPE_CHECKING:
    _Deliveries = QuerySet[Delivery]
else:
    _Deliveries = QuerySet

REPLAYABLE: Final = Q(state__in=["done", "dead"], has_body=True)

MANY: Final = 10_000
"""Deliveries: more take longer than most servers let a request take."""

REASONS: Final[Mapping[Why, str]] = {
    "unknown": "not there any more",
    "ambiguous": "not to be told apart",
    "pending": "pending: a worker will run it anyway",
    "leased": "leased: a worker is at it",
    "queued": "queued already",
    "no_body": "without a body: only the sender has it, and can send it again",
}


class ReplayForm(forms.Form):
    """What an operator is asked before a replay."""

    reason: forms.CharField = forms.CharField(
        max_length=LONGEST_TEXT,
        help_text="It is kept in the history of each delivery, with your name.",
        widget=forms.TextInput(attrs={"size": 80, "autofocus": True}),
    )
    upto: forms.FloatField = forms.FloatField(widget=forms.HiddenInput)


class Picked(NamedTuple):
    """What came of counting a selection."""

    replayable: int
    skipped: Mapping[Why, int]
    upto: float
    """When the latest of them was received, in seconds since the epoch: what comes later was not counted."""

    @property
    def many(self) -> bool:
        """Whether a request may be too short for them."""
        return self.replayable > MANY

    @property
    def reasons(self) -> Iterator[tuple[int, str]]:
        """How many cannot be replayed, and why, in words."""
        return ((number, REASONS[why]) for why, number in self.skipped.items())


class Replayed(NamedTuple):
    """One batch."""

    number: int
    skipped: Mapping[Why, int]


def count(deliveries: _Deliveries) -> Picked:
    """Say how many can be replayed, and why the others cannot."""
    groups = deliveries.order_by().values_list("state", "has_body").annotate(Count("pk"), Max("received_at"))
    found, upto = 0, 0.0
    skipped: Counter[Why] = Counter()
    for state, has_body, number, last in groups:
        upto = max(upto, last)
        match state:
            case "done" | "dead" if has_body:
                found += number
            case "done" | "dead":
                skipped["no_body"] += number
            case _:
                skipped[state] += number
    return Picked(found, dict(sorted(skipped.items())), upto)


def replay(deliveries: _Deliveries, user: Any, why: str) -> Iterator[Replayed]:
    """Replay those that can be, in batches through the store, and note in the admin's log which were.

    Args:
        deliveries: which.
        user: who does it.
        why: for each record's history.

    Raises:
        StoreUnavailable: the store cannot be reached; the batches before are replayed.
    """
    # All of them first: on SQLite a query that is still read would keep the store from writing.
    ids = list(deliveries.filter(REPLAYABLE).order_by("receiver_hash", "received_at").values_list("pk", flat=True))
    with _opened(DjangoStore(deliveries.db)) as (store, runner):
        for start in range(0, len(ids), REPLAY_BATCH):
            some = Delivery.objects.using(deliveries.db).filter(pk__in=ids[start : start + REPLAY_BATCH])
            rows = list(some.only("receiver", "tenant", "key", "event_type", "message_id"))
            refused: dict[Key, Why] = {}
            for receiver, keys in _by_receiver(map(_key, rows)):
                work = Deliveries(store, receiver).replay_keys(keys, who=user.get_username(), why=why)
                refused.update(runner.run(work))
            done = [row for row in rows if _key(row) not in refused]
            LogEntry.objects.log_actions(user.pk, done, CHANGE, f"Replayed: {why}")
            yield Replayed(len(done), Counter(refused.values()))


@contextlib.contextmanager
def _opened(store: DjangoStore) -> Generator[tuple[DjangoStore, asyncio.Runner]]:
    """Keep a store open over all batches: each would connect anew."""
    with asyncio.Runner() as runner:
        runner.run(store.open())
        try:
            yield store, runner
        finally:
            runner.run(store.close())


def _key(row: Delivery) -> Key:
    return Key(row.receiver, row.tenant, row.key)


def _by_receiver(keys: Iterable[Key]) -> Iterable[tuple[str, Sequence[Key]]]:
    found: dict[str, list[Key]] = {}
    for key in keys:
        found.setdefault(key.receiver, []).append(key)
    return found.items()
