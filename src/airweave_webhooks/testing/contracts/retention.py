"""What is forgotten, what is given up, and what is kept."""

import asyncio
from dataclasses import replace

import pytest

from airweave_webhooks.stores.base import Settle, Store
from airweave_webhooks.testing.contracts.base import BRIEF, CLOSE, HOUR, LONG, Contract, a_claim, lapse

AGES_AGO = 0.02
"""Seconds: what is older than this counts as old."""


class RetentionContract(Contract):
    """`purge`."""

    async def test_retention(self, store: Store) -> None:
        """Only what is done, and done for long enough, is removed, in bounded steps."""
        others = ("leased", "failed", "rejected", "body due", "body waits", "body leased", "body kept", "body drifted")
        keys = [(await self.brought_into(store, situation, situation)).key for situation in others]
        kept = await store.get(keys)
        for n in range(4):
            await self.settled(store, a_claim(f"done_{n}"))
        await self.brought_into(store, "ignored", "done_4")
        await lapse()
        assert await store.purge(done_for=HOUR, abandoned_for=HOUR, most=100) == 0
        assert await store.purge(done_for=AGES_AGO, abandoned_for=HOUR, most=3) == 3
        assert sum(record is not None for record in await store.get([a_claim(f"done_{n}").key for n in range(5)])) == 2
        assert await store.purge(done_for=AGES_AGO, abandoned_for=HOUR, most=3) == 2
        assert await store.purge(done_for=AGES_AGO, abandoned_for=HOUR, most=3) == 0
        assert await store.get([a_claim(f"done_{n}").key for n in range(5)]) == [None] * 5
        assert await store.get(keys) == kept

    async def test_done_counts_from_the_settle(self, store: Store) -> None:
        """Not from the day it came: what took long, or was done late, is remembered as long."""
        slow = a_claim("slow")
        lease = await self.leased(store, slow)
        await self.settled(store, a_claim("quick"))
        await lapse()
        assert await store.settle([Settle(lease, "done")]) == [True]
        quick_record = await self.record(store, a_claim("quick").key)
        slow_record = await self.record(store, slow.key)
        assert (slow_record.settled_at or 0.0) > (quick_record.settled_at or 0.0) > slow_record.received_at
        assert await store.purge(done_for=HOUR, abandoned_for=HOUR, most=100) == 0

    async def test_what_the_sender_has_given_up_on_is_abandoned(self, store: Store) -> None:
        """Without a body nothing can be done about it but to say so; with one it is kept for ever."""
        given_up = [(await self.brought_into(store, "lost", "crashed")).key, a_claim("failed").key]
        await self.settled(store, a_claim("failed"), "pending", results={"a": "processed"})
        kept_in = ("leased", "failed", "rejected", "body due", "body waits", "body lost", "body kept", "body drifted")
        keys = [(await self.brought_into(store, situation, f"kept: {situation}")).key for situation in kept_in]
        before, kept = await store.get(given_up), await store.get(keys)
        await lapse()
        assert await store.purge(done_for=HOUR, abandoned_for=HOUR, most=100) == 0
        assert await store.purge(done_for=HOUR, abandoned_for=AGES_AGO, most=100) == 2
        assert await store.purge(done_for=HOUR, abandoned_for=AGES_AGO, most=100) == 0
        assert await store.get(keys) == kept
        for old, new in zip(before, await store.get(given_up), strict=True):
            assert old is not None
            assert new is not None
            assert new == replace(
                old,
                state="dead",
                reason="abandoned",
                lease_until=None,
                due_at=None,
                settled_at=new.settled_at,
                token=new.token,
            )
            assert 0 < (new.settled_at or 0.0) - old.received_at < CLOSE
            assert (new.settled_at or 0.0) > (old.settled_at or 0.0)
        again = await self.claim(store, a_claim("failed"))
        assert (again.verdict, again.attempt, again.results) == ("claimed", 2, {"a": "processed"})

    async def test_what_was_abandoned_is_no_longer_its_holders(self, store: Store) -> None:
        """A holder that was stopped for days cannot settle what was given up: "it stands" would be a lie."""
        lease = await self.leased(store, a_claim(lease=BRIEF))
        await lapse()
        assert await store.purge(done_for=HOUR, abandoned_for=AGES_AGO, most=100) == 1
        assert await asyncio.to_thread(store.renew, [lease], LONG) == [False]
        assert await store.settle([Settle(lease, "done", "processed", {"a": "processed"})]) == [False]
        record = await self.record(store, lease.key)
        assert (record.state, record.reason, record.results) == ("dead", "abandoned", {})

    async def test_a_purge_touches_no_more_than_it_may(self, store: Store) -> None:
        """What it removes and what it gives up are counted together."""
        names = [f"msg_{n}" for n in range(6)]
        for name in names[:3]:
            await self.settled(store, a_claim(name))
        for name in names[3:]:
            await self.settled(store, a_claim(name), "pending")
        await lapse()
        touched = [await store.purge(done_for=AGES_AGO, abandoned_for=AGES_AGO, most=4) for _ in range(3)]
        assert touched == [4, 2, 0]
        found = await store.get([a_claim(name).key for name in names])
        assert [record and record.state for record in found] == [None] * 3 + ["dead"] * 3

    async def test_what_was_forgotten_is_new(self, store: Store) -> None:
        """It is claimed as if it had never been there, and its old holder has no part in it."""
        old = await self.settled(store, a_claim(body=b"[1]"), results={"a": "processed"})
        await lapse()
        assert await store.purge(done_for=AGES_AGO, abandoned_for=HOUR, most=100) == 1
        assert await store.settle([Settle(old, "done")]) == [False]
        assert await store.get([old.key]) == [None]
        claimed = await self.claim(store, a_claim(body=b"[2]"))
        assert (claimed.verdict, claimed.attempt, claimed.results) == ("claimed", 1, {})
        assert await store.settle([Settle(old, "dead")]) == [False]

    @pytest.mark.parametrize("most", [1, 7])
    async def test_a_purge_in_the_middle_of_claims(self, store: Store, most: int) -> None:
        """Whoever works while the house is kept loses nothing, and nothing is done twice."""
        for n in range(30):
            await self.settled(store, a_claim(f"old_{n}"))
        await lapse()
        ended = asyncio.Event()

        async def purge() -> int:
            removed = 0
            while not ended.is_set():
                removed += await store.purge(
                    done_for=LONG if removed >= 30 else AGES_AGO, abandoned_for=HOUR, most=most
                )
                await asyncio.sleep(0)
            return removed

        purging = asyncio.create_task(purge())
        try:
            for n in range(40):
                lease = await self.leased(store, a_claim(f"msg_{n}"))
                assert await store.settle([Settle(lease, "pending")]) == [True]
        finally:
            ended.set()
            removed = await purging
        for _ in range(30):
            removed += await store.purge(done_for=AGES_AGO, abandoned_for=HOUR, most=most)
        assert removed == 30
        found = await store.get([a_claim(f"msg_{n}").key for n in range(40)])
        assert [record and record.state for record in found] == ["pending"] * 40
