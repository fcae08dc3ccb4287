"""`memory:`, for tests and toys: nothing survives the process, and no other process sees it."""

import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import fields, replace
from operator import attrgetter
from typing import Any

from airweave_webhooks.errors import Busy
from airweave_webhooks.stores import transitions
from airweave_webhooks.stores.base import Claim, Claimed, Facts, Key, Lease, Record, Settle


class MemoryStore:
    """Keeps records in a dictionary, and forgets the oldest finished ones when it is full.

    Args:
        most_records: how many it holds; when all are unfinished, a new claim raises `Busy`.
        clock: seconds since the epoch.
    """

    round_trip = False
    durable = False

    def __init__(self, *, most_records: int = 100_000, clock: Callable[[], float] = time.time) -> None:
        self._most_records = most_records
        self._clock = clock
        self._open: dict[Key, Record] = {}
        # In the order in which they were finished: the first is the next to be forgotten. They are kept as plain
        # tuples of plain values, which Python's garbage collector does not walk: as records they would make it
        # stop the world for longer than anything else here takes.
        self._done: OrderedDict[tuple[str, str, str], tuple[object, ...]] = OrderedDict()
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
            if len(self._open) + len(self._done) >= self._most_records:
                self._forget_one()
            record = transitions.first_claim(claim, now)
            answer = transitions.granted(record)
        else:
            answer, changed = transitions.claim_again(record, claim, now)
            if not changed:
                return answer
        self._keep(record)
        return answer

    def _find(self, key: Key) -> Record | None:
        record = self._open.get(key)
        if record is None:
            finished = self._done.get(key)
            if finished is not None:
                return _thaw(key, finished)
        return record

    def _keep(self, record: Record) -> None:
        if record.state == "done":
            self._open.pop(record.key, None)
            self._done[(*record.key,)] = _freeze(record)
        else:
            self._open[record.key] = record

    def _forget_one(self) -> None:
        if not self._done:
            raise Busy(f"the memory store holds {self._most_records} unfinished deliveries and takes no more")
        self._done.popitem(last=False)

    async def settle(self, settles: Sequence[Settle]) -> list[bool]:
        """Settle each whose lease is current."""
        now = self._clock()
        with self._lock:
            return [self._settle(wish, now) for wish in settles]

    def _settle(self, wish: Settle, now: float) -> bool:
        record = self._find(wish.lease.key)
        stands, changed = transitions.settle(record, wish, now)
        if changed and record is not None:
            self._keep(record)
        return stands

    def renew(self, leases: Sequence[Lease], seconds: float) -> list[bool]:
        """Renew each that is current."""
        until = self._clock() + seconds
        with self._lock:
            return [self._renew(lease, until) for lease in leases]

    def _renew(self, lease: Lease, until: float) -> bool:
        record = self._open.get(lease.key)
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
            while self._done and touched < most:
                key, finished = next(iter(self._done.items()))
                if (_thaw(Key(*key), finished).settled_at or 0.0) > now - done_for:
                    break
                del self._done[key]
                touched += 1
            for record in self._open.values():
                if touched >= most:
                    break
                if transitions.is_abandoned(record, now - abandoned_for):
                    transitions.abandon(record, now)
                    touched += 1
        return touched


_FIELDS = tuple(field.name for field in fields(Record) if field.name not in {"key", "facts"})
_values = attrgetter(*_FIELDS)


def _freeze(record: Record) -> tuple[object, ...]:
    return (tuple(record.facts), *_values(record))


def _thaw(key: Key, frozen: tuple[Any, ...]) -> Record:
    return Record(key=Key(*key), facts=Facts(*frozen[0]), **dict(zip(_FIELDS, frozen[1:], strict=True)))
