"""What a worker gets, and what becomes of it."""

import asyncio
import contextlib
from collections import Counter
from dataclasses import replace
from typing import Final, Literal

import pytest

from airweave_webhooks.errors import StoreDataError
from airweave_webhooks.stores.base import Settle
from airweave_webhooks.stores.history import Note
from airweave_webhooks.stores.inbox import InboxStore, Taken
from airweave_webhooks.testing.contracts.base import (
    BRIEF,
    CLOSE,
    HOUR,
    LONG,
    SHORT,
    a_claim,
    lapse,
    noted,
    opened,
)
from airweave_webhooks.testing.contracts.inbox import InboxTests, a_delivery, a_take, held, names

POISON: Final = {
    "receiver": a_take(receiver="\0\ud800"),
    "owner": a_take(receiver="other")._replace(owner="\0\ud800"),
    "without": a_take(receiver="other", without=["\0", "\ud800", "'; --"]),
    "only": a_take(receiver="other", only=["\0", "\ud800", "'; --"]),
    "a long lease": a_take(receiver="other", lease=2.0**70),
}
"""Takes that a store may refuse with `StoreDataError`; `other` has one delivery."""


class TakingContract(InboxTests):
    """`take`."""

    async def test_a_take_leases_what_is_due(self, store: InboxStore) -> None:
        """The record is as it is from then on, and only what belongs to the lease has changed."""
        claim = a_delivery(order="docs", tenant="t")._replace(reason="because")
        await self.put(store, claim)
        before = await self.record(store, claim.key)
        take = a_take()
        (taken,) = await store.take(take)
        after = await self.record(store, claim.key)
        assert taken == Taken(after, stale=False)
        assert after == replace(
            before,
            state="leased",
            reason=None,
            token=take.token,
            owner="worker:1",
            fence=2,
            attempts=1,
            due_at=None,
            lease_until=after.lease_until,
        )
        assert (after.lease_until or 0.0) - after.received_at == pytest.approx(LONG, abs=CLOSE)

    async def test_there_may_be_nothing(self, store: InboxStore) -> None:
        """For one receiver there is none of another's."""
        assert await store.take(a_take()) == []
        await self.put(store, a_delivery(receiver="other"))
        assert await store.take(a_take()) == []
        assert await store.take(a_take(suspects=True)) == []
        assert names(await store.take(a_take(receiver="other"))) == ["msg_1"]

    @pytest.mark.parametrize(
        ("situation", "given"),
        [
            *((situation, False) for situation in ("leased", "lost", "failed", "done", "ignored", "rejected")),
            *(("body due", True), ("body waits", False), ("body leased", False), ("body lost", True)),
            *(("body kept", False), ("body drifted", False)),
        ],
    )
    async def test_what_is_due_has_a_body(self, store: InboxStore, situation: str, given: bool) -> None:
        """Whoever brought it there: it waits and its time has come, or its lease has run out."""
        claim = await self.brought_into(store, situation, "msg_1")
        await lapse()
        before = await self.record(store, claim.key)
        assert names(await store.take(a_take())) == (["msg_1"] if given else [])
        after = await self.record(store, claim.key)
        assert after.attempts == before.attempts + given
        assert (after == before) is not given

    async def test_what_waits_is_due_when_its_time_has_come(self, store: InboxStore) -> None:
        """Not before."""
        await self.put(store, a_delivery())
        taken = await self.taken(store, "msg_1")
        await self.ended(store, taken, "pending", delay=SHORT)
        assert await store.take(a_take()) == []
        await lapse(SHORT)
        again = await self.taken(store, "msg_1")
        assert (again.record.attempts, again.record.fence) == (2, taken.record.fence + 1)

    async def test_what_was_due_first_comes_first(self, store: InboxStore) -> None:
        """Whatever it is called, whenever it came, and whether it waited or was lost."""
        for name in "dbac":
            await self.put(store, a_delivery(name))
            await lapse()
        taken = {one.record.key.key: one for one in await store.take(a_take(lease=BRIEF))}
        assert list(taken) == ["d", "b", "a", "c"]
        await lapse()  # so `d` has been due since its lease ran out, before the others
        for name in "acb":
            await self.ended(store, taken[name], "pending", delay=BRIEF)
            await lapse()
        assert names(await store.take(a_take())) == ["d", "a", "c", "b"]

    async def test_what_was_due_at_the_same_time_goes_by_when_it_came(self, store: InboxStore) -> None:
        """And what came at the same time, by the key."""
        deliveries = [a_delivery(f"msg_{n}", tenant=tenant) for n in range(4) for tenant in "tu"]
        await self.put_at_once(store, *deliveries)
        for delivery in (a_delivery("z"), a_delivery("y")):
            await self.put(store, delivery)
            await lapse()
        taken = await store.take(a_take())
        await store.settle([Settle(held(one), "pending") for one in sorted(taken, key=lambda one: one.record.key)])
        due = await self.read(store, *deliveries, a_delivery("z"), a_delivery("y"))
        wanted = sorted(due, key=lambda record: (record.due_at or 0.0, record.received_at, record.key))
        assert [one.record.key for one in await store.take(a_take())] == [record.key for record in wanted]

    @pytest.mark.parametrize("most", [1, 3, 5, 7])
    async def test_no_more_than_was_asked_for(self, store: InboxStore, most: int) -> None:
        """Those that were due first; the next take gets the next ones."""
        for n in range(5):
            await self.put(store, a_delivery(f"msg_{n}"))
        batches = [names(await store.take(a_take(most=most))) for _ in range(6)]
        assert [len(batch) for batch in batches] == [min(most, max(0, 5 - n * most)) for n in range(6)]
        assert [name for batch in batches for name in batch] == [f"msg_{n}" for n in range(5)]

    async def test_a_lost_lease_is_taken_over(self, store: InboxStore) -> None:
        """Not before it has run out; then the one who had it has no part in it any more."""
        await self.put(store, a_delivery())
        (stale,) = await store.take(a_take(lease=SHORT)._replace(owner="worker:0"))
        assert await store.take(a_take()) == []
        await lapse(SHORT)
        before = await self.record(store, stale.record.key)
        fresh = await self.taken(store, "msg_1")
        after = fresh.record
        assert (after.leases_lost, after.attempts, after.fence) == (1, 2, stale.record.fence + 1)
        assert noted(before, after) == [Note(0.0, 1, "worker:0", "lease_lost", "")]
        assert await asyncio.to_thread(store.renew, [held(stale)], LONG) == [False]
        for state in ("done", "pending", "dead"):
            assert await store.settle([Settle(held(stale), state, "stale", body=b"stale")]) == [False]
        assert await self.record(store, after.key) == after
        await self.ended(store, fresh)
        assert await store.settle([Settle(held(stale), "done", "stale")]) == [False]

    @pytest.mark.parametrize("into", ["leased", "done", "dead"])
    async def test_a_request_takes_over_from_a_worker(
        self, store: InboxStore, into: Literal["leased", "done", "dead"]
    ) -> None:
        """What the worker lost."""
        await self.put(store, a_delivery())
        stale = await self.taken(store, "msg_1", lease=BRIEF)
        await lapse()
        assert (await self.claim(store, a_claim()._replace(into=into))).verdict == "claimed"
        assert await store.settle([Settle(held(stale), "done", "stale")]) == [False]
        assert await store.take(a_take()) == []
        assert (await self.record(store, stale.record.key)).leases_lost == 1

    async def test_what_was_taken_can_be_renewed(self, store: InboxStore) -> None:
        """As any lease, also after it ran out and nobody came."""
        await self.put(store, a_delivery("a"), a_delivery("b"))
        leases = [held(one) for one in await store.take(a_take(lease=BRIEF))]
        await lapse()
        assert await asyncio.to_thread(store.renew, leases, LONG) == [True, True]
        assert await store.take(a_take()) == []
        assert await store.settle([Settle(lease, "done") for lease in leases]) == [True, True]

    async def test_what_failed_is_taken_again(self, store: InboxStore) -> None:
        """With the results, the error and the note of the attempt before, and with its body and origin."""
        claim = a_delivery(body=b"[1]")
        await self.put(store, claim)
        taken = await self.taken(store, "msg_1")
        wish = Settle(held(taken), "pending", "retry", {"a": "processed"}, "an error")
        assert await store.settle([wish]) == [True]
        before = await self.record(store, claim.key)
        again = (await self.taken(store, "msg_1")).record
        assert (again.reason, again.error, again.results) == (None, "an error", {"a": "processed"})
        assert (again.body, again.origin, again.attempts) == (claim.body, claim.origin, 2)
        assert [note._replace(at=0.0) for note in again.notes] == [Note(0.0, 1, "worker:1", "retry", "an error")]
        assert again.settled_at == before.settled_at
        assert await store.settle([wish]) == [False]

    async def test_what_was_not_started_is_taken_as_before(self, store: InboxStore) -> None:
        """A worker that stops gives back what it has not begun: that was no attempt."""
        await self.put(store, a_delivery())
        taken = await self.taken(store, "msg_1")
        assert await store.settle([Settle(held(taken), "pending", started=False)]) == [True]
        again = (await self.taken(store, "msg_1")).record
        assert (again.attempts, again.fence, again.notes) == (1, taken.record.fence + 1, ())

    async def test_a_repeated_take_gives_what_it_took(self, store: InboxStore) -> None:
        """After an unknown commit it is sent again: it gets the same, and nothing more, whatever else it says."""
        for n in range(5):
            await self.put(store, a_delivery(f"msg_{n}"))
        take = a_take(most=3)
        first = await store.take(take)
        for again in (take, take._replace(most=1), take._replace(suspects=True, without=["sync.completed"])):
            assert await store.take(again) == first
        assert await store.take(take._replace(receiver="other")) == []
        await self.ended(store, first[1])
        assert await store.take(take) == [first[0], first[2]]
        await self.ended(store, first[0])
        await self.ended(store, first[2])
        assert names(await store.take(take)) == ["msg_3", "msg_4"]

    async def test_a_repeated_take_is_no_renewal(self, store: InboxStore) -> None:
        """What ran out meanwhile is given as it is, has lost no lease, and goes to the next one who takes."""
        await self.put(store, a_delivery("a"), a_delivery("b"))
        take = a_take(lease=BRIEF)
        first = await store.take(take)
        await lapse()
        assert await store.take(take) == first
        assert names(await store.take(a_take())) == ["a", "b"]
        assert await store.take(take) == []

    async def test_what_was_given_back_can_be_taken_with_the_same_token(self, store: InboxStore) -> None:
        """It is a lease of its own then."""
        await self.put(store, a_delivery())
        take = a_take()
        (first,) = await store.take(take)
        await self.ended(store, first, "pending")
        (second,) = await store.take(take)
        assert second.record.fence == first.record.fence + 1
        assert (second.record.state, second.record.attempts) == ("leased", 2)

    async def test_suspects_are_taken_alone(self, store: InboxStore) -> None:
        """What has lost its lease twice may kill the process: it is given only to who asks for it, one at a time."""
        await self.suspected(store, a_delivery("a"), a_delivery("b"))
        await self.put(store, a_delivery("c"))
        assert names(await store.take(a_take())) == ["c"]
        (one,) = await store.take(a_take(suspects=True, lease=SHORT))
        assert (one.record.key.key, one.record.leases_lost) == ("a", 2)
        assert names(await store.take(a_take(suspects=True))) == ["b"]
        assert await store.take(a_take(suspects=True)) == []
        await lapse(SHORT)
        assert await store.take(a_take()) == []
        (again,) = await store.take(a_take(suspects=True))
        assert (again.record.key.key, again.record.leases_lost) == ("a", 3)

    async def test_who_has_lost_once_is_no_suspect(self, store: InboxStore) -> None:
        """Nor who failed twice; who has lost twice stays one, when it is given back."""
        await self.put(store, a_delivery())
        await self.taken(store, "msg_1", lease=BRIEF)
        await lapse()
        assert await store.take(a_take(suspects=True)) == []
        for _ in range(3):
            await self.ended(store, await self.taken(store, "msg_1"), "pending")
        await self.taken(store, "msg_1", lease=BRIEF)
        await lapse()
        (suspect,) = await store.take(a_take(suspects=True))
        await self.ended(store, suspect, "pending")
        assert await store.take(a_take()) == []
        assert names(await store.take(a_take(suspects=True))) == ["msg_1"]

    async def test_suspects_wait_for_their_time(self, store: InboxStore) -> None:
        """As everything."""
        await self.suspected(store, a_delivery())
        (suspect,) = await store.take(a_take(suspects=True))
        assert await store.take(a_take(suspects=True)) == []
        await self.ended(store, suspect, "pending", delay=HOUR)
        assert await store.take(a_take(suspects=True)) == []

    async def test_event_types_can_be_left_alone(self, store: InboxStore) -> None:
        """Those that are named, exactly; they take no place from others, and stay as they are."""
        for n, event_type in enumerate(("sync.completed", "sync.failed", "Sync.completed", "sync.completed", "")):
            await self.put(store, a_delivery(f"msg_{n}", event_type=event_type))
        without = ["sync.completed", "sync", "sync.%", "sync.completed "]
        assert names(await store.take(a_take(most=2, without=without))) == ["msg_1", "msg_2"]
        assert names(await store.take(a_take(without=[""]))) == ["msg_0", "msg_3"]
        assert names(await store.take(a_take(without=["sync.completed"]))) == ["msg_4"]

    async def test_some_event_types_only(self, store: InboxStore) -> None:
        """Those that are named, exactly, and not left alone as well; the others keep their place."""
        for n, event_type in enumerate(("sync.completed", "sync.failed", "Sync.completed", "sync.completed", "")):
            await self.put(store, a_delivery(f"msg_{n}", event_type=event_type))
        assert await store.take(a_take(only=["sync", "sync.%", "sync.completed "])) == []
        assert await store.take(a_take(only=["sync.failed"], without=["sync.failed"])) == []
        assert await store.take(a_take(only=["sync.completed"], suspects=True)) == []
        assert names(await store.take(a_take(most=2, only=["Sync.completed", "", "missing"]))) == ["msg_2", "msg_4"]
        take = a_take(only=["sync.completed"])
        first = await store.take(take)
        assert names(first) == ["msg_0", "msg_3"]
        assert await store.take(take._replace(only=["sync.failed"])) == first
        assert names(await store.take(a_take())) == ["msg_1"]

    async def test_suspects_can_be_left_alone(self, store: InboxStore) -> None:
        """By their event type, too."""
        await self.suspected(store, a_delivery("a"), a_delivery("b", event_type="sync.failed"))
        assert names(await store.take(a_take(suspects=True, without=["sync.completed"]))) == ["b"]

    async def test_many_takers_at_once(self, store: InboxStore) -> None:
        """Every delivery is given once, and nobody gets more than asked for."""
        await self.put_at_once(store, *(a_delivery(f"msg_{n:02}") for n in range(40)))
        batches = await asyncio.gather(*[self.insisting(store, a_take(most=7)) for _ in range(10)])
        assert max(map(len, batches)) <= 7
        given = Counter(name for batch in batches for name in names(batch))
        rest = names(await store.take(a_take()))
        assert given + Counter(rest) == Counter(f"msg_{n:02}" for n in range(40))

    async def test_many_takers_on_two_stores(self) -> None:
        """As in two processes; what one store gave, the other settles."""
        async with opened(self.make_store) as one, opened(self.make_store) as two:
            await self.put_at_once(one, *(a_delivery(f"msg_{n:02}") for n in range(40)))
            given: Counter[str] = Counter()

            async def work(store: InboxStore, other: InboxStore) -> None:
                for _ in range(20):
                    taken = await self.insisting(store, a_take(most=3))
                    given.update(names(taken))
                    assert await other.settle([Settle(held(each), "done") for each in taken]) == [True] * len(taken)

            await asyncio.gather(work(one, two), work(two, one), work(one, one), work(two, two))
            assert given == Counter(f"msg_{n:02}" for n in range(40))
            assert {record.state for record in await self.read(one, *map(a_delivery, given))} == {"done"}

    async def test_a_taker_that_has_gone_loses_nothing(self, store: InboxStore) -> None:
        """A take that is cancelled was done or was not: the same take gets it all."""
        for n in range(10):
            await self.put(store, a_delivery(f"msg_{n}"))
            take = a_take()
            task = asyncio.create_task(store.take(take))
            for _ in range(n):
                await asyncio.sleep(0)
            task.cancel()
            await asyncio.wait([task])
            (taken,) = await store.take(take)
            assert taken.record.attempts == 1
            await self.ended(store, taken)

    async def test_two_stores_repeat_one_take(self) -> None:
        """The process that took died; the next one asks with the same token."""
        take = a_take()
        async with opened(self.make_store) as store:
            await self.put(store, a_delivery("a"), a_delivery("b"))
            first = await store.take(take)
        async with opened(self.make_store) as store:
            assert await store.take(take) == first

    @pytest.mark.parametrize("poison", POISON)
    async def test_a_poisoned_take_harms_nobody(self, store: InboxStore, poison: str) -> None:
        """It is refused, or gets what there is; the next one works."""
        await self.put(store, a_delivery("a"), a_delivery("b", receiver="other"))
        taken: list[Taken] = []
        with contextlib.suppress(StoreDataError):
            taken = await store.take(POISON[poison])
        assert set(names(taken)) <= {"b"}
        assert names(await store.take(a_take())) == ["a"]
        assert names(await store.take(a_take(receiver="other"))) == ([] if taken else ["b"])
