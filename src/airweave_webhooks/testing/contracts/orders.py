"""Deliveries that wait for each other, and those that come too late."""

import asyncio
from typing import Final, Literal

import pytest

from airweave_webhooks.stores.base import Claim
from airweave_webhooks.stores.inbox import InboxStore
from airweave_webhooks.testing.contracts.base import BRIEF, HOUR, a_claim, lapse
from airweave_webhooks.testing.contracts.inbox import InboxTests, a_delivery, a_take, names

ELSEWHERE: Final[dict[str, dict[str, str]]] = {
    "another order": {"order": "other"},
    "another tenant": {"tenant": "u"},
    "another receiver": {"receiver": "other"},
    "the order of another case": {"order": "Docs"},
    "no order": {"order": ""},
}
"""What makes two deliveries not wait for each other."""


def ordered(
    name: str,
    happened: float | None,
    *,
    receiver: str = "default",
    tenant: str = "t",
    order: str = "docs",
    event_type: str = "sync.completed",
) -> Claim:
    """A delivery in an order."""
    return a_delivery(name, receiver=receiver, tenant=tenant, order=order, happened=happened, event_type=event_type)


class OrderContract(InboxTests):
    """`Origin.order` and `Taken.stale`."""

    async def test_one_after_the_other(self, store: InboxStore) -> None:
        """As they happened, whenever they came: one in a take, and the next when it is done."""
        for name, happened in (("b", 2.0), ("d", 4.0), ("a", 1.0), ("c", 3.0)):
            await self.put(store, ordered(name, happened))
        for name in "abcd":
            (taken,) = await store.take(a_take())
            assert (taken.record.key.key, taken.stale) == (name, False)
            assert await store.take(a_take()) == []
            await self.ended(store, taken)

    async def test_to_the_microsecond(self, store: InboxStore) -> None:
        """Two events of one millisecond are in order, too; so are those before the epoch."""
        long_ago = -60 * 365.25 * 86_400
        times = {"d": 0.000002, "c": 0.000001, "b": long_ago + 0.5, "a": long_ago}
        for name, happened in times.items():
            await self.put(store, ordered(name, happened))
        for name in "abcd":
            await self.ended(store, await self.taken(store, name))

    @pytest.mark.parametrize("elsewhere", ELSEWHERE)
    async def test_others_do_not_wait(self, store: InboxStore, elsewhere: str) -> None:
        """Another order, tenant or receiver is worked on at the same time, and makes nothing stale."""
        await self.put(store, ordered("late", 5.0, **ELSEWHERE[elsewhere]), ordered("b", 2.0), ordered("a", 1.0))
        take = a_take()
        both = [*await store.take(take), *await store.take(a_take(receiver="other"))]
        assert sorted(names(both)) == ["a", "late"]
        for late in both:
            if late.record.key.key == "late":
                await self.ended(store, late)
        (first,) = await store.take(take)
        assert (first.record.key.key, first.stale) == ("a", False)

    async def test_without_an_order_nobody_waits(self, store: InboxStore) -> None:
        """The empty one is none."""
        await self.put(store, *(ordered(name, 1.0, order="") for name in "abc"))
        taken = await store.take(a_take(most=2))
        assert names(taken) == ["a", "b"]
        assert names(await store.take(a_take())) == ["c"]

    async def test_none_beside_one_under_lease(self, store: InboxStore) -> None:
        """What happened earlier and comes later waits, too, and is told that it is late."""
        await self.put(store, ordered("b", 2.0))
        later = await self.taken(store, "b")
        await self.put(store, ordered("a", 1.0))
        assert await store.take(a_take()) == []
        await self.ended(store, later)
        assert (await self.taken(store, "a")).stale

    async def test_none_beside_one_that_a_request_works_on(self, store: InboxStore) -> None:
        """Its body is held: it is in the order as any."""
        await self.put(store, ordered("a", 1.0), ordered("b", 2.0))
        lease = await self.leased(store, a_claim("b", tenant="t"))
        assert await store.take(a_take()) == []
        assert await asyncio.to_thread(store.renew, [lease], BRIEF) == [True]
        await lapse()
        await self.taken(store, "a")

    async def test_what_waits_is_waited_for(self, store: InboxStore) -> None:
        """A back-off holds up what comes after it, and not what comes before."""
        await self.put(store, ordered("b", 2.0))
        await self.ended(store, await self.taken(store, "b"), "pending", delay=HOUR)
        await self.put(store, ordered("c", 3.0), ordered("a", 1.0))
        await self.ended(store, await self.taken(store, "a"))
        assert await store.take(a_take()) == []

    async def test_what_was_lost_is_waited_for(self, store: InboxStore) -> None:
        """After a crash the order is as before; a lost lease alone holds up nobody."""
        await self.put(store, ordered("b", 2.0))
        await self.taken(store, "b", lease=BRIEF)
        await self.put(store, ordered("a", 1.0), ordered("c", 3.0))
        await lapse()
        for name in "abc":
            await self.ended(store, await self.taken(store, name))

    async def test_who_is_left_alone_is_waited_for(self, store: InboxStore) -> None:
        """Suspects, and event types that nobody is free for, hold up what comes after them."""
        await self.suspected(store, ordered("a", 1.0))
        await self.put(store, ordered("b", 2.0, event_type="sync.failed"), ordered("c", 3.0))
        assert await store.take(a_take()) == []
        (suspect,) = await store.take(a_take(suspects=True))
        await self.ended(store, suspect)
        assert await store.take(a_take(without=["sync.failed"])) == []
        assert await store.take(a_take(only=["sync.completed"])) == []
        await self.taken(store, "b")

    async def test_a_suspect_waits_for_its_order(self, store: InboxStore) -> None:
        """It is in it as any."""
        await self.suspected(store, ordered("b", 2.0))
        await self.put(store, ordered("a", 1.0))
        assert await store.take(a_take(suspects=True)) == []
        await self.ended(store, await self.taken(store, "a"))
        assert names(await store.take(a_take(suspects=True))) == ["b"]

    @pytest.mark.parametrize("state", ["done", "dead"])
    async def test_what_is_finished_is_not_waited_for(self, store: InboxStore, state: Literal["done", "dead"]) -> None:
        """Whatever came of it; once it is replayed it is waited for again."""
        await self.put(store, ordered("a", 1.0), ordered("b", 2.0))
        await self.ended(store, await self.taken(store, "a"), state)
        await self.ended(store, await self.taken(store, "b"), "pending")
        assert await store.replay([ordered("a", 1.0).key], who="me", why="") == [True]
        await self.taken(store, "a")
        assert await store.take(a_take()) == []

    async def test_without_a_time_goes_first(self, store: InboxStore) -> None:
        """Then the same time, by when they came."""
        for name, happened in (("c", 1.0), ("d", 1.0), ("b", None), ("a", None)):
            await self.put(store, ordered(name, happened))
            await lapse()
        for name in "bacd":
            taken = await self.taken(store, name)
            assert not taken.stale
            await self.ended(store, taken)

    async def test_the_same_moment_in_every_way_goes_by_the_key(self, store: InboxStore) -> None:
        """So that there always is a first one."""
        await self.put_at_once(store, *(ordered(name, 1.0) for name in "cab"))
        records = await self.read(store, *(ordered(name, 1.0) for name in "abc"))
        for record in sorted(records, key=lambda record: (record.received_at, record.key)):
            await self.ended(store, await self.taken(store, record.key.key))

    @pytest.mark.parametrize(
        ("other", "late", "stale"), [(5.0, 1.0, True), (1.0, 1.0, False), (None, 1.0, False), (5.0, None, False)]
    )
    async def test_stale_is_what_something_later_is_done_of(
        self, store: InboxStore, other: float | None, late: float | None, stale: bool
    ) -> None:
        """Later, not at the same time; who has no time is neither."""
        await self.worked_off(store, ordered("other", other))
        await self.put(store, ordered("late", late))
        take = a_take()
        for _ in range(2):
            assert [one.stale for one in await store.take(take)] == [stale]

    async def test_stale_only_by_what_is_done(self, store: InboxStore) -> None:
        """What was given up, or waits, or is done no more, makes nothing stale."""
        await self.worked_off(store, ordered("dead", 5.0), "dead")
        key = await self.worked_off(store, ordered("done", 6.0))
        await self.put(store, ordered("late", 1.0), ordered("waits", 7.0))
        late = await self.taken(store, "late")
        assert late.stale
        await self.ended(store, late, "pending")
        assert await store.replay([key], who="me", why="") == [True]
        assert not (await self.taken(store, "late")).stale

    async def test_a_replay_is_stale_if_something_later_is_done(self, store: InboxStore) -> None:
        """It was not, when it ran first."""
        first = await self.worked_off(store, ordered("a", 1.0))
        await self.worked_off(store, ordered("b", 2.0))
        assert await store.replay([first], who="me", why="") == [True]
        assert (await self.taken(store, "a")).stale

    async def test_many_takers_of_a_few_orders(self, store: InboxStore) -> None:
        """However many take at once: of one order only one is worked on, and each order ends as it happened."""
        deliveries = [ordered(f"{n}", float(n), order=f"{n % 3}") for n in range(18)]
        await self.put(store, *reversed(deliveries))
        busy: set[str] = set()
        finished: dict[str, list[int]] = {}

        async def work() -> None:
            for _ in range(200):
                for one in await self.insisting(store, a_take(most=5)):
                    order = one.record.origin.order if one.record.origin else ""
                    assert order not in busy
                    busy.add(order)
                    await asyncio.sleep(0.001)
                    finished.setdefault(order, []).append(int(one.record.key.key))
                    busy.remove(order)
                    await self.ended(store, one)
                if sum(map(len, finished.values())) == len(deliveries):
                    break
                await asyncio.sleep(0.002)

        await asyncio.gather(*(work() for _ in range(5)))
        assert finished == {f"{n}": [*range(n, 18, 3)] for n in range(3)}
