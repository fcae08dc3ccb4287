"""The store that the sabotaged ones are made of: right, and as plain as can be."""

import time
from collections.abc import Callable, Sequence
from dataclasses import replace

from airweave_webhooks.stores import transitions
from airweave_webhooks.stores.base import Claim, Claimed, Key, Lease, Record, Settle


class PlainStore:
    """Nothing but `transitions` and a dictionary."""

    round_trip = False
    durable = False

    def __init__(self, *, clock: Callable[[], float] = time.time) -> None:
        self._clock = clock
        self._records: dict[Key, Record] = {}

    async def open(self) -> None:
        pass

    async def close(self) -> None:
        pass

    async def claim(self, claims: Sequence[Claim]) -> list[Claimed]:
        return [self._claim(claim, self._clock()) for claim in claims]

    def _claim(self, claim: Claim, now: float) -> Claimed:
        record = self._find(claim.key)
        if record is None:
            record = self._records[claim.key] = transitions.first_claim(claim, now)
            return transitions.granted(record)
        return transitions.claim_again(record, claim, now)[0]

    async def settle(self, settles: Sequence[Settle]) -> list[bool]:
        return [self._settle(wish, self._clock()) for wish in settles]

    def _settle(self, wish: Settle, now: float) -> bool:
        return transitions.settle(self._find(wish.lease.key), wish, now)[0]

    def renew(self, leases: Sequence[Lease], seconds: float) -> list[bool]:
        return [self._renew(lease, self._clock() + seconds) for lease in leases]

    def _renew(self, lease: Lease, until: float) -> bool:
        record = self._find(lease.key)
        if record is None or not transitions.may_renew(record, lease):
            return False
        record.lease_until = until
        return True

    async def get(self, keys: Sequence[Key]) -> list[Record | None]:
        records = map(self._find, keys)
        return [replace(record) if record else None for record in records]

    async def purge(self, *, done_for: float, abandoned_for: float, most: int) -> int:
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
