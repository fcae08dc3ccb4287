"""`memory:`, for tests and toys: nothing survives the process, and no other process sees it."""

import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any, Final, TypeAlias

from airweave_webhooks.errors import Busy
from airweave_webhooks.stores import transitions
from airweave_webhooks.stores.base import Claim, Claimed, Facts, Key, Lease, Record, Settle

# The answer to every first claim.
_FIRST: Final = Claimed("claimed", fence=1)

_NEVER: Final[tuple[None, float]] = (None, 0.0)

# Two messages in plain tuples: see `_packed`.
_Packed: TypeAlias = tuple[Any, ...]


class MemoryStore:
    """Keeps records in a dictionary, and forgets the oldest finished ones when it is full.

    A delivery that went the usual way is kept as the two messages that it took, one claim and one settle. A `Record`
    is made of them when more happens to it.

    Args:
        most_records: how many it holds; when all are unfinished, a new claim raises `Busy`.
        clock: seconds since the epoch.
    """

    round_trip = False
    durable = False

    def __init__(self, *, most_records: int = 10_000, clock: Callable[[], float] = time.time) -> None:
        self._most_records = most_records
        self._clock = clock
        # Claimed once, and not settled; with the time of the claim.
        self._fresh: dict[Key, tuple[Claim, float]] = {}
        self._open: dict[Key, Record] = {}
        # In the order in which they were done: the first is the next to be forgotten.
        self._done: OrderedDict[tuple[str, ...], Record | _Packed] = OrderedDict()
        # The event loop claims and settles while the lease keeper's thread renews.
        self._lock = threading.Lock()

    def __repr__(self) -> str:
        return "MemoryStore()"

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
        if record is not None:
            answer, _ = transitions.claim_again(record, claim, now)
            self._put_away(record)
            return answer
        if len(self._fresh) + len(self._open) + len(self._done) >= self._most_records:
            self._forget_one()
        if claim.into == "leased":
            self._fresh[claim.key] = (claim, now)
            return _FIRST
        record = self._open[claim.key] = transitions.first_claim(claim, now)
        self._put_away(record)
        return transitions.granted(record)

    async def settle(self, settles: Sequence[Settle]) -> list[bool]:
        """Settle each whose lease is current."""
        now = self._clock()
        with self._lock:
            return [self._settle(wish, now) for wish in settles]

    def _settle(self, wish: Settle, now: float) -> bool:
        key, fence, token = wish.lease
        claim, came = self._fresh.get(key, _NEVER)
        if claim is not None and claim.token == token and fence == 1 and wish.state == "done":
            del self._fresh[key]
            packed = _packed(claim, came, wish, now)
            self._done[packed[0]] = packed
            return True
        record = self._find(key)
        stands, _ = transitions.settle(record, wish, now)
        if record is not None:
            self._put_away(record)
        return stands

    def renew(self, leases: Sequence[Lease], seconds: float) -> list[bool]:
        """Renew each that is current."""
        now = self._clock()
        with self._lock:
            return [self._renew(lease, now + seconds) for lease in leases]

    def _renew(self, lease: Lease, until: float) -> bool:
        record = self._find(lease.key)
        if record is None or not transitions.may_renew(record, lease):
            return False
        record.lease_until = until
        return True

    async def get(self, keys: Sequence[Key]) -> list[Record | None]:
        """Read copies of records."""
        with self._lock:
            records = map(self._find, keys)
            return [replace(record) if record else None for record in records]

    async def purge(self, *, done_for: float, abandoned_for: float, most: int) -> int:
        """Remove what is finished, give up what is abandoned."""
        now = self._clock()
        touched = 0
        with self._lock:
            for key in list(self._done):
                record = self._find(Key(*key))
                if touched >= most or record is None or (record.settled_at or 0.0) >= now - done_for:
                    break
                del self._done[key]
                touched += 1
            for key in [*self._fresh, *self._open]:
                record = self._find(key)
                if touched >= most or record is None:
                    break
                if transitions.is_abandoned(record, now - abandoned_for):
                    transitions.abandon(record, now)
                    touched += 1
        return touched

    def _find(self, key: Key) -> Record | None:
        """The record of `key`. Once it was asked for it is kept as such."""
        if key in self._fresh:
            record = self._open[key] = transitions.first_claim(*self._fresh.pop(key))
            return record
        found = self._open.get(key) or self._done.get(key)
        if isinstance(found, tuple):
            found = self._done[key] = _unpacked(found)
        return found

    def _put_away(self, record: Record) -> None:
        if record.state == "done" and self._open.pop(record.key, None) is not None:
            self._done[record.key] = record

    def _forget_one(self) -> None:
        if not self._done:
            raise Busy(f"the memory store holds {self._most_records} unfinished deliveries and takes no more")
        self._done.popitem(last=False)  # of a plain dict the first would have to be searched for


def _packed(claim: Claim, came: float, wish: Settle, settled: float) -> _Packed:
    """Make plain tuples of a delivery that will hardly be asked for again.

    The garbage collector looks once at tuples of texts and numbers; anything else it would walk again and again, all
    10,000 of them, and stop everything else meanwhile.
    """
    return (tuple(claim[0]), claim[1:4], tuple(claim[4]), claim[5:], came, wish[1:], settled)


def _unpacked(packed: _Packed) -> Record:
    key, ids, facts, rest, came, wish, settled = packed
    claim = Claim._make([Key(*key), *ids, Facts(*facts), *rest])
    record = transitions.first_claim(claim, came)
    transitions.settle(record, Settle(Lease(claim.key, record.fence, record.token), *wish), settled)
    return record
