"""A store for tests, in memory and with an inbox: `transitions` and `inbox_transitions`, and a dictionary.

Right, and as plain as can be; not made for speed.
"""

import threading
import time
from collections import Counter
from collections.abc import Callable, Collection, Sequence
from contextlib import AbstractAsyncContextManager, nullcontext
from dataclasses import replace

from airweave_webhooks.errors import StoreUnavailable
from airweave_webhooks.stores import inbox_transitions, transitions
from airweave_webhooks.stores.base import Claim, Claimed, Key, Lease, Record, Settle, State
from airweave_webhooks.stores.inbox import Backlog, Cursor, Search, Take, Taken, Tally


class PlainStore:
    """Records in a dictionary.

    Args:
        clock: seconds since the epoch.
    """

    round_trip = False
    durable = False

    def __init__(self, *, clock: Callable[[], float] = time.time) -> None:
        self._clock = clock
        self._records: dict[Key, Record] = {}
        # The event loop settles while the lease keeper's thread renews.
        self._lock = threading.Lock()

    async def open(self) -> None:
        """Do nothing: there is nothing to connect to."""

    async def close(self) -> None:
        """Keep everything, so that a receiver which is opened again finds it."""

    async def claim(self, claims: Sequence[Claim]) -> list[Claimed]:
        """Claim each."""
        return [self._claim(claim, self._clock()) for claim in claims]

    def _claim(self, claim: Claim, now: float) -> Claimed:
        record = self._find(claim.key)
        if record is None:
            record = self._records[claim.key] = transitions.first_claim(claim, now)
            return transitions.granted(record)
        return transitions.claim_again(record, claim, now)[0]

    async def settle(self, settles: Sequence[Settle]) -> list[bool]:
        """Settle each whose lease is current."""
        with self._lock:
            return [self._settle(wish, self._clock()) for wish in settles]

    def _settle(self, wish: Settle, now: float) -> bool:
        return transitions.settle(self._find(wish.lease.key), wish, now)[0]

    def renew(self, leases: Sequence[Lease], seconds: float) -> list[bool]:
        """Renew each that is current."""
        with self._lock:
            return [self._renew(lease, self._clock() + seconds) for lease in leases]

    def _renew(self, lease: Lease, until: float) -> bool:
        record = self._find(lease.key)
        if record is None or not transitions.may_renew(record, lease):
            return False
        record.lease_until = until
        return True

    async def get(self, keys: Sequence[Key]) -> list[Record | None]:
        """Read copies of records."""
        records = map(self._find, keys)
        return [replace(record) if record else None for record in records]

    async def purge(self, *, done_for: float, abandoned_for: float, most: int) -> int:
        """Remove what is finished, give up what is abandoned."""
        now = self._clock()
        touched = 0
        for key, record in list(self._records.items()):
            if touched == most:
                break
            if record.state == "done" and (record.settled_at or 0.0) < now - done_for:
                del self._records[key]
                touched += 1
            elif transitions.is_abandoned(record, now - abandoned_for):
                transitions.abandon(record, now)
                touched += 1
        return touched

    def _find(self, key: Key) -> Record | None:
        return self._records.get(key)


class PlainInbox(PlainStore):
    """Records in a dictionary, of which a worker can take what is due.

    It outlives a receiver, also one that crashes in a test, but not the process.

    Args:
        clock: seconds since the epoch.
    """

    durable = True

    def __init__(self, *, clock: Callable[[], float] = time.time) -> None:
        super().__init__(clock=clock)
        self._beats: dict[str, float] = {}
        self._opened = 0

    @property
    def records(self) -> list[Record]:
        """Copies of all that there are, in the order in which they came."""
        return [replace(record) for record in self._records.values()]

    async def open(self) -> None:
        """Open it once more."""
        self._opened += 1

    async def close(self) -> None:
        """Keep everything, so that a receiver which is opened again finds it."""
        self._opened -= 1

    @property
    def _all(self) -> Collection[Record]:
        self._check_open()
        return self._records.values()

    def _check_open(self) -> None:
        if not self._opened:
            raise StoreUnavailable("the store is closed")

    async def claim(self, claims: Sequence[Claim]) -> list[Claimed]:
        """Claim each."""
        now = self._clock()  # one for all, so that a search finds some that came at the same time
        return [self._claim(claim, now) for claim in claims]

    async def take(self, take: Take) -> list[Taken]:
        """Lease what is due."""
        now = self._clock()
        records = self._all
        found = inbox_transitions.choose(records, take, now)
        taken = [inbox_transitions.take(record, take, records, now) for record in found]
        return [one._replace(record=replace(one.record)) for one in taken]

    def listening(self, receiver: str, wake: Callable[[], None]) -> AbstractAsyncContextManager[None]:  # noqa: ARG002
        """Do nothing: no other process sees this store."""
        return nullcontext()

    async def beat(self, receiver: str, owner: str) -> None:  # noqa: ARG002
        """Note that a worker works."""
        self._check_open()
        self._beats[receiver] = self._clock()

    async def backlog(self, receiver: str) -> Backlog:
        """Say how far the workers are behind."""
        now = self._clock()
        ours = [record for record in self._all if record.key.receiver == receiver]
        held = [record for record in ours if record.body is not None]
        due = [record for record in held if _age(record, now) >= 0]
        return Backlog(
            pending=sum(record.state == "pending" for record in held),
            oldest=max((_age(record, now) for record in self._free(receiver, now)), default=0.0),
            suspects=sum(inbox_transitions.is_suspect(record) for record in due),
            dead=sum(record.state == "dead" for record in ours),
            leases_lost=sum(record.leases_lost for record in ours),
            worker_seen=now - self._beats[receiver] if receiver in self._beats else None,
            disk=sum(1000 + len(record.body or b"") for record in self._all),
        )

    def _free(self, receiver: str, now: float) -> list[Record]:
        """What would be taken."""
        takes = [Take(receiver, 1, b"", 0.0, suspects=suspects) for suspects in (False, True)]
        return [record for take in takes for record in inbox_transitions.choose(self._all, take, now)]

    async def forget_bodies(self, *, done_for: float, most: int) -> int:
        """Drop the bodies of what was done long ago."""
        before = self._clock() - done_for
        old = [record for record in self._all if inbox_transitions.has_old_body(record, before)]
        for record in old[:most]:
            record.body = None
        return len(old[:most])

    async def search(self, search: Search, *, after: Cursor | None = None, most: int) -> list[Record]:
        """Find deliveries, the latest first."""
        page = inbox_transitions.page_of(self._found(search), after, most)
        return [replace(record, body=None, origin=None) for record in page]

    async def count(self, search: Search) -> int:
        """Say how many deliveries `search` finds."""
        return len(self._found(search))

    def _found(self, search: Search) -> list[Record]:
        return [record for record in self._all if inbox_transitions.finds(search, record)]

    async def replay(self, keys: Sequence[Key], *, who: str, why: str) -> list[bool]:
        """Make each due again that can be."""
        return [self._replay(key, who, why) for key in keys]

    def _replay(self, key: Key, who: str, why: str) -> bool:
        record = self._find(key) if self._all else None
        return record is not None and inbox_transitions.replay(record, who, why, self._clock())

    async def tally(self, receiver: str) -> list[Tally]:
        """Count deliveries by state, reason and event type."""
        alike = Counter[tuple[State, str | None, str]](
            (record.state, record.reason, record.facts.event_type)
            for record in self._all
            if record.key.receiver == receiver
        )
        return [Tally(*kind, alike[kind]) for kind in sorted(alike, key=lambda kind: (kind[0], kind[1] or "", kind[2]))]


def _age(record: Record, now: float) -> float:
    """Seconds for which a record has been due; negative for one that is not."""
    since = inbox_transitions.due_since(record)
    return -1.0 if since is None else now - since
