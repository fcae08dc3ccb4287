"""Many at once: in one call, in many calls, and with one among them that cannot be."""

import asyncio
import contextlib
from collections.abc import Coroutine, Sequence
from datetime import UTC, datetime, timedelta, timezone
from typing import Any, Final

import pytest

from airweave_webhooks.errors import StoreDataError
from airweave_webhooks.stores.base import Claim, Claimed, Facts, Settle, Store
from airweave_webhooks.stores.coalesce import Coalescer
from airweave_webhooks.testing.contracts.base import BRIEF, LONG, Contract, a_claim, lapse, lease_of

POISON: Final = {
    "texts and times": a_claim("b")._replace(
        owner="\ud800",
        facts=Facts("sync.completed", "\0", "\ud800", "x" * 10**6, event_time=datetime.max.replace(tzinfo=UTC)),
    ),
    "the last moment of time": a_claim("b")._replace(
        facts=Facts("sync.completed", event_time=datetime.max.replace(tzinfo=UTC))
    ),
    "before the first year": a_claim("b")._replace(
        facts=Facts("sync.completed", event_time=datetime.min.replace(tzinfo=timezone(timedelta(hours=14))))
    ),
    "a long lease": a_claim("b", lease=2.0**70),
}
"""Claims that a store may refuse with `StoreDataError`, or store as well as it can."""


class BatchContract(Contract):
    """All verbs, with more than one item, or with none."""

    async def test_a_batch_of_nothing(self, store: Store) -> None:
        """Is answered with nothing."""
        assert await store.claim([]) == []
        assert await store.settle([]) == []
        assert await store.get([]) == []
        assert await asyncio.to_thread(store.renew, [], LONG) == []

    async def test_answers_come_in_the_order_of_the_questions(self, store: Store) -> None:
        """A batch of many kinds is answered one by one."""
        await self.settled(store, a_claim("a"))
        await self.claim(store, a_claim("b"))
        lease = await self.settled(store, a_claim("d"), "pending", results={"h": "processed"})
        await self.settled(store, a_claim("e"), "pending", body=b"{}", delay=LONG)
        claims = [*(a_claim(key) for key in "abcde"), a_claim("f")._replace(into="done")]
        answers = await store.claim(claims)
        verdicts = ["duplicate", "held", "claimed", "claimed", "accepted", "claimed"]
        assert [answer.verdict for answer in answers] == verdicts
        assert [answer.attempt for answer in answers[2:4]] == [1, 2]
        assert [dict(answer.results) for answer in answers[2:4]] == [{}, {"h": "processed"}]
        new = [lease_of(claim, answer) for claim, answer in zip(claims, answers, strict=True)]
        wishes = [Settle(new[2], "done"), Settle(lease, "done"), Settle(new[3], "dead")]
        assert await store.settle(wishes) == [True, False, True]
        found = await store.get([claim.key for claim in [*claims, a_claim("missing"), claims[0]]])
        states = ["done", "leased", "done", "dead", "pending", "done", None, "done"]
        assert [record and record.state for record in found] == states
        assert [record and record.key.key for record in found] == ["a", "b", "c", "d", "e", "f", None, "a"]

    async def test_each_of_a_batch_is_recorded_as_itself(self, store: Store) -> None:
        """Body, results, lease and facts of one do not become another's."""
        claims = [
            a_claim(f"msg_{n}", lease=100.0 * (n + 1))._replace(owner=f"owner {n}", facts=Facts(f"event.{n}"))
            for n in range(4)
        ]
        answers = await store.claim(claims)
        for n, record in enumerate(await store.get([claim.key for claim in claims])):
            assert record is not None
            assert (record.owner, record.facts, record.token) == (f"owner {n}", Facts(f"event.{n}"), claims[n].token)
            assert round(((record.lease_until or 0.0) - record.received_at) / 100) == n + 1
        leases = [lease_of(claim, answer) for claim, answer in zip(claims, answers, strict=True)]
        bodies = [None, b"one", b"", b"three"]
        wishes = [
            Settle(lease, "dead", f"reason {n}", {f"h{n}": "processed"} if n % 2 else {}, f"error {n}", body=body)
            for n, (lease, body) in enumerate(zip(leases, bodies, strict=True))
        ]
        assert await store.settle(wishes) == [True] * 4
        for n, record in enumerate(await store.get([claim.key for claim in claims])):
            assert record is not None
            assert (record.reason, record.error, record.body) == (f"reason {n}", f"error {n}", bodies[n])
            assert record.results == ({f"h{n}": "processed"} if n % 2 else {})
            assert [(note.who, note.what, note.text) for note in record.notes] == [
                (f"owner {n}", f"reason {n}", f"error {n}")
            ]

    async def test_a_large_batch(self, store: Store) -> None:
        """Five hundred at once are five hundred deliveries."""
        claims = sorted((a_claim(f"msg_{n}") for n in range(500)), key=lambda claim: claim.key)
        answers = await store.claim(claims)
        assert {answer.verdict for answer in answers} == {"claimed"}
        leases = [lease_of(claim, answer) for claim, answer in zip(claims, answers, strict=True)]
        assert all(await asyncio.to_thread(store.renew, leases, LONG))
        assert all(await store.settle([Settle(lease, "done") for lease in leases]))
        assert {record and record.state for record in await store.get([lease.key for lease in leases])} == {"done"}

    async def test_the_sums_of_a_storm_are_right(self, store: Store) -> None:
        """A hundred keys, six rivals each: every key has one winner, and every winner settles."""
        wins: list[str] = []

        async def rival(name: str) -> None:
            claim = a_claim(name)
            claimed = await self.claim(store, claim)
            if claimed.verdict == "claimed":
                wins.append(name)
                assert await store.settle([Settle(lease_of(claim, claimed), "done")]) == [True]

        await asyncio.gather(*[rival(f"msg_{n}") for n in range(100) for _ in range(6)])
        assert sorted(wins) == sorted(f"msg_{n}" for n in range(100))

    @pytest.mark.parametrize("poison", POISON)
    async def test_a_poisoned_claim_harms_no_neighbour(self, store: Store, poison: str) -> None:
        """A value that the store cannot hold fails alone, whatever it was batched with, also when it comes again."""
        for name in ("first", "second"):
            claims = [a_claim(f"a {name}"), POISON[poison], a_claim(f"c {name}")]
            batches: list[int] = []

            async def verb(batch: Sequence[Claim], batches: list[int] = batches) -> list[Claimed]:
                batches.append(len(batch))
                return await store.claim(batch)

            coalescer = Coalescer(verb, key=lambda claim: claim.key, size=lambda _: 1)
            answers = await asyncio.gather(*map(coalescer, claims), return_exceptions=True)
            assert batches[0] == 3
            assert [answer.verdict for answer in (answers[0], answers[2]) if isinstance(answer, Claimed)] == [
                "claimed",
                "claimed",
            ]
            assert isinstance(answers[1], Claimed | StoreDataError)
        await store.get([POISON[poison].key])

    @pytest.mark.parametrize("poison", POISON)
    async def test_a_batch_that_cannot_be_stored_leaves_nothing(self, store: Store, poison: str) -> None:
        """Either all of it is done, or none."""
        claims = [a_claim("a"), POISON[poison], a_claim("c")]
        done = True
        try:
            await store.claim(claims)
        except StoreDataError:
            done = False
        found = await store.get([claim.key for claim in claims])
        assert [record is not None for record in found] == [done] * 3

    async def test_numbers_out_of_range_harm_no_neighbour(self, store: Store) -> None:
        """A fence that was never given, or a delay without end, is refused alone, or stored as well as can be."""
        one, two = await self.leased(store, a_claim("one")), await self.leased(store, a_claim("two"))
        never = two._replace(fence=2**70)
        coalescer = Coalescer(store.settle, key=lambda wish: wish.lease.key, size=lambda _: 1)
        wishes = [Settle(one, "pending"), Settle(never, "done")]
        answers = await asyncio.gather(*map(coalescer, wishes), return_exceptions=True)
        assert answers[0] is True
        assert answers[1] is False or isinstance(answers[1], StoreDataError)
        with contextlib.suppress(StoreDataError):
            assert await asyncio.to_thread(store.renew, [never], LONG) == [False]
        assert await asyncio.to_thread(store.renew, [two], LONG) == [True]
        with contextlib.suppress(StoreDataError):
            assert await store.settle([Settle(two, "pending", delay=2.0**70)]) == [True]
        assert (await self.record(store, two.key)).state in {"leased", "pending"}
        assert (await self.claim(store, a_claim("three"))).verdict == "claimed"

    async def test_a_caller_that_has_gone_harms_nobody(self, store: Store) -> None:
        """A claim or settle that is cancelled was done or was not: asking again tells, and the store goes on."""
        for n in range(10):
            claim = a_claim(f"msg_{n}")
            await self._cancelled(store.claim([claim]), after=n)
            lease = await self.leased(store, claim)
            wish = Settle(lease, "done")
            await self._cancelled(store.settle([wish]), after=n)
            assert await store.settle([wish]) == [True]
            assert (await self.record(store, claim.key)).attempts == 1
        await self._cancelled(store.get([a_claim().key]), after=1)
        await self._cancelled(store.purge(done_for=LONG, abandoned_for=LONG, most=1), after=1)
        answers = await asyncio.gather(*[self.claim(store, a_claim(f"msg_{n}")) for n in range(10)])
        assert [answer.verdict for answer in answers] == ["duplicate"] * 10

    async def _cancelled(self, work: Coroutine[Any, Any, object], *, after: int) -> None:
        task = asyncio.create_task(work)
        for _ in range(after):
            await asyncio.sleep(0)
        task.cancel()
        # Suppressing the task's CancelledError would also suppress the one that is meant for this test.
        await asyncio.wait([task])
        if not task.cancelled():
            task.result()

    async def test_a_key_that_comes_many_times_at_once_has_one_winner(self, store: Store) -> None:
        """The coalescer puts it into as many batches, and its neighbours wait for none of them."""
        coalescer = Coalescer(store.claim, key=lambda claim: claim.key, size=lambda _: 1)
        names = ["same"] * 10 + ["other", "same", "another"]
        answers = await asyncio.gather(*(coalescer(a_claim(name)) for name in names))
        verdicts = {name: [a.verdict for n, a in zip(names, answers, strict=True) if n == name] for name in set(names)}
        assert verdicts == {"same": ["claimed"] + ["held"] * 10, "other": ["claimed"], "another": ["claimed"]}

    async def test_opening_twice_needs_closing_twice(self, store: Store) -> None:
        """Two receivers share a store object; one that closes leaves it to the other."""
        await store.open()
        await store.close()
        lease = await self.leased(store, a_claim(lease=BRIEF))
        assert await asyncio.to_thread(store.renew, [lease], LONG) == [True]
        await lapse()
        assert (await self.claim(store, a_claim())).verdict == "held"
