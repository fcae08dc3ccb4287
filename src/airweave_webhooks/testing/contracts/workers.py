"""How far the workers are behind, and how they are woken."""

import asyncio
import os
import threading
from contextlib import AsyncExitStack

import pytest

from airweave_webhooks.errors import StoreUnavailable
from airweave_webhooks.stores.inbox import Backlog, InboxStore, Search
from airweave_webhooks.testing.contracts.base import BRIEF, CLOSE, HOUR, SHORT, a_claim, lapse, opened
from airweave_webhooks.testing.contracts.inbox import InboxTests, a_delivery, a_take

MEGABYTE = 10**6


class WorkerContract(InboxTests):
    """`backlog`, `beat` and `listening`."""

    async def test_without_deliveries_there_is_no_backlog(self, store: InboxStore) -> None:
        """Nor has any worker been seen."""
        assert (await store.backlog("default"))._replace(disk=0) == Backlog()
        await self.put(store, a_delivery(receiver="other"))
        assert (await store.backlog("default"))._replace(disk=0) == Backlog()

    async def test_what_waits_is_counted(self, store: InboxStore) -> None:
        """Now or until it is due; not what is worked on, or finished, or waits for its sender."""
        for n in range(6):
            await self.put(store, a_delivery(f"msg_{n}"))
        taken = await store.take(a_take(most=4))
        await self.ended(store, taken[0], "pending", delay=HOUR)
        await self.ended(store, taken[1], "pending", delay=HOUR)
        await self.ended(store, taken[2])
        await self.settled(store, a_claim("no body"), "pending")
        await self.settled(store, a_claim("done"))
        assert (await store.backlog("default")).pending == 4
        assert (await store.backlog("other")).pending == 0

    async def test_the_oldest_is_the_next_one(self, store: InboxStore) -> None:
        """For how long it has been due; 0 when all is taken, or not yet due, or done."""
        await self.put(store, a_delivery("a"))
        await lapse()
        await self.put(store, a_delivery("b"))
        await lapse()
        assert 2 * 0.06 <= (await store.backlog("default")).oldest < CLOSE
        first = await self.taken(store, "a")
        assert 0.06 <= (await store.backlog("default")).oldest < CLOSE
        second = await self.taken(store, "b")
        assert (await store.backlog("default")).oldest == 0
        await self.ended(store, first, "pending", delay=HOUR)
        await self.ended(store, second)
        await lapse()
        assert (await store.backlog("default")).oldest == 0

    async def test_what_was_lost_is_old_since_its_lease_ran_out(self, store: InboxStore) -> None:
        """Also when it is suspected: somebody should work on it."""
        await self.put(store, a_delivery())
        await self.taken(store, "msg_1", lease=BRIEF)
        await lapse()
        assert 0.05 <= (await store.backlog("default")).oldest < CLOSE
        await self.taken(store, "msg_1", lease=BRIEF)
        await lapse()
        assert 0.05 <= (await store.backlog("default")).oldest < CLOSE

    async def test_what_waits_for_its_order_is_not_the_oldest(self, store: InboxStore) -> None:
        """Nobody could work on it."""
        await self.put(store, a_delivery("a", order="docs", happened=1.0))
        await self.taken(store, "a")
        await self.put(store, a_delivery("b", order="docs", happened=2.0))
        await lapse()
        backlog = await store.backlog("default")
        assert (backlog.pending, backlog.oldest) == (1, 0.0)
        await self.put(store, a_delivery("c"))
        await lapse()
        assert 0.06 <= (await store.backlog("default")).oldest < CLOSE

    async def test_suspects_are_counted(self, store: InboxStore) -> None:
        """Those that are due; in all leases that were lost, those of who is none are counted, too."""
        await self.suspected(store, a_delivery("a"), a_delivery("b"))
        await self.put(store, a_delivery("c"))
        await self.taken(store, "c", lease=BRIEF)
        await lapse()
        found = await store.backlog("default")
        assert (found.suspects, found.leases_lost) == (2, 2)
        (suspect,) = await store.take(a_take(suspects=True))
        found = await store.backlog("default")
        assert (found.suspects, found.leases_lost) == (1, 3)
        await self.ended(store, suspect, "pending", delay=HOUR)
        assert (await store.backlog("default")).suspects == 1
        (other,) = await store.take(a_take(suspects=True))
        await self.ended(store, other, "pending")
        found = await store.backlog("default")
        assert (found.suspects, found.leases_lost) == (1, 4)
        (other,) = await store.take(a_take(suspects=True))
        await self.ended(store, other)
        found = await store.backlog("default")
        assert (found.suspects, found.leases_lost) == (0, 4)
        assert (await store.backlog("other")).leases_lost == 0

    async def test_the_dead_are_counted(self, store: InboxStore) -> None:
        """With a body and without; until they are replayed."""
        key = await self.worked_off(store, a_delivery("a"), "dead")
        await self.settled(store, a_claim("b"), "dead")
        await self.worked_off(store, a_delivery("c"))
        assert (await store.backlog("default")).dead == 2
        assert (await store.backlog("other")).dead == 0
        assert await store.replay([key], who="me", why="") == [True]
        found = await store.backlog("default")
        assert (found.dead, found.pending) == (1, 1)

    async def test_the_disk_fills(self, store: InboxStore) -> None:
        """With what is put in."""
        await self.put(store, a_delivery(body=os.urandom(MEGABYTE)))
        assert MEGABYTE <= (await store.backlog("default")).disk < 100 * MEGABYTE

    async def test_workers_are_seen(self, store: InboxStore) -> None:
        """The last time that any of a receiver's said so."""
        await store.beat("default", "worker:1")
        await lapse()
        seen = (await store.backlog("default")).worker_seen
        assert seen is not None
        assert 0.05 <= seen < CLOSE
        assert (await store.backlog("other")).worker_seen is None
        await store.beat("other", "worker:1")
        assert ((await store.backlog("default")).worker_seen or 0.0) >= 0.05
        await store.beat("default", "worker:2")
        seen_again = (await store.backlog("default")).worker_seen
        assert seen_again is not None
        assert 0 <= seen_again < CLOSE
        await lapse(SHORT)
        await store.beat("default", "worker:1")
        await asyncio.gather(*(store.beat("default", "worker:1") for _ in range(10)))
        assert ((await store.backlog("default")).worker_seen or 0.0) < SHORT

    async def test_a_beat_outlives_the_store(self) -> None:
        """Another process asks."""
        async with opened(self.make_store) as store:
            await store.beat("default", "worker:1")
        async with opened(self.make_store) as store:
            assert (await store.backlog("default")).worker_seen is not None

    async def test_who_listens_may_be_woken(self) -> None:
        """In the event loop, by what another one puts in; several may listen, also to the same."""
        here = threading.get_ident()
        woken: list[int] = []
        async with opened(self.make_store) as store, opened(self.make_store) as other:
            async with AsyncExitStack() as stack:
                for receiver in ("default", "default", "other"):
                    await stack.enter_async_context(
                        store.listening(receiver, lambda: woken.append(threading.get_ident()))
                    )
                await self.put(other, a_delivery("a"))
                await self.put(store, a_delivery("b"))
                await lapse(0.2)
            assert set(woken) <= {here}
            woken.clear()
            await self.put(other, a_delivery("c"))
            await lapse(0.2)
            assert woken == []
            assert len(await store.take(a_take())) == 3

    async def test_an_inbox_that_is_closed_says_so(self) -> None:
        """Every verb of it."""
        store = self.make_store()
        async with opened(lambda: store):
            await self.put(store, a_delivery())
        for asked in (
            lambda: store.take(a_take()),
            lambda: store.beat("default", "worker:1"),
            lambda: store.backlog("default"),
            lambda: store.forget_bodies(done_for=HOUR, most=1),
            lambda: store.search(Search("default"), most=1),
            lambda: store.count(Search("default")),
            lambda: store.replay([a_delivery().key], who="me", why=""),
            lambda: store.tally("default"),
        ):
            with pytest.raises(StoreUnavailable):
                await asked()
