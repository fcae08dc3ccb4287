"""`memory:`, for tests and toys: nothing survives the process, and no other process sees it."""

import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import fields, replace
from operator import attrgetter
from typing import Any, Final

from airweave_webhooks.errors import Busy
from airweave_webhooks.stores import transitions
from airweave_webhooks.stores.base import Claim, Claimed, Facts, Key, Lease, Record, Settle

_FLAT: Final = tuple(field.name for field in fields(Record) if field.name not in {"key", "facts", "results"})
_flat_values: Final[Callable[[Record], tuple[Any, ...]]] = attrgetter(*_FLAT)


class MemoryStore:
    """Keeps records in a dictionary, and forgets the oldest finished ones when it is full.

    Args:
        most_records: how many it holds; when all are unfinished, a new claim raises `Busy`.
        clock: seconds since the epoch.
    """

    round_trip = False
    durable = False

    def __init__(self, *, most_records: int = 10_000, clock: Callable[[], float] = time.time) -> None:
        self._most_records = most_records
        self._clock = clock
        self._records: dict[Key, Record] = {}
        # What is done, packed, in the order in which it was done: the first is the next to be forgotten.
        self._done: OrderedDict[tuple[str, ...], tuple[Any, ...]] = OrderedDict()
        # The event loop claims and settles while the lease keeper's thread renews.
        self._lock = threading.Lock()

    async def open(self) -> None:
        """Do nothing: there is nothing to connect to."""

    async def close(self) -> None:
        """Keep everything, so that a receiver which is opened again finds it."""

    async def claim(self, claims: Sequence[Claim]) -> list[Claimed]:
        """Claim each."""
        now = self._clock()
        with self._lock:
            return [self._claim(claim, now) for claim in claims]

    def _claim(self, claim: Claim, now: float) -> Claimed:
        record = self._find(claim.key)
        if record is None:
            if len(self._records) + len(self._done) >= self._most_records:
                self._forget_one()
            record = self._records[claim.key] = transitions.first_claim(claim, now)
            answer = transitions.granted(record)
        else:
            answer, _ = transitions.claim_again(record, claim, now)
        if claim.into == "done":
            self._put_away(record)
        return answer

    async def settle(self, settles: Sequence[Settle]) -> list[bool]:
        """Settle each whose lease is current."""
        now = self._clock()
        with self._lock:
            return [self._settle(wish, now) for wish in settles]

    def _settle(self, wish: Settle, now: float) -> bool:
        record = self._find(wish.lease.key)
        stands, changed = transitions.settle(record, wish, now)
        if changed and record is not None:
            self._put_away(record)
        return stands

    def renew(self, leases: Sequence[Lease], seconds: float) -> list[bool]:
        """Renew each that is current."""
        now = self._clock()
        with self._lock:
            return [self._renew(lease, now + seconds) for lease in leases]

    def _renew(self, lease: Lease, until: float) -> bool:
        record = self._records.get(lease.key)
        if record is None or not transitions.may_renew(record, lease):
            return False
        record.lease_until = until
        return True

    async def get(self, keys: Sequence[Key]) -> list[Record | None]:
        """Read copies of records."""
        with self._lock:
            records = [self._find(key) for key in keys]
            return [replace(record) if record else None for record in records]

    async def purge(self, *, done_for: float, abandoned_for: float, most: int) -> int:
        """Remove what is finished, give up what is abandoned."""
        now = self._clock()
        touched = 0
        with self._lock:
            for key in list(self._done):
                if touched >= most or (_unpacked(self._done[key]).settled_at or 0.0) >= now - done_for:
                    break
                del self._done[key]
                touched += 1
            for record in self._records.values():
                if touched >= most:
                    break
                if transitions.is_abandoned(record, now - abandoned_for):
                    transitions.abandon(record, now)
                    touched += 1
        return touched

    def _find(self, key: Key) -> Record | None:
        record = self._records.get(key)
        if record is None and key in self._done:
            return _unpacked(self._done[key])
        return record

    def _put_away(self, record: Record) -> None:
        if record.state == "done" and self._records.pop(record.key, None) is not None:
            self._done[tuple(record.key)] = _packed(record)

    def _forget_one(self) -> None:
        if not self._done:
            raise Busy(f"the memory store holds {self._most_records} unfinished deliveries and takes no more")
        self._done.popitem(last=False)


def _packed(record: Record) -> tuple[Any, ...]:
    """Make plain tuples of a record that will hardly be asked for again.

    The garbage collector looks once at tuples of texts and numbers; records it would walk again and again, all 10,000
    of them, and stop everything else meanwhile.
    """
    return (tuple(record.key), tuple(record.facts), tuple(record.results.items()), *_flat_values(record))


def _unpacked(packed: tuple[Any, ...]) -> Record:
    key, facts, results, *flat = packed
    return Record(Key(*key), facts=Facts(*facts), results=dict(results), **dict(zip(_FLAT, flat, strict=True)))
