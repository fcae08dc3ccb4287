"""`memory:`, for tests and toys: nothing survives the process, and no other process sees it."""

import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import replace

from airweave_webhooks.errors import Busy
from airweave_webhooks.stores import transitions
from airweave_webhooks.stores.base import Claim, Claimed, Key, Lease, Record, Settle


class MemoryStore:
    """Keeps records in a dictionary, and forgets the oldest finished ones when it is full.

    Args:
        most_records: how many it holds; when all are unfinished, a new claim raises `Busy`. Python's garbage
            collector walks them all now and then, and stops everything else for about 1 ms per 5,000.
        clock: seconds since the epoch.
    """

    round_trip = False
    durable = False

    def __init__(self, *, most_records: int = 10_000, clock: Callable[[], float] = time.time) -> None:
        self._most_records = most_records
        self._clock = clock
        self._records: dict[Key, Record] = {}
        # Keys of finished records in the order in which they were finished: the first is the next to be forgotten.
        self._done: OrderedDict[Key, None] = OrderedDict()
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
        record = self._records.get(claim.key)
        if record is not None:
            answer, changed = transitions.claim_again(record, claim, now)
            if changed and record.state == "done":
                self._done[claim.key] = None
            return answer
        if len(self._records) >= self._most_records:
            self._forget_one()
        record = self._records[claim.key] = transitions.first_claim(claim, now)
        if record.state == "done":
            self._done[claim.key] = None
        return transitions.granted(record)

    def _forget_one(self) -> None:
        if not self._done:
            raise Busy(f"the memory store holds {self._most_records} unfinished deliveries and takes no more")
        key, _ = self._done.popitem(last=False)
        del self._records[key]

    async def settle(self, settles: Sequence[Settle]) -> list[bool]:
        """Settle each whose lease is current."""
        now = self._clock()
        with self._lock:
            return [self._settle(wish, now) for wish in settles]

    def _settle(self, wish: Settle, now: float) -> bool:
        stands, changed = transitions.settle(self._records.get(wish.lease.key), wish, now)
        if changed and wish.state == "done":
            self._done[wish.lease.key] = None
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
            records = [self._records.get(key) for key in keys]
            return [replace(record) if record else None for record in records]

    async def purge(self, *, done_for: float, abandoned_for: float, most: int) -> int:
        """Remove what is finished, give up what is abandoned."""
        now = self._clock()
        touched = 0
        with self._lock:
            for key in list(self._done):
                record = self._records[key]
                if touched >= most or (record.settled_at or 0.0) > now - done_for:
                    break
                del self._done[key], self._records[key]
                touched += 1
            for record in self._records.values():
                if touched >= most:
                    break
                if transitions.is_abandoned(record, now - abandoned_for):
                    transitions.abandon(record, now)
                    touched += 1
        return touched
