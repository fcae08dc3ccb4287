"""How work on a delivery ends, and who may say so."""

import asyncio
import os
from dataclasses import replace
from typing import Literal

import pytest

from airweave_webhooks.stores.base import Key, Lease, Settle, Store
from airweave_webhooks.stores.history import Note
from airweave_webhooks.testing.contracts.base import BRIEF, CLOSE, HOUR, LONG, SHORT, Contract, a_claim, lapse, noted


class SettleContract(Contract):
    """`settle`."""

    @pytest.mark.parametrize("body", [None, b"", b"[body]"])
    @pytest.mark.parametrize("state", ["done", "pending", "dead"])
    async def test_a_settle_is_recorded(
        self, store: Store, state: Literal["done", "pending", "dead"], body: bytes | None
    ) -> None:
        """The lease ends; what came of it is written down, and everything else stays."""
        claim = a_claim()
        lease = await self.leased(store, claim)
        before = await self.record(store, claim.key)
        await lapse()
        results = {"a": "processed", "b": "rejected"}
        assert await store.settle([Settle(lease, state, "because", results, "an error", HOUR, body)]) == [True]
        after = await self.record(store, claim.key)
        assert after == replace(
            before,
            state=state,
            reason="because",
            results=results,
            error="an error",
            lease_until=None,
            settled_at=after.settled_at,
            due_at=after.due_at,
            body=body,
            history=after.history,
        )
        assert noted(before, after) == [Note(0.0, 1, "test:1", "because", "an error")]
        assert 0 < (after.settled_at or 0.0) - after.received_at < CLOSE
        if state == "pending":
            assert (after.due_at or 0.0) - (after.settled_at or 0.0) == pytest.approx(HOUR, abs=CLOSE)
        else:
            assert after.due_at is None

    async def test_each_settle_replaces_the_one_before(self, store: Store) -> None:
        """Results, reason, error and time are those of the last attempt; nothing is added up."""
        await self.settled(store, a_claim(), "pending", results={"a": "processed"})
        lease = await self.leased(store, a_claim())
        before = await self.record(store, lease.key)
        assert before.results == {"a": "processed"}
        await lapse()
        assert await store.settle([Settle(lease, "done")]) == [True]
        after = await self.record(store, lease.key)
        assert (after.reason, after.results, after.error, after.due_at) == (None, {}, None, None)
        assert (after.settled_at or 0.0) > (before.settled_at or 0.0)

    @pytest.mark.parametrize("state", ["done", "pending", "dead"])
    async def test_what_went_wrong_is_noted(self, store: Store, state: Literal["done", "pending", "dead"]) -> None:
        """With the reason, or, if none was given, with the state; what has no error leaves no note."""
        await self.settled(store, a_claim(), "pending", error="first")
        await self.settled(store, a_claim()._replace(owner="test:2"), "pending")
        before = await self.record(store, a_claim().key)
        lease = await self.leased(store, a_claim()._replace(owner="test:3"))
        assert await store.settle([Settle(lease, state, error="")]) == [True]
        after = await self.record(store, a_claim().key)
        assert [note.text for note in before.notes] == ["first"]
        assert noted(before, after) == [Note(0.0, 3, "test:3", state, "")]

    @pytest.mark.parametrize("state", ["done", "pending", "dead"])
    async def test_a_lease_without_a_start_is_no_attempt(
        self, store: Store, state: Literal["done", "pending", "dead"]
    ) -> None:
        """It is taken back, once, from those that there were; nothing else is."""
        await self.settled(store, a_claim(), "pending")
        lease = await self.leased(store, a_claim())
        before = await self.record(store, lease.key)
        wish = Settle(lease, state, "because", started=False)
        for _ in range(2):
            assert await store.settle([wish]) == [True]
        after = await self.record(store, lease.key)
        assert (before.attempts, after.attempts, after.fence) == (2, 1, before.fence)
        assert after.notes == before.notes == ()
        if state != "done":
            assert (await self.claim(store, a_claim())).attempt == 2

    @pytest.mark.parametrize("state", ["done", "pending", "dead"])
    async def test_a_stale_settle_is_refused(self, store: Store, state: Literal["done", "pending", "dead"]) -> None:
        """A holder that was stopped past its lease cannot write over the next one's work, before or after its end."""
        stale = await self.leased(store, a_claim(lease=BRIEF))
        await lapse()
        lease = await self.leased(store, a_claim())
        late = Settle(stale, state, "stale", {"stale": "processed"}, "stale", body=b"stale")
        before = await self.record(store, lease.key)
        assert await store.settle([late]) == [False]
        assert await self.record(store, lease.key) == before
        assert await store.settle([Settle(lease, state, "fresh")]) == [True]
        before = await self.record(store, lease.key)
        assert await store.settle([late]) == [False]
        assert await self.record(store, lease.key) == before

    async def test_a_settle_needs_fence_and_token(self, store: Store) -> None:
        """A guessed fence, or the fence of another holder, settles nothing; nor does one for no record make one."""
        lease = await self.leased(store, a_claim())
        before = await self.record(store, lease.key)
        elsewhere = Key("default", "", "other")
        wrong = [
            lease._replace(token=os.urandom(16)),
            lease._replace(token=b""),
            lease._replace(fence=lease.fence + 1),
            lease._replace(fence=lease.fence - 1),
            lease._replace(key=elsewhere),
        ]
        for one in wrong:
            assert await store.settle([Settle(one, "done")]) == [False]
        assert await store.get([lease.key, elsewhere]) == [before, None]

    async def test_the_same_fence_of_another_delivery_settles_nothing(self, store: Store) -> None:
        """Every delivery's first holder has the same fence: key and token tell them apart."""
        one, two = await self.leased(store, a_claim("one")), await self.leased(store, a_claim("two"))
        assert await store.settle([Settle(one._replace(key=two.key), "done")]) == [False]
        assert (await self.record(store, two.key)).state == "leased"

    @pytest.mark.parametrize("state", ["done", "pending", "dead"])
    async def test_a_repeated_settle_is_the_same_settle(
        self, store: Store, state: Literal["done", "pending", "dead"]
    ) -> None:
        """After an unknown commit the settle is sent again, stands, and changes nothing, whatever it says."""
        lease = await self.settled(store, a_claim(), state, results={"a": "processed"}, delay=HOUR)
        before = await self.record(store, lease.key)
        await lapse()
        for other in ("done", "pending", "dead"):
            wish = Settle(lease, other, "other", {"b": "processed"}, "other", 1.0, b"other")
            assert await store.settle([wish]) == [True]
        assert await self.record(store, lease.key) == before

    async def test_a_settle_that_comes_again_after_the_next_claim_is_stale(self, store: Store) -> None:
        """It stood once. Now it would end somebody else's lease."""
        old = await self.settled(store, a_claim(), "pending")
        lease = await self.leased(store, a_claim())
        assert await store.settle([Settle(old, "pending")]) == [False]
        assert await asyncio.to_thread(store.renew, [lease], LONG) == [True]

    async def test_a_lease_that_nobody_took_can_be_settled(self, store: Store) -> None:
        """The holder was slow and nobody came: its work counts."""
        lease = await self.leased(store, a_claim(lease=BRIEF))
        await lapse()
        assert await store.settle([Settle(lease, "done")]) == [True]
        record = await self.record(store, lease.key)
        assert (record.state, record.leases_lost) == ("done", 0)
        assert (await self.claim(store, a_claim())).verdict == "duplicate"

    async def test_what_has_a_body_waits_until_it_is_due(self, store: Store) -> None:
        """Its body is safe: the sender need not come again, and a request may only take it from then on."""
        await self.settled(store, a_claim(), "pending", body=b"{}", delay=SHORT)
        early = await self.claim(store, a_claim())
        assert early.verdict == "accepted"
        await lapse(SHORT)
        late = await self.claim(store, a_claim())
        assert (late.verdict, late.attempt) == ("claimed", 2)
        assert (await self.claim(store, a_claim())).verdict == "accepted"

    async def test_a_body_is_kept_until_the_work_is_done_with_it(self, store: Store) -> None:
        """Through failures, crashes and renewals, and without being told again."""
        body = bytes(range(256))
        await self.settled(store, a_claim(), "pending", body=body)
        await self.leased(store, a_claim(lease=BRIEF))
        await lapse()
        lease = await self.leased(store, a_claim())
        assert (await self.record(store, lease.key)).body == body
        assert await asyncio.to_thread(store.renew, [lease], LONG) == [True]
        assert await store.settle([Settle(lease, "pending")]) == [True]
        assert (await self.record(store, lease.key)).body == body
        await self.settled(store, a_claim(), "dead")
        assert (await self.record(store, lease.key)).body == body
        assert (await self.claim(store, a_claim())).verdict == "accepted"

    async def test_a_new_body_replaces_the_old_one(self, store: Store) -> None:
        """Also an empty one, which is a body and not the lack of it."""
        await self.settled(store, a_claim(), "pending", body=b"[old]")
        lease = await self.settled(store, a_claim(), "dead", body=b"")
        assert (await self.record(store, lease.key)).body == b""
        assert (await self.claim(store, a_claim())).verdict == "accepted"

    async def test_what_was_settled_is_no_longer_the_callers(self, store: Store) -> None:
        """A caller that goes on with its dictionary changes no record."""
        results = {"a": "processed"}
        await self.settled(store, a_claim(), "pending", results=results)
        results["b"] = "processed"
        assert (await self.claim(store, a_claim())).results == {"a": "processed"}

    async def test_a_record_that_was_read_is_a_copy(self, store: Store) -> None:
        """What is done to it is not done to the store's."""
        lease = await self.leased(store, a_claim())
        read = await self.record(store, lease.key)
        before = replace(read)
        read.state, read.fence = "done", 99
        assert await self.record(store, lease.key) == before

    async def test_the_current_holder_wins_against_the_stale_one(self, store: Store) -> None:
        """Both settle at the same moment, for twenty deliveries: the one whose lease it is counts."""
        stale = [await self.leased(store, a_claim(f"msg_{n:02}", lease=BRIEF)) for n in range(20)]
        await lapse()
        current = [await self.leased(store, a_claim(f"msg_{n:02}")) for n in range(20)]

        async def settle(lease: Lease, reason: str) -> bool:
            (stands,) = await store.settle([Settle(lease, "done", reason)])
            return stands

        pairs = zip(stale, current, strict=True)
        wishes = [
            settle(lease, reason) for pair in pairs for lease, reason in zip(pair, ("stale", "fresh"), strict=True)
        ]
        assert await asyncio.gather(*wishes) == [False, True] * 20
        assert {record and record.reason for record in await store.get([lease.key for lease in current])} == {"fresh"}
