"""Who gets a delivery, and what the others are told."""

import asyncio
from dataclasses import replace
from typing import Final, Literal

import pytest

from airweave_webhooks.stores.base import Claim, Record, Settle, Store
from airweave_webhooks.stores.history import Note
from airweave_webhooks.testing.contracts.base import (
    BRIEF,
    CLOSE,
    HOUR,
    LONG,
    SITUATIONS,
    Contract,
    a_claim,
    lapse,
    lease_of,
    noted,
)

INTO: Final[tuple[Literal["leased", "done", "dead"], ...]] = ("leased", "done", "dead")


def first_record(claim: Claim, found: Record) -> Record:
    """The record of a first claim, with the times that the store `found`."""
    return Record(
        claim.key,
        claim.message_id,
        claim.digest,
        claim.facts,
        received_at=found.received_at,
        state=claim.into,
        reason=claim.reason,
        settled_at=found.settled_at,
        fence=1,
        token=claim.token,
        owner=claim.owner,
        lease_until=found.lease_until,
        attempts=1 if claim.into == "leased" else 0,
        body=claim.body if claim.into != "leased" else None,
    )


class ClaimContract(Contract):
    """`claim`, by what the store already knows of the delivery."""

    async def test_a_new_delivery_is_claimed(self, store: Store) -> None:
        """Whoever comes first works on it, and the record says all that is known."""
        claim = a_claim()
        claimed = await self.claim(store, claim)
        assert (claimed.verdict, claimed.fence, claimed.attempt, claimed.generation) == ("claimed", 1, 1, 0)
        assert claimed.results == {}
        record = await self.record(store, claim.key)
        assert record == first_record(claim, record)
        assert record.settled_at is None
        assert (record.lease_until or 0.0) - record.received_at == pytest.approx(LONG, abs=CLOSE)

    @pytest.mark.parametrize(
        ("into", "body"), [("done", None), ("dead", None), ("dead", b"\0[body]\xff"), ("dead", b"")]
    )
    async def test_what_needs_no_work_is_recorded_in_one_step(
        self, store: Store, into: Literal["done", "dead"], body: bytes | None
    ) -> None:
        """An ignored delivery is done when it is claimed, a drifted one dead: nobody ever attempted them."""
        claim = a_claim()._replace(into=into, reason="because", body=body)
        claimed = await self.claim(store, claim)
        assert (claimed.verdict, claimed.fence, claimed.attempt) == ("claimed", 1, 1)
        record = await self.record(store, claim.key)
        assert record == first_record(claim, record)
        assert record.lease_until is None
        assert record.settled_at == pytest.approx(record.received_at, abs=CLOSE)

    @pytest.mark.parametrize("situation", SITUATIONS)
    async def test_a_claim_gets_what_the_record_allows(self, store: Store, situation: str) -> None:
        """For each situation and each wish: either it is granted and recorded, or nothing changes."""
        for into in INTO:
            await self.brought_into(store, situation, into)
        await lapse()
        for into in INTO:
            claim = a_claim(into)._replace(
                into=into, reason="wish", owner="test:2", body=b"[]" if into == "dead" else None
            )
            before = await self.record(store, claim.key)
            claimed = await self.claim(store, claim)
            after = await self.record(store, claim.key)
            assert claimed.verdict == SITUATIONS[situation]
            if claimed.verdict != "claimed":
                assert after == before
                continue
            wanted = replace(
                before,
                state=into,
                reason="wish",
                owner="test:2",
                token=claim.token,
                fence=before.fence + 1,
                leases_lost=before.leases_lost + (before.state == "leased"),
                attempts=before.attempts + (into == "leased"),
                due_at=None,
                lease_until=after.lease_until,
                settled_at=before.settled_at if into == "leased" else after.settled_at,
                body=before.body if into == "leased" else claim.body,
                history=after.history,
            )
            assert after == wanted
            lost = [Note(0.0, before.attempts, "test:1", "lease_lost", "")]
            assert noted(before, after) == (lost if before.state == "leased" else [])
            assert (claimed.fence, claimed.attempt) == (after.fence, max(after.attempts, 1))
            if into == "leased":
                assert (after.lease_until or 0.0) - after.received_at == pytest.approx(LONG, abs=CLOSE)
            else:
                assert after.lease_until is None
                assert (after.settled_at or 0.0) > after.received_at
                assert (after.settled_at or 0.0) > (before.settled_at or 0.0)

    @pytest.mark.parametrize("situation", SITUATIONS)
    async def test_another_body_under_one_message_id_is_a_conflict(self, store: Store, situation: str) -> None:
        """Whatever became of the first body, the second is not the same delivery, and changes nothing."""
        claim = await self.brought_into(store, situation, "msg_1")
        await lapse()
        before = await self.record(store, claim.key)
        for into in INTO:
            other = a_claim(body=b"[other]")._replace(into=into, body=b"[other]")
            assert (await self.claim(store, other)).verdict == "conflict"
        assert await self.record(store, claim.key) == before

    @pytest.mark.parametrize("situation", SITUATIONS)
    async def test_another_message_id_under_one_key_is_no_conflict(self, store: Store, situation: str) -> None:
        """Under a natural key one event has two message ids, whose bodies may differ."""
        await self.brought_into(store, situation, "msg_1")
        await lapse()
        other = a_claim(body=b"[other]")._replace(message_id="msg_other")
        assert (await self.claim(store, other)).verdict == SITUATIONS[situation]

    async def test_the_message_id_is_that_of_the_last_grant(self, store: Store) -> None:
        """Which body is a conflict is decided by the message that was last worked on."""
        await self.settled(store, a_claim(body=b"[1]"), "pending")
        other = a_claim(body=b"[2]")._replace(message_id="msg_other")
        await self.leased(store, other)
        record = await self.record(store, other.key)
        assert (record.message_id, record.digest) == ("msg_other", other.digest)
        assert (await self.claim(store, a_claim(body=b"[1]"))).verdict == "held"
        changed = a_claim(body=b"[3]")._replace(message_id="msg_other")
        assert (await self.claim(store, changed)).verdict == "conflict"

    async def test_the_facts_are_those_of_the_first_claim(self, store: Store) -> None:
        """Also when the delivery came first, and from whom it is now."""
        first = a_claim()
        await self.settled(store, first, "pending")
        before = await self.record(store, first.key)
        await lapse()
        await self.leased(store, a_claim()._replace(facts=first.facts._replace(collection="other"), owner="test:2"))
        record = await self.record(store, first.key)
        assert (record.facts, record.received_at, record.owner) == (first.facts, before.received_at, "test:2")

    async def test_concurrent_claims_have_one_winner(self, store: Store) -> None:
        """Twenty copies at once: one works, nineteen are told to wait."""
        answers = await asyncio.gather(*[self.claim(store, a_claim()) for _ in range(20)])
        assert sorted(answer.verdict for answer in answers) == ["claimed"] + ["held"] * 19

    @pytest.mark.parametrize("situation", ["leased", "body leased"])
    async def test_held_says_for_how_long(self, store: Store, situation: str) -> None:
        """The wait is what is left of the holder's lease, whatever lease the question is for."""
        await self.brought_into(store, situation, "msg_1")
        first = await self.claim(store, a_claim(lease=HOUR))
        await lapse()
        second = await self.claim(store, a_claim(lease=BRIEF))
        assert LONG - CLOSE < second.retry_after < first.retry_after <= LONG

    @pytest.mark.parametrize("into", INTO)
    async def test_a_repeated_claim_is_the_same_claim(
        self, store: Store, into: Literal["leased", "done", "dead"]
    ) -> None:
        """After an unknown commit the claim is sent again, counts once, and gets the same answer."""
        await self.settled(store, a_claim(), "pending", results={"a": "processed"})
        claim = a_claim()._replace(into=into)
        first = await self.claim(store, claim)
        before = await self.record(store, claim.key)
        assert [await self.claim(store, claim) for _ in range(3)] == [first] * 3
        assert await self.record(store, claim.key) == before

    @pytest.mark.parametrize("state", ["done", "pending", "dead"])
    async def test_a_claim_that_comes_again_late_changes_nothing(
        self, store: Store, state: Literal["done", "pending", "dead"]
    ) -> None:
        """Not even when what it was granted for has ended."""
        claim = a_claim()
        lease = await self.settled(store, claim, state)
        before = await self.record(store, claim.key)
        again = await self.claim(store, claim)
        assert (again.verdict, again.fence) == ("claimed", lease.fence)
        assert await self.record(store, claim.key) == before

    async def test_a_repeated_claim_is_no_renewal(self, store: Store) -> None:
        """A lease that ran out stays so, and the next one takes over."""
        claim = a_claim(lease=BRIEF)
        lease = await self.leased(store, claim)
        before = await self.record(store, claim.key)
        await lapse()
        assert (await self.claim(store, claim)).fence == lease.fence
        assert await self.record(store, claim.key) == before
        assert (await self.claim(store, a_claim())).verdict == "claimed"

    async def test_the_claim_of_an_earlier_holder_is_nothing_special(self, store: Store) -> None:
        """Sent again after somebody took over, it must not be taken for the current one."""
        stale = a_claim(lease=BRIEF)
        old = await self.leased(store, stale)
        await lapse()
        lease = await self.leased(store, a_claim())
        before = await self.record(store, stale.key)
        assert (await self.claim(store, stale)).verdict == "held"
        assert await self.record(store, stale.key) == before
        assert await store.settle([Settle(lease, "pending", "failed")]) == [True]
        again = await self.claim(store, stale)
        assert again.verdict == "claimed"
        assert again.fence > lease.fence > old.fence
        assert await store.settle([Settle(lease_of(stale, again), "done")]) == [True]

    async def test_done_is_a_duplicate_for_ever(self, store: Store) -> None:
        """However often it comes, and also to those who held it before."""
        stale, claim = a_claim(lease=BRIEF), a_claim()
        await self.leased(store, stale)
        await lapse()
        await self.settled(store, claim)
        before = await self.record(store, claim.key)
        for again in (stale, a_claim(), a_claim()):
            assert (await self.claim(store, again)).verdict == "duplicate"
        assert await self.record(store, claim.key) == before

    async def test_a_failure_releases(self, store: Store) -> None:
        """After a failure the next attempt starts at once, however long the back-off, and knows what was finished."""
        first = await self.settled(store, a_claim(), "pending", results={"a": "processed", "b": "rejected"}, delay=HOUR)
        second = await self.claim(store, a_claim())
        assert (second.verdict, second.attempt) == ("claimed", 2)
        assert second.fence > first.fence
        assert second.results == {"a": "processed", "b": "rejected"}

    async def test_a_dead_one_without_a_body_is_replayed_by_the_sender(self, store: Store) -> None:
        """The resend runs what was rejected again, and not what succeeded."""
        claim = a_claim()
        await self.settled(store, claim, "dead", results={"a": "processed", "b": "rejected"})
        assert (await self.record(store, claim.key)).results == {"a": "processed", "b": "rejected"}
        again = await self.claim(store, a_claim())
        assert (again.verdict, again.attempt, again.results) == ("claimed", 2, {"a": "processed"})
        assert (await self.record(store, claim.key)).results == {"a": "processed"}

    async def test_results_survive_a_crash(self, store: Store) -> None:
        """Who takes over a lost lease knows what the attempts before it finished, rejections included."""
        await self.settled(store, a_claim(), "pending", results={"a": "processed", "b": "rejected"})
        await self.leased(store, a_claim(lease=BRIEF))
        await lapse()
        third = await self.claim(store, a_claim())
        assert (third.attempt, third.results) == (3, {"a": "processed", "b": "rejected"})
