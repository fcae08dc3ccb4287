"""Stores that fail with many at once, in time, and in keeping house."""

import asyncio
import threading
from collections.abc import Sequence
from typing import Any

from airweave_webhooks.errors import StoreDataError, StoreUnavailable
from airweave_webhooks.stores.base import Claim, Claimed, Key, Lease, Record, Settle
from sabotage.plain import PlainStore
from sabotage.registry import found_by


@found_by("test_concurrent_claims_have_one_winner")
class LooksFirstAndWritesLater(PlainStore):
    async def claim(self, claims: Sequence[Claim]) -> list[Claimed]:
        seen = [claim.key in self._records for claim in claims]
        await asyncio.sleep(0)
        for claim, was_there in zip(claims, seen, strict=True):
            if not was_there:
                self._records.pop(claim.key, None)
        return await super().claim(claims)


@found_by("test_answers_come_in_the_order_of_the_questions")
class GrantedOnesFirst(PlainStore):
    async def claim(self, claims: Sequence[Claim]) -> list[Claimed]:
        return sorted(await super().claim(claims), key=lambda answer: answer.verdict != "claimed")


@found_by("test_answers_come_in_the_order_of_the_questions")
class ReadsInItsOwnOrder(PlainStore):
    async def get(self, keys: Sequence[Key]) -> list[Record | None]:
        return await super().get(sorted(keys))


@found_by("test_answers_come_in_the_order_of_the_questions")
class ReadsWhatIsThere(PlainStore):
    async def get(self, keys: Sequence[Key]) -> list[Record | None]:
        return [record for record in await super().get(keys) if record] or [None]


@found_by("test_each_of_a_batch_is_recorded_as_itself")
class OneLeaseForAll(PlainStore):
    async def claim(self, claims: Sequence[Claim]) -> list[Claimed]:
        return await super().claim([claim._replace(lease=claims[0].lease) for claim in claims])


@found_by("test_a_batch_that_cannot_be_stored_leaves_nothing")
class HalfABatch(PlainStore):
    async def claim(self, claims: Sequence[Claim]) -> list[Claimed]:
        answers: list[Claimed] = []
        for claim in claims:
            if claim.lease > 1e9:
                raise StoreDataError("too long")
            answers += await super().claim([claim])
        return answers


@found_by("test_a_poisoned_claim_harms_no_neighbour")
class SomeOtherError(PlainStore):
    async def claim(self, claims: Sequence[Claim]) -> list[Claimed]:
        if any(claim.facts.event_time and claim.facts.event_time.year == 9999 for claim in claims):
            raise ValueError("year 10000 is out of range")
        return await super().claim(claims)


@found_by("test_a_batch_of_nothing")
class NothingIsAnError(PlainStore):
    def renew(self, leases: Sequence[Lease], seconds: float) -> list[bool]:
        if not leases:
            raise StoreUnavailable("syntax error at or near ')'")
        return super().renew(leases, seconds)


@found_by("test_leases_of_all_kinds_are_renewed_together")
class AllOrNoneRenewed(PlainStore):
    def renew(self, leases: Sequence[Lease], seconds: float) -> list[bool]:
        kept = super().renew(leases, seconds)
        return [all(kept)] * len(kept)


@found_by("test_leases_of_all_kinds_are_renewed_together")
class StopsAtTheFirstLost(PlainStore):
    def renew(self, leases: Sequence[Lease], seconds: float) -> list[bool]:
        kept: list[bool] = []
        for lease in leases:
            kept.append(all(kept) and super().renew([lease], seconds)[0])
        return kept


@found_by("test_a_lease_that_nobody_took_is_still_its_holders")
class RenewsOnlyInTime(PlainStore):
    def _renew(self, lease: Lease, until: float) -> bool:
        record = self._find(lease.key)
        in_time = record is not None and (record.lease_until or 0.0) > self._clock()
        return in_time and super()._renew(lease, until)


@found_by("test_a_renewal_counts_from_now")
class RenewsFromTheEnd(PlainStore):
    def _renew(self, lease: Lease, until: float) -> bool:
        record = self._find(lease.key)
        left = 0.0 if record is None else (record.lease_until or 0.0) - self._clock()
        return super()._renew(lease, until + left)


@found_by("test_a_renewed_lease_lasts")
class RenewsOnTheEventLoop(PlainStore):
    async def open(self) -> None:
        self.loop = asyncio.get_running_loop()

    def renew(self, leases: Sequence[Lease], seconds: float) -> list[bool]:
        ran = threading.Event()
        self.loop.call_soon_threadsafe(ran.set)
        return super().renew(leases, seconds) if ran.wait(0.05) else [False] * len(leases)


@found_by("test_a_lease_that_nobody_took_can_be_settled")
class SettlesOnlyInTime(PlainStore):
    def _settle(self, wish: Settle, now: float) -> bool:
        record = self._find(wish.lease.key)
        late = record is not None and record.state == "leased" and (record.lease_until or 0.0) <= now
        return not late and super()._settle(wish, now)


@found_by("test_the_same_fence_of_another_delivery_settles_nothing")
class ComparesTheFenceOnly(PlainStore):
    def _settle(self, wish: Settle, now: float) -> bool:
        record = self._find(wish.lease.key)
        token = wish.lease.token if record is None else record.token
        return super()._settle(wish._replace(lease=wish.lease._replace(token=token)), now)


@found_by("test_a_settle_needs_fence_and_token")
class ComparesTheTokenOnly(PlainStore):
    def _settle(self, wish: Settle, now: float) -> bool:
        record = self._find(wish.lease.key)
        fence = wish.lease.fence if record is None else record.fence
        return super()._settle(wish._replace(lease=wish.lease._replace(fence=fence)), now)


@found_by("test_a_stale_settle_is_refused")
class AcceptsStaleSettles(PlainStore):
    def _settle(self, wish: Settle, now: float) -> bool:
        record = self._find(wish.lease.key)
        if record is None or record.fence <= wish.lease.fence:
            return super()._settle(wish, now)
        return super()._settle(wish._replace(lease=Lease(record.key, record.fence, record.token)), now)


@found_by("test_a_repeated_settle_is_the_same_settle")
class RefusesRepeatedSettles(PlainStore):
    def _settle(self, wish: Settle, now: float) -> bool:
        record = self._find(wish.lease.key)
        return record is not None and record.state == "leased" and super()._settle(wish, now)


@found_by("test_what_was_settled_is_no_longer_the_callers")
class KeepsTheCallersResults(PlainStore):
    def _settle(self, wish: Settle, now: float) -> bool:
        stands = super()._settle(wish, now)
        record = self._records.get(wish.lease.key)
        if stands and record is not None:
            record.results = wish.results
        return stands


@found_by("test_a_record_that_was_read_is_a_copy")
class GivesItsRecordsAway(PlainStore):
    async def get(self, keys: Sequence[Key]) -> list[Record | None]:
        return [self._find(key) for key in keys]


class OtherPurge(PlainStore):
    """Purges something else, too."""

    def also(self, record: Record, old: float) -> bool:
        raise NotImplementedError

    async def purge(self, *, done_for: float, abandoned_for: float, most: int) -> int:
        wrong = [key for key, record in self._records.items() if self.also(record, self._clock() - done_for)]
        for key in wrong:
            del self._records[key]
        return await super().purge(done_for=done_for, abandoned_for=abandoned_for, most=most) + len(wrong)


@found_by("test_retention")
class PurgesPendingOnes(OtherPurge):
    def also(self, record: Record, old: float) -> bool:
        return record.state == "pending" and (record.settled_at or 0.0) < old


@found_by("test_retention")
class PurgesDeadOnes(OtherPurge):
    def also(self, record: Record, old: float) -> bool:
        return record.state == "dead" and (record.settled_at or 0.0) < old


@found_by("test_retention")
class PurgesLostOnes(OtherPurge):
    def also(self, record: Record, old: float) -> bool:
        return record.state == "leased" and record.received_at < old


@found_by("test_a_purge_touches_no_more_than_it_may")
class PurgesWithoutBound(PlainStore):
    async def purge(self, *, done_for: float, abandoned_for: float, most: int) -> int:
        return await super().purge(done_for=done_for, abandoned_for=abandoned_for, most=10_000)


@found_by("test_a_purge_touches_no_more_than_it_may")
class BoundsEachPartOfThePurge(PlainStore):
    async def purge(self, *, done_for: float, abandoned_for: float, most: int) -> int:
        done = await super().purge(done_for=done_for, abandoned_for=1e9, most=most)
        return done + await super().purge(done_for=1e9, abandoned_for=abandoned_for, most=most)


@found_by("test_what_the_sender_has_given_up_on_is_abandoned")
class AbandonsInSilence(PlainStore):
    async def purge(self, *, done_for: float, abandoned_for: float, most: int) -> int:
        await super().purge(done_for=1e9, abandoned_for=abandoned_for, most=most)
        return await super().purge(done_for=done_for, abandoned_for=1e9, most=most)


@found_by("test_a_caller_that_has_gone_harms_nobody")
class LockedByACallerThatHasGone(PlainStore):
    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self.turn = asyncio.Lock()

    async def claim(self, claims: Sequence[Claim]) -> list[Claimed]:
        await self.turn.acquire()
        await asyncio.sleep(0)
        answers = await super().claim(claims)
        self.turn.release()
        return answers


@found_by("test_opening_twice_needs_closing_twice")
class ClosedByTheFirst(PlainStore):
    is_open = False

    async def open(self) -> None:
        self.is_open = True

    async def close(self) -> None:
        self.is_open = False

    async def claim(self, claims: Sequence[Claim]) -> list[Claimed]:
        if not self.is_open:
            raise StoreUnavailable("closed")
        return await super().claim(claims)
