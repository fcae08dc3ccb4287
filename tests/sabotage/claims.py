"""Stores that give deliveries to the wrong one, or forget what came of them."""

import random
from collections.abc import Sequence
from typing import Any

from airweave_webhooks.stores import transitions
from airweave_webhooks.stores.base import NO_RESULTS, Claim, Claimed, Lease, Settle
from sabotage.plain import PlainStore
from sabotage.registry import found_by


@found_by("test_takeover_after_the_lease")
class TakesOverEarly(PlainStore):
    def _claim(self, claim: Claim, now: float) -> Claimed:
        return super()._claim(claim._replace(lease=claim.lease / 10_000), now)


@found_by("test_takeover_after_the_lease")
class NeverTakesOver(PlainStore):
    def _claim(self, claim: Claim, now: float) -> Claimed:
        return super()._claim(claim._replace(lease=claim.lease + 1e6), now)


@found_by("test_takeover_after_the_lease")
class LeaseInMilliseconds(PlainStore):
    def _claim(self, claim: Claim, now: float) -> Claimed:
        return super()._claim(claim._replace(lease=claim.lease / 1000), now)


@found_by("test_a_renewed_lease_is_lost_as_any_other")
class RoundsLeasesUpToSeconds(PlainStore):
    def renew(self, leases: Sequence[Lease], seconds: float) -> list[bool]:
        return super().renew(leases, max(1.0, round(seconds)))


@found_by("test_held_says_for_how_long")
class SaysTheWaitOfTheQuestion(PlainStore):
    def _claim(self, claim: Claim, now: float) -> Claimed:
        answer = super()._claim(claim, now)
        return answer._replace(retry_after=claim.lease) if answer.verdict == "held" else answer


@found_by("test_a_claim_gets_what_the_record_allows")
class ResetsAttempts(PlainStore):
    def _claim(self, claim: Claim, now: float) -> Claimed:
        record = self._find(claim.key)
        if record is not None and record.state == "leased" and (record.lease_until or 0.0) <= now:
            record.attempts = 0
        return super()._claim(claim, now)


@found_by("test_the_fence_never_falls_back")
class FenceAtRandom(PlainStore):
    def _claim(self, claim: Claim, now: float) -> Claimed:
        answer = super()._claim(claim, now)
        record = self._find(claim.key)
        if record is not None and answer.fence > 3 and record.token == claim.token:
            record.fence = 3 + random.Random(answer.fence).randrange(1000)
            return answer._replace(fence=record.fence)
        return answer


@found_by("test_the_fence_never_falls_back")
class FenceAnewAfterARejection(PlainStore):
    def _claim(self, claim: Claim, now: float) -> Claimed:
        record = self._find(claim.key)
        if record is not None and record.state == "dead" and record.body is None:
            del self._records[claim.key]
        return super()._claim(claim, now)


@found_by("test_results_survive_a_crash")
class LosesResultsInACrash(PlainStore):
    def _claim(self, claim: Claim, now: float) -> Claimed:
        record = self._find(claim.key)
        if record is not None and record.state == "leased" and (record.lease_until or 0.0) <= now:
            record.results = NO_RESULTS
        return super()._claim(claim, now)


@found_by("test_each_settle_replaces_the_one_before")
class AddsResultsUp(PlainStore):
    def _settle(self, wish: Settle, now: float) -> bool:
        record = self._find(wish.lease.key)
        earlier = {} if record is None else dict(record.results)
        return super()._settle(wish._replace(results={**earlier, **wish.results}), now)


@found_by("test_a_new_body_replaces_the_old_one")
class NoEmptyBodies(PlainStore):
    def _settle(self, wish: Settle, now: float) -> bool:
        return super()._settle(wish._replace(body=wish.body or None), now)


@found_by("test_texts_and_bytes_come_back_as_they_were")
class BodyAsText(PlainStore):
    def _settle(self, wish: Settle, now: float) -> bool:
        body = None if wish.body is None else wish.body.decode("utf-8", "replace").encode()
        return super()._settle(wish._replace(body=body), now)


@found_by("test_a_body_is_kept_until_the_work_is_done_with_it")
class BodyDroppedWithTheLease(PlainStore):
    def _renew(self, lease: Lease, until: float) -> bool:
        record = self._find(lease.key)
        if record is not None:
            record.body = None
        return super()._renew(lease, until)


@found_by("test_another_message_id_under_one_key_is_no_conflict")
class ConflictByTheKey(PlainStore):
    def _claim(self, claim: Claim, now: float) -> Claimed:
        record = self._find(claim.key)
        return super()._claim(claim._replace(message_id=record.message_id if record else claim.message_id), now)


@found_by("test_another_body_under_one_message_id_is_a_conflict")
class ForgetsTheDigest(PlainStore):
    def _claim(self, claim: Claim, now: float) -> Claimed:
        return super()._claim(claim._replace(digest=bytes(32)), now)


@found_by("test_the_claim_of_an_earlier_holder_is_nothing_special")
class RemembersEveryToken(PlainStore):
    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self.tokens: set[bytes] = set()

    def _claim(self, claim: Claim, now: float) -> Claimed:
        record = self._find(claim.key)
        if record is not None and claim.token in self.tokens:
            return transitions.granted(record)
        answer = super()._claim(claim, now)
        if answer.verdict == "claimed":
            self.tokens.add(claim.token)
        return answer


@found_by("test_a_repeated_claim_is_no_renewal")
class RepeatingRenews(PlainStore):
    def _claim(self, claim: Claim, now: float) -> Claimed:
        answer = super()._claim(claim, now)
        record = self._find(claim.key)
        if record is not None and record.state == "leased" and record.token == claim.token:
            record.lease_until = now + claim.lease
        return answer
