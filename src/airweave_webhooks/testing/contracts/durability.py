"""What outlives a store object, and how several of them share their data."""

import asyncio
import threading

import pytest

from airweave_webhooks.errors import StoreBusy, StoreUnavailable
from airweave_webhooks.stores.base import Claimed, Settle, Store
from airweave_webhooks.testing.contracts.base import (
    BRIEF,
    HOUR,
    LONG,
    SITUATIONS,
    Contract,
    a_claim,
    lapse,
    lease_of,
    opened,
)


class DurabilityContract(Contract):
    """Several stores on the same data, one after the other and at once."""

    async def test_it_says_so(self, store: Store) -> None:
        """The receiver goes by these two."""
        assert store.durable
        assert store.round_trip

    async def test_records_survive_a_reopening(self) -> None:
        """In every situation: what was settled stays settled, what was leased stays leased, to the last field."""
        async with opened(self.make_store) as store:
            claims = [await self.brought_into(store, situation, situation) for situation in SITUATIONS]
            results = {"h": "processed"}
            await self.settled(store, a_claim("results"), "pending", results=results, error="noted", delay=HOUR)
            leased = await self.leased(store, a_claim("still leased"))
            keys = [*(claim.key for claim in claims), a_claim("results").key, leased.key]
            before = await store.get(keys)
        async with opened(self.make_store) as store:
            assert await store.get(keys) == before
            await lapse()
            answers = await store.claim([a_claim(situation) for situation in SITUATIONS])
            assert [answer.verdict for answer in answers] == list(SITUATIONS.values())
            assert (await self.claim(store, a_claim("results"))).results == {"h": "processed"}
            assert await asyncio.to_thread(store.renew, [leased], LONG) == [True]
            assert await store.settle([Settle(leased, "done")]) == [True]

    async def test_a_repetition_is_recognised_by_another_store(self) -> None:
        """The commit was unknown because the process died: the next one asks again, with the same token."""
        claim = a_claim()
        async with opened(self.make_store) as store:
            first = await self.claim(store, claim)
        async with opened(self.make_store) as store:
            assert await self.claim(store, claim) == first
            wish = Settle(lease_of(claim, first), "done", "processed")
            assert await store.settle([wish]) == [True]
        async with opened(self.make_store) as store:
            before = await self.record(store, claim.key)
            assert await store.settle([wish]) == [True]
            assert await self.record(store, claim.key) == before
            assert (before.attempts, before.fence) == (1, 1)

    async def test_two_stores_on_the_same_data_see_each_other(self) -> None:
        """As two processes do: one winner, and a settle by one is known to the other."""
        async with opened(self.make_store) as one, opened(self.make_store) as two:
            for n in range(20):
                rivals = [(one, a_claim(f"msg_{n}")), (two, a_claim(f"msg_{n}"))]
                answers = await asyncio.gather(*[self.claim(store, claim) for store, claim in rivals])
                assert sorted(answer.verdict for answer in answers) == ["claimed", "held"]
                winner = 0 if answers[0].verdict == "claimed" else 1
                lease = lease_of(rivals[winner][1], answers[winner])
                assert await asyncio.to_thread(two.renew, [lease], LONG) == [True]
                assert await two.settle([Settle(lease, "done")]) == [True]
                assert (await self.claim(one, a_claim(f"msg_{n}"))).verdict == "duplicate"

    async def test_one_takes_over_what_the_other_lost(self) -> None:
        """And the other, coming back, has no part in it any more."""
        async with opened(self.make_store) as one, opened(self.make_store) as two:
            stale = await self.leased(one, a_claim(lease=BRIEF))
            await lapse()
            lease = await self.leased(two, a_claim())
            assert lease.fence > stale.fence
            assert await asyncio.to_thread(one.renew, [stale], LONG) == [False]
            assert await one.settle([Settle(stale, "done", "stale")]) == [False]
            assert await two.settle([Settle(lease, "pending", "fresh")]) == [True]
            assert await self.record(one, lease.key) == await self.record(two, lease.key)
            assert (await self.record(one, lease.key)).reason == "fresh"

    async def test_the_sums_of_a_storm_over_two_stores_are_right(self) -> None:
        """A hundred keys, ten rivals each, through two stores: one winner a key."""
        async with opened(self.make_store) as one, opened(self.make_store) as two:
            claims = [(store, a_claim(f"msg_{n}")) for n in range(100) for store in (one, two) * 5]
            answers = await asyncio.gather(*[self.claim(store, claim) for store, claim in claims])
            won = [claim.key for (_, claim), answer in zip(claims, answers, strict=True) if answer.verdict == "claimed"]
            assert len(won) == len(set(won)) == 100

    async def test_batches_in_opposite_order_do_not_lock_each_other_out(self) -> None:
        """A store may ask for another try; nobody waits for ever, and every key has one winner."""
        names = [f"msg_{n:02}" for n in range(50)]

        async def all_of(store: Store, names: list[str]) -> list[Claimed]:
            claims = [a_claim(name) for name in names]
            for _ in range(20):
                try:
                    return await store.claim(claims)
                except StoreBusy:
                    await asyncio.sleep(0.01)
            raise AssertionError("the store was busy twenty times")

        async with opened(self.make_store) as one, opened(self.make_store) as two, asyncio.timeout(30):
            for _ in range(5):
                ahead, back = await asyncio.gather(all_of(one, names), all_of(two, names[::-1]))
                for pair in zip(ahead, reversed(back), strict=True):
                    assert sorted(answer.verdict for answer in pair) == ["claimed", "held"]
                names = [f"{name}x" for name in names]

    async def test_it_can_be_opened_and_closed_many_times(self) -> None:
        """One object, and one after the other: nothing is left behind."""
        store = self.make_store()
        threads: list[int] = []

        def running() -> int:
            # The event loop's own pool of threads grows as it likes.
            return sum(not thread.name.startswith("asyncio_") for thread in threading.enumerate())

        for n in range(10):
            for each in (store, self.make_store()):
                await each.open()
                assert (await self.claim(each, a_claim(f"msg_{n}"))).verdict == ("claimed" if each is store else "held")
                lease = await self.leased(each, a_claim(f"msg_{n} of {id(each)}", receiver=str(each is store)))
                assert await asyncio.to_thread(each.renew, [lease], LONG) == [True]
                await each.close()
            threads.append(running())
        for _ in range(100):  # one that ends needs a moment, on a busy machine a long one
            if running() > threads[4]:
                await asyncio.sleep(0.05)
        assert running() <= threads[4]

    async def test_closing_finishes_what_is_under_way(self) -> None:
        """What was asked before is answered, or refused; and what was answered is so."""
        store = self.make_store()
        await store.open()
        claims = [a_claim(f"msg_{n}") for n in range(30)]
        asking = [asyncio.create_task(self.claim(store, claim)) for claim in claims]
        await asyncio.sleep(0)
        await store.close()
        async with asyncio.timeout(30):
            answers = await asyncio.gather(*asking, return_exceptions=True)
        async with opened(self.make_store) as store:
            for claim, answer in zip(claims, answers, strict=True):
                if isinstance(answer, Claimed):
                    assert (await self.record(store, claim.key)).token == claim.token
                else:
                    assert isinstance(answer, StoreUnavailable)

    async def test_a_store_that_is_closed_says_so(self) -> None:
        """Every verb raises what a receiver answers with 503, and opens nothing behind its back."""
        store = self.make_store()
        async with opened(lambda: store):
            lease = await self.leased(store, a_claim())
        with pytest.raises(StoreUnavailable):
            await store.claim([a_claim()])
        with pytest.raises(StoreUnavailable):
            await store.settle([Settle(lease, "done")])
        with pytest.raises(StoreUnavailable):
            await store.get([lease.key])
        with pytest.raises(StoreUnavailable):
            await store.purge(done_for=HOUR, abandoned_for=HOUR, most=1)
        with pytest.raises(StoreUnavailable):
            await asyncio.to_thread(store.renew, [lease], LONG)
        async with opened(lambda: store):
            assert (await self.record(store, lease.key)).state == "leased"

    async def test_the_store_works_in_one_event_loop_after_another(self) -> None:
        """Opened in one loop, then in the next: nothing of a loop is kept."""
        store = self.make_store()

        async def use(key: str) -> str:
            async with opened(lambda: store):
                return (await self.claim(store, a_claim(key))).verdict

        answers = [await asyncio.to_thread(asyncio.run, use(key)) for key in ("msg_1", "msg_2", "msg_1")]
        assert answers == ["claimed", "claimed", "held"]
