"""What every store must keep to, as tests.

Prove a store of your own with a subclass:

    class TestMyStore(DurableStoreContract):
        def make_store(self) -> Store:
            return MyStore(...)   # not opened; each call in one test gives a store on the same, at first empty, data

Needs pytest; the async tests run by the plugin of anyio, which airweave-webhooks depends on. Leases are short and
waited for, because a shared store uses its own clock and not the test's.
"""

import asyncio
import contextlib
import os
import threading
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Sequence
from datetime import UTC, datetime
from typing import Literal

import pytest

from airweave_webhooks.errors import StoreDataError
from airweave_webhooks.stores.base import Claim, Claimed, Facts, Key, Lease, Record, Settle, Store
from airweave_webhooks.stores.coalesce import Coalescer

SHORT = 0.4
"""Seconds: a lease that a test waits for."""
LONG = 60.0
"""Seconds: a lease that outlives the test."""


def a_claim(
    key: str = "msg_1", *, receiver: str = "default", tenant: str = "", lease: float = LONG, body: bytes = b"{}"
) -> Claim:
    """A claim as a receiver makes it; every call has a token of its own."""
    facts = Facts(
        "sync.completed",
        "docs-x1",
        "github",
        "0f8fad5b-d9cb-469f-a165-70867728950e",
        datetime(2026, 11, 20, 9, 3, 41, 803112, UTC),
    )
    digest = body.ljust(32, b"\0")[:32]
    return Claim(Key(receiver, tenant, key), key, digest, os.urandom(16), facts, lease, owner="test:1")


def lease_of(claim: Claim, claimed: Claimed) -> Lease:
    """The lease that a granted claim gave."""
    return Lease(claim.key, claimed.fence, claim.token)


class StoreContract:
    """Binds to a store by `make_store`."""

    pytestmark: pytest.MarkDecorator = pytest.mark.anyio

    def make_store(self) -> Store:
        """Return a store that is not open."""
        raise NotImplementedError

    @pytest.fixture
    def anyio_backend(self) -> str:
        """Run on asyncio only."""
        return "asyncio"

    @pytest.fixture
    async def store(self) -> AsyncIterator[Store]:
        """An open store."""
        store = self.make_store()
        await store.open()
        yield store
        await store.close()

    async def claim(self, store: Store, claim: Claim) -> Claimed:
        """Claim one."""
        (claimed,) = await store.claim([claim])
        return claimed

    async def record(self, store: Store, key: Key) -> Record:
        """Read one that must exist."""
        (record,) = await store.get([key])
        assert record is not None
        return record

    async def settled(
        self,
        store: Store,
        claim: Claim,
        state: Literal["done", "pending", "dead"] = "done",
        *,
        results: dict[str, str] | None = None,
        body: bytes | None = None,
        delay: float = 0.0,
    ) -> Lease:
        """Claim and settle one."""
        lease = lease_of(claim, await self.claim(store, claim))
        wish = Settle(lease, state, "because", results or {}, body=body, delay=delay)
        assert await store.settle([wish]) == [True]
        return lease

    async def test_a_new_delivery_is_claimed(self, store: Store) -> None:
        """Whoever comes first works on it."""
        claim = a_claim()
        claimed = await self.claim(store, claim)
        assert (claimed.verdict, claimed.fence, claimed.attempt, claimed.generation) == ("claimed", 1, 1, 0)
        record = await self.record(store, claim.key)
        assert (record.state, record.attempts, record.owner) == ("leased", 1, "test:1")
        assert record.facts == claim.facts

    async def test_concurrent_claims_have_one_winner(self, store: Store) -> None:
        """Twenty copies at once: one works, nineteen are told to wait."""
        answers = await asyncio.gather(*[self.claim(store, a_claim()) for _ in range(20)])
        assert sorted(answer.verdict for answer in answers) == ["claimed"] + ["held"] * 19

    async def test_held_says_for_how_long(self, store: Store) -> None:
        """The wait is what is left of the lease."""
        await self.claim(store, a_claim(lease=10))
        held = await self.claim(store, a_claim())
        assert held.verdict == "held"
        assert 0 < held.retry_after <= 10

    async def test_takeover_after_the_lease(self, store: Store) -> None:
        """What a crashed holder left is taken over, with a higher fence, and not before its lease ended."""
        first = await self.claim(store, a_claim(lease=SHORT))
        assert (await self.claim(store, a_claim())).verdict == "held"
        await asyncio.sleep(SHORT + 0.05)
        second_claim = a_claim()
        second = await self.claim(store, second_claim)
        assert (second.verdict, second.attempt) == ("claimed", 2)
        assert second.fence > first.fence
        assert (await self.record(store, second_claim.key)).leases_lost == 1

    async def test_a_stale_settle_is_refused(self, store: Store) -> None:
        """A holder that was stopped past its lease cannot write over the next one's work."""
        stale_claim = a_claim(lease=SHORT)
        stale = lease_of(stale_claim, await self.claim(store, stale_claim))
        await asyncio.sleep(SHORT + 0.05)
        claim = a_claim()
        lease = lease_of(claim, await self.claim(store, claim))
        assert await store.settle([Settle(stale, "done", "stale")]) == [False]
        assert (await self.record(store, claim.key)).state == "leased"
        assert await store.settle([Settle(lease, "done", "fresh")]) == [True]
        assert await store.settle([Settle(stale, "pending", "stale")]) == [False]
        record = await self.record(store, claim.key)
        assert (record.state, record.reason) == ("done", "fresh")

    async def test_a_settle_needs_fence_and_token(self, store: Store) -> None:
        """A guessed fence, or the fence of another holder, settles nothing."""
        claim = a_claim()
        lease = lease_of(claim, await self.claim(store, claim))
        wrong = [lease._replace(token=os.urandom(16)), lease._replace(fence=lease.fence + 1)]
        assert await store.settle([Settle(wrong[0], "done")]) == [False]
        assert await store.settle([Settle(wrong[1], "done")]) == [False]
        assert await store.settle([Settle(lease._replace(key=Key("default", "", "other")), "done")]) == [False]
        assert (await self.record(store, claim.key)).state == "leased"

    async def test_a_renewed_lease_lasts(self, store: Store) -> None:
        """Renewing keeps others away past the first lease, and works while the event loop is blocked."""
        claim = a_claim(lease=SHORT)
        lease = lease_of(claim, await self.claim(store, claim))
        renewed: list[bool] = []
        thread = threading.Thread(target=lambda: renewed.extend(store.renew([lease], LONG)))
        thread.start()
        thread.join(timeout=10)  # blocks the event loop, as a careless handler does
        assert renewed == [True]
        await asyncio.sleep(SHORT + 0.05)
        assert (await self.claim(store, a_claim())).verdict == "held"

    async def test_only_the_current_lease_is_renewed(self, store: Store) -> None:
        """What was taken over, settled, or never existed cannot be renewed."""
        stale_claim, claim = a_claim(lease=SHORT), a_claim()
        stale = lease_of(stale_claim, await self.claim(store, stale_claim))
        await asyncio.sleep(SHORT + 0.05)
        lease = lease_of(claim, await self.claim(store, claim))
        missing = Lease(Key("default", "", "missing"), 1, os.urandom(16))
        leases = sorted([stale, lease, missing])
        kept = await asyncio.to_thread(store.renew, leases, LONG)
        assert dict(zip(leases, kept, strict=True)) == {stale: False, lease: True, missing: False}
        await store.settle([Settle(lease, "done")])
        assert await asyncio.to_thread(store.renew, [lease], LONG) == [False]

    async def test_a_repeated_claim_is_the_same_claim(self, store: Store) -> None:
        """After an unknown commit the claim is sent again, and counts once."""
        claim = a_claim()
        first = await self.claim(store, claim)
        again = await self.claim(store, claim)
        assert (again.verdict, again.fence, again.attempt) == ("claimed", first.fence, 1)
        assert (await self.record(store, claim.key)).attempts == 1

    async def test_a_repeated_settle_is_the_same_settle(self, store: Store) -> None:
        """After an unknown commit the settle is sent again, stands, and changes nothing."""
        claim = a_claim()
        lease = await self.settled(store, claim, "done", results={"a": "processed"})
        before = await self.record(store, claim.key)
        assert await store.settle([Settle(lease, "pending", "other")]) == [True]
        assert await self.record(store, claim.key) == before

    async def test_done_is_a_duplicate(self, store: Store) -> None:
        """What is done is never given out again."""
        claim = a_claim()
        await self.settled(store, claim)
        assert (await self.claim(store, a_claim())).verdict == "duplicate"

    async def test_a_failure_releases(self, store: Store) -> None:
        """After a failure the next attempt starts at once, however long the back-off, and knows what was finished."""
        claim = a_claim()
        first = await self.settled(store, claim, "pending", results={"a": "processed"}, delay=3600)
        second = await self.claim(store, a_claim())
        assert (second.verdict, second.attempt) == ("claimed", 2)
        assert second.fence > first.fence
        assert second.results == {"a": "processed"}

    async def test_nothing_to_do_is_recorded_in_one_step(self, store: Store) -> None:
        """An ignored delivery is done when it is claimed, and a duplicate from then on."""
        claim = a_claim()._replace(into="done", reason="ignored")
        assert (await self.claim(store, claim)).verdict == "claimed"
        record = await self.record(store, claim.key)
        assert (record.state, record.reason, record.attempts) == ("done", "ignored", 0)
        assert (await self.claim(store, a_claim())).verdict == "duplicate"

    async def test_a_dead_one_without_a_body_is_replayed_by_the_sender(self, store: Store) -> None:
        """The resend runs what was rejected again, and not what succeeded."""
        await self.settled(store, a_claim(), "dead", results={"a": "processed", "b": "rejected"})
        again = await self.claim(store, a_claim())
        assert (again.verdict, again.results) == ("claimed", {"a": "processed"})

    async def test_a_dead_one_with_a_body_waits_for_an_operator(self, store: Store) -> None:
        """Its body is safe, so the sender need not come again."""
        settled, claimed = (
            a_claim("settled"),
            a_claim("claimed")._replace(into="dead", reason="drift", body=b"\0{}\xff"),
        )
        await self.settled(store, settled, "dead", body=b"[body]")
        await self.claim(store, claimed)
        assert (await self.record(store, settled.key)).body == b"[body]"
        assert (await self.record(store, claimed.key)).body == b"\0{}\xff"
        assert (await self.claim(store, a_claim("settled"))).verdict == "accepted"
        assert (await self.claim(store, a_claim("claimed"))).verdict == "accepted"

    @pytest.mark.parametrize("state", ["leased", "done", "pending", "dead"])
    async def test_another_body_under_one_message_id_is_a_conflict(
        self, store: Store, state: Literal["leased", "done", "pending", "dead"]
    ) -> None:
        """Whatever became of the first body, the second is not the same delivery."""
        claim = a_claim(body=b"[1]")
        if state == "leased":
            await self.claim(store, claim)
        else:
            await self.settled(store, claim, state)
        assert (await self.claim(store, a_claim(body=b"[2]"))).verdict == "conflict"
        assert (await self.record(store, claim.key)).digest == claim.digest

    async def test_another_message_id_under_one_key_is_no_conflict(self, store: Store) -> None:
        """Under a natural key one event has two message ids, whose bodies may differ."""
        await self.settled(store, a_claim(body=b"[1]"))
        other = a_claim(body=b"[2]")._replace(message_id="msg_other")
        assert (await self.claim(store, other)).verdict == "duplicate"

    async def test_receivers_and_tenants_do_not_meet(self, store: Store) -> None:
        """The same message id is another delivery for another receiver, and for another tenant."""
        claims = [a_claim(receiver=receiver, tenant=tenant) for receiver in "ab" for tenant in ("", "t", "u")]
        answers = await store.claim(sorted(claims, key=lambda claim: claim.key))
        assert [answer.verdict for answer in answers] == ["claimed"] * 6

    async def test_answers_come_in_the_order_of_the_questions(self, store: Store) -> None:
        """A batch of many kinds is answered one by one."""
        await self.settled(store, a_claim("a"))
        await self.claim(store, a_claim("b"))
        lease = await self.settled(store, a_claim("d"), "pending")
        claims = [a_claim(key) for key in "abcd"]
        answers = await store.claim(claims)
        assert [answer.verdict for answer in answers] == ["duplicate", "held", "claimed", "claimed"]
        new = [lease_of(claim, answer) for claim, answer in zip(claims, answers, strict=True)]
        wishes = [Settle(new[2], "done"), Settle(lease, "done"), Settle(new[3], "done")]
        assert await store.settle(wishes) == [True, False, True]
        found = await store.get([claim.key for claim in [*claims, a_claim("missing")]])
        assert [record and record.state for record in found] == ["done", "leased", "done", "done", None]

    async def test_a_large_batch(self, store: Store) -> None:
        """Five hundred at once are five hundred deliveries."""
        claims = sorted((a_claim(f"msg_{n}") for n in range(500)), key=lambda claim: claim.key)
        answers = await store.claim(claims)
        assert {answer.verdict for answer in answers} == {"claimed"}
        wishes = [Settle(lease_of(c, a), "done") for c, a in zip(claims, answers, strict=True)]
        assert all(await store.settle(wishes))

    async def test_retention(self, store: Store) -> None:
        """Only what is done, and done for long enough, is removed, in bounded steps."""
        await self.settled(store, a_claim("pending"), "pending")
        await self.settled(store, a_claim("dead"), "dead")
        await self.claim(store, a_claim("leased"))
        for n in range(5):
            await self.settled(store, a_claim(f"done_{n}"))
        await asyncio.sleep(0.05)
        assert await store.purge(done_for=3600, abandoned_for=3600, most=100) == 0
        assert await store.purge(done_for=0.01, abandoned_for=3600, most=3) == 3
        assert await store.purge(done_for=0.01, abandoned_for=3600, most=3) == 2
        assert await store.purge(done_for=0.01, abandoned_for=3600, most=3) == 0
        keys = [a_claim(name).key for name in ("pending", "dead", "leased", "done_0")]
        assert [record and record.state for record in await store.get(keys)] == ["pending", "dead", "leased", None]

    async def test_what_the_sender_has_given_up_on_is_abandoned(self, store: Store) -> None:
        """Without a body nothing can be done about it but to say so; with one it is kept for ever."""
        await self.settled(store, a_claim("failed"), "pending")
        await self.settled(store, a_claim("kept"), "pending", body=b"{}")
        await self.claim(store, a_claim("crashed", lease=0.01))
        await self.claim(store, a_claim("running"))
        await asyncio.sleep(0.1)
        assert await store.purge(done_for=3600, abandoned_for=0.05, most=100) == 2
        keys = [a_claim(name).key for name in ("failed", "crashed", "kept", "running")]
        found = [record and (record.state, record.reason) for record in await store.get(keys)]
        assert found[:2] == [("dead", "abandoned")] * 2
        assert [state and state[0] for state in found[2:]] == ["pending", "leased"]
        assert (await self.claim(store, a_claim("failed"))).verdict == "claimed"

    async def test_a_poisoned_record_harms_no_neighbour(self, store: Store) -> None:
        """A value that the store cannot hold fails alone, whatever it was batched with."""
        poison = a_claim("b")._replace(
            owner="\ud800",
            facts=Facts("sync.completed", "\0", "\ud800", "x" * 10**6, event_time=datetime.max.replace(tzinfo=UTC)),
        )
        claims = [a_claim("a"), poison, a_claim("c")]
        batches: list[int] = []

        async def verb(batch: Sequence[Claim]) -> list[Claimed]:
            batches.append(len(batch))
            return await store.claim(batch)

        coalescer = Coalescer(verb, key=lambda claim: claim.key, size=lambda _: 1)
        answers = await asyncio.gather(*map(coalescer, claims), return_exceptions=True)
        assert batches[0] == 3
        good = [answer for answer in (answers[0], answers[2]) if isinstance(answer, Claimed)]
        assert [answer.verdict for answer in good] == ["claimed", "claimed"]
        assert isinstance(answers[1], Claimed | StoreDataError)

    async def test_text_that_databases_dislike(self, store: Store) -> None:
        """NUL and lone surrogates in names and errors are stored as something readable, and bodies as they are."""
        claim = a_claim("msg_\N{SNOWMAN}")._replace(facts=Facts("sync.completed", "nul\0nul", "lone\ud800", None, None))
        lease = lease_of(claim, await self.claim(store, claim))
        wish = Settle(lease, "dead", "rejected", {"h\N{SNOWMAN}": "rejected"}, "E\0\udfff", body=bytes(range(256)))
        assert await store.settle([wish]) == [True]
        record = await self.record(store, claim.key)
        assert record.body == bytes(range(256))
        assert (record.facts.collection or "").startswith("nul")
        assert (record.error or "").startswith("E")
        assert record.results == {"h\N{SNOWMAN}": "rejected"}

    async def test_opening_twice_needs_closing_twice(self, store: Store) -> None:
        """Two receivers share a store object; one that closes leaves it to the other."""
        await store.open()
        await store.close()
        assert (await self.claim(store, a_claim())).verdict == "claimed"

    async def test_the_sums_of_a_storm_are_right(self, store: Store) -> None:
        """Two hundred keys, ten rivals each: every key has one winner, and every winner settles."""
        wins: list[str] = []

        async def rival(name: str) -> None:
            claim = a_claim(name)
            claimed = await self.claim(store, claim)
            if claimed.verdict == "claimed":
                wins.append(name)
                assert await store.settle([Settle(lease_of(claim, claimed), "done")]) == [True]

        await asyncio.gather(*[rival(f"msg_{n}") for n in range(200) for _ in range(10)])
        assert sorted(wins) == sorted(f"msg_{n}" for n in range(200))


class DurableStoreContract(StoreContract):
    """For stores that outlive the process, and can be opened by several."""

    async def test_it_says_so(self, store: Store) -> None:
        """The receiver goes by these two."""
        assert store.durable
        assert store.round_trip

    async def test_records_survive_a_reopening(self) -> None:
        """What was settled stays settled, what was leased stays leased."""
        claims = [a_claim("done"), a_claim("leased"), a_claim("failed")]
        async with opened(self.make_store) as store:
            await self.settled(store, claims[0], results={"h": "processed"})
            leased = lease_of(claims[1], await self.claim(store, claims[1]))
            await self.settled(store, claims[2], "pending", results={"h": "processed"})
            before = await store.get([claim.key for claim in claims])
        async with opened(self.make_store) as store:
            assert await store.get([claim.key for claim in claims]) == before
            answers = await store.claim([a_claim("done"), a_claim("failed"), a_claim("leased")])
            assert [answer.verdict for answer in answers] == ["duplicate", "claimed", "held"]
            assert answers[1].results == {"h": "processed"}
            assert await store.settle([Settle(leased, "done")]) == [True]

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


@contextlib.asynccontextmanager
async def opened(make_store: Callable[[], Store]) -> AsyncGenerator[Store]:
    """Open a store for a block."""
    store = make_store()
    await store.open()
    try:
        yield store
    finally:
        await store.close()
