"""How long a delivery is somebody's, and how it becomes somebody else's."""

import asyncio
import os
import threading
from dataclasses import replace
from typing import Literal

import pytest

from airweave_webhooks.stores.base import Key, Lease, Settle, Store
from airweave_webhooks.stores.history import Note
from airweave_webhooks.testing.contracts.base import (
    BRIEF,
    CLOSE,
    HOUR,
    LONG,
    SHORT,
    Contract,
    a_claim,
    lapse,
    lease_of,
)


class LeaseContract(Contract):
    """Take-overs and `renew`."""

    async def test_takeover_after_the_lease(self, store: Store) -> None:
        """What a crashed holder left is taken over, with a higher fence, and not before its lease ended."""
        first = await self.claim(store, a_claim(lease=SHORT))
        await asyncio.sleep(SHORT / 4)
        assert (await self.claim(store, a_claim())).verdict == "held"
        await lapse(SHORT)
        second_claim = a_claim()
        second = await self.claim(store, second_claim)
        assert (second.verdict, second.attempt) == ("claimed", 2)
        assert second.fence > first.fence
        assert (await self.record(store, second_claim.key)).leases_lost == 1
        assert (await self.claim(store, a_claim())).verdict == "held"

    async def test_a_lost_lease_is_noted(self, store: Store) -> None:
        """Whose it was, and which attempt; each of them, in order, and nothing for a lease that was not lost."""
        for n in range(1, 4):
            await self.leased(store, a_claim(lease=BRIEF)._replace(owner=f"host:{n}"))
            await lapse()
        await self.settled(store, a_claim())
        notes = (await self.record(store, a_claim().key)).notes
        assert [note._replace(at=0.0) for note in notes] == [
            Note(0.0, n, f"host:{n}", "lease_lost", "") for n in range(1, 4)
        ]
        assert notes[0].at < notes[1].at < notes[2].at

    async def test_a_takeover_has_one_winner(self, store: Store) -> None:
        """Twenty find a lost lease at once: one takes over."""
        await self.leased(store, a_claim(lease=BRIEF))
        await lapse()
        answers = await asyncio.gather(*[self.claim(store, a_claim()) for _ in range(20)])
        assert sorted(answer.verdict for answer in answers) == ["claimed"] + ["held"] * 19
        assert (await self.record(store, a_claim().key)).leases_lost == 1

    async def test_the_fence_never_falls_back(self, store: Store) -> None:
        """Through crashes, failures, rejections and steps without work each holder's fence is above the one before."""
        ends: list[Literal["pending", "dead"] | None] = [None, "pending", None, None, "dead", "pending", None, "dead"]
        fences, attempts, lost = [0], 0, 0
        for end in ends:
            claim = a_claim(lease=LONG if end else BRIEF)
            claimed = await self.claim(store, claim)
            attempts += 1
            assert (claimed.verdict, claimed.attempt) == ("claimed", attempts)
            fences.append(claimed.fence)
            if end:
                assert await store.settle([Settle(lease_of(claim, claimed), end)]) == [True]
            else:
                lost += 1
                await lapse()
        for into in ("dead", "leased"):
            last = await self.claim(store, a_claim()._replace(into=into))
            fences.append(last.fence)
        assert fences == sorted(set(fences))
        record = await self.record(store, a_claim().key)
        assert (record.fence, record.attempts, record.leases_lost) == (fences[-1], attempts + 1, lost)

    async def test_a_renewed_lease_lasts(self, store: Store) -> None:
        """Renewing keeps others away past the first lease, and works while the event loop is blocked."""
        lease = await self.leased(store, a_claim(lease=SHORT))
        renewed: list[bool] = []
        thread = threading.Thread(target=lambda: renewed.extend(store.renew([lease], LONG)))
        thread.start()
        thread.join(timeout=10)  # blocks the event loop, as a careless handler does
        assert renewed == [True]
        await lapse(SHORT)
        assert (await self.claim(store, a_claim())).verdict == "held"

    @pytest.mark.parametrize("seconds", [BRIEF, LONG, HOUR])
    async def test_a_renewal_counts_from_now(self, store: Store, seconds: float) -> None:
        """Not from the end of the lease; and nothing but the end of the lease is changed."""
        claim = a_claim()
        lease = await self.leased(store, claim)
        before = await self.record(store, claim.key)
        await lapse()
        assert await asyncio.to_thread(store.renew, [lease], seconds) == [True]
        after = await self.record(store, claim.key)
        assert after == replace(before, lease_until=after.lease_until)
        left = (after.lease_until or 0.0) - after.received_at
        assert seconds < left < seconds + CLOSE
        if seconds == LONG:
            assert (after.lease_until or 0.0) > (before.lease_until or 0.0)

    async def test_a_renewed_lease_is_lost_as_any_other(self, store: Store) -> None:
        """A holder that crashes after a renewal is taken over, too."""
        lease = await self.leased(store, a_claim(lease=BRIEF))
        assert await asyncio.to_thread(store.renew, [lease], SHORT) == [True]
        await lapse()
        assert (await self.claim(store, a_claim())).verdict == "held"
        await lapse(SHORT)
        assert (await self.claim(store, a_claim())).verdict == "claimed"

    async def test_a_lease_that_nobody_took_is_still_its_holders(self, store: Store) -> None:
        """It ran out while the process was stopped, and nobody came: it may be renewed, and keeps others away."""
        claim = a_claim(lease=BRIEF)
        lease = await self.leased(store, claim)
        await lapse()
        assert await asyncio.to_thread(store.renew, [lease], LONG) == [True]
        assert (await self.claim(store, a_claim())).verdict == "held"
        assert (await self.record(store, claim.key)).leases_lost == 0
        assert await store.settle([Settle(lease, "done")]) == [True]

    async def test_a_renewal_needs_fence_and_token(self, store: Store) -> None:
        """A guessed fence, or the fence of another holder, renews nothing."""
        lease = await self.leased(store, a_claim(lease=HOUR))
        before = await self.record(store, lease.key)
        wrong = [
            lease._replace(token=os.urandom(16)),
            lease._replace(fence=lease.fence + 1),
            lease._replace(fence=lease.fence - 1),
            lease._replace(fence=-lease.fence),
            lease._replace(token=b""),
        ]
        for one in wrong:
            assert await asyncio.to_thread(store.renew, [one], BRIEF) == [False]
        assert await self.record(store, lease.key) == before

    async def test_only_the_current_lease_is_renewed(self, store: Store) -> None:
        """What was taken over, or never existed, cannot be renewed, and is not brought into being."""
        stale = await self.leased(store, a_claim(lease=BRIEF))
        await lapse()
        lease = await self.leased(store, a_claim(lease=HOUR))
        missing = Lease(Key("default", "", "missing"), 1, os.urandom(16))
        before = await self.record(store, lease.key)
        assert await asyncio.to_thread(store.renew, [missing], LONG) == [False]
        assert await asyncio.to_thread(store.renew, [stale], LONG) == [False]
        assert await store.get([missing.key, lease.key]) == [None, before]
        assert await asyncio.to_thread(store.renew, [lease], LONG) == [True]

    @pytest.mark.parametrize("state", ["done", "pending", "dead"])
    async def test_what_is_settled_cannot_be_renewed(
        self, store: Store, state: Literal["done", "pending", "dead"]
    ) -> None:
        """The keeper's thread may come late: it must not bring the lease back."""
        lease = await self.settled(store, a_claim(), state)
        before = await self.record(store, lease.key)
        assert await asyncio.to_thread(store.renew, [lease], LONG) == [False]
        assert await self.record(store, lease.key) == before

    async def test_leases_of_all_kinds_are_renewed_together(self, store: Store) -> None:
        """Each is answered for itself, in order, and those between lost ones last as well."""
        leases = [await self.leased(store, a_claim(f"msg_{n:02}", lease=BRIEF)) for n in range(20)]
        await lapse()
        for n in range(0, 20, 4):  # taken over
            await self.leased(store, a_claim(f"msg_{n:02}"))
        for n in range(1, 20, 4):
            assert await store.settle([Settle(leases[n], "done")]) == [True]
        leases[2::4] = [lease._replace(fence=lease.fence + 7) for lease in leases[2::4]]
        kept = await asyncio.to_thread(store.renew, leases, LONG)
        assert kept == [False, False, False, True] * 5
        verdicts = [(await self.claim(store, a_claim(f"msg_{n:02}"))).verdict for n in range(20)]
        assert verdicts == ["held", "duplicate", "claimed", "held"] * 5

    async def test_renewals_and_claims_at_once(self, store: Store) -> None:
        """The keeper's thread and the event loop use the store together, and neither disturbs the other."""
        leases = [await self.leased(store, a_claim(f"held_{n}")) for n in range(10)]

        def renew() -> list[bool]:
            return [kept for _ in range(20) for kept in store.renew(leases, LONG)]

        renewing = asyncio.create_task(asyncio.to_thread(renew))
        for n in range(50):
            await self.settled(store, a_claim(f"msg_{n}"))
        assert await renewing == [True] * 200
        assert await store.settle([Settle(lease, "done") for lease in leases]) == [True] * 10
