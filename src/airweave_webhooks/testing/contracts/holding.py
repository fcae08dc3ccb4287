"""How a delivery is left to a worker, and that it stays until one has done it."""

import asyncio
from dataclasses import replace
from typing import Final, Literal

import pytest

from airweave_webhooks.errors import StoreDataError
from airweave_webhooks.stores.base import Claim, Claimed, Facts, Origin, Settle
from airweave_webhooks.stores.coalesce import Coalescer
from airweave_webhooks.stores.history import Note
from airweave_webhooks.stores.inbox import InboxStore
from airweave_webhooks.testing.contracts.base import (
    BRIEF,
    CLOSE,
    HOUR,
    SHORT,
    SITUATIONS,
    a_claim,
    lapse,
    noted,
)
from airweave_webhooks.testing.contracts.claims import first_record
from airweave_webhooks.testing.contracts.inbox import EVERY_BYTE, PUT, InboxTests, a_delivery, a_take, held, names

ORIGINS: Final = {
    "empty": Origin(0),
    "ordinary": Origin(1_800_000_000, {"webhook-id": "msg_1", "content-type": "application/json"}, "docs-x1"),
    "odd": Origin(
        2**33,
        {"X-Odd": '"\\\t\x7f\xff, \N{SNOWMAN}\N{GRINNING FACE}', "": "", "x-long": "v" * 100_000, "'; --": "{}"},
        "'\\\n\N{SNOWMAN} %_*",
    ),
    "before the epoch": Origin(-1, {}, " "),
}

POISON: Final = {
    "order": a_delivery("b", order="\0\ud800"),
    "header values": a_delivery("b")._replace(origin=Origin(0, {"x-nul": "\0", "x-lone": "\udfff"})),
    "header names": a_delivery("b")._replace(origin=Origin(0, {"\0": "x", "\ud800": "y"})),
    "owner and reason": a_delivery("b")._replace(owner="\0\ud800", reason="\0\ud800"),
    "facts": a_delivery("b")._replace(facts=Facts("\0\ud800", "\0", "\ud800")),
    "a far time": a_delivery("b")._replace(origin=Origin(2**80)),
}
"""Deliveries that a store may refuse with `StoreDataError`, or hold as well as it can."""


class HoldingContract(InboxTests):
    """`claim` with `into="pending"`, and what stays of it."""

    @pytest.mark.parametrize("body", [b"{}", b"", EVERY_BYTE])
    async def test_a_delivery_is_put_in(self, store: InboxStore, body: bytes) -> None:
        """Nobody has attempted it, and it is due at once."""
        claim = a_delivery(body=body, order="docs")._replace(reason="because")
        claimed = await self.claim(store, claim)
        assert (claimed.verdict, claimed.fence, claimed.attempt, claimed.generation) == ("claimed", 1, 1, 0)
        record = await self.record(store, claim.key)
        assert record == replace(first_record(claim, record), due_at=record.due_at, origin=claim.origin)
        assert (record.settled_at, record.lease_until) == (None, None)
        assert record.due_at == pytest.approx(record.received_at, abs=CLOSE)
        assert names(await store.take(a_take())) == ["msg_1"]

    @pytest.mark.parametrize("situation", PUT)
    async def test_putting_in_what_is_there(self, store: InboxStore, situation: str) -> None:
        """What has no body gets one and is due; whose body is held is accepted as it is, however it stands with it."""
        await self.brought_into(store, situation, "msg_1")
        await lapse()
        claim = a_delivery()._replace(reason="wish", owner="test:2")
        before = await self.record(store, claim.key)
        answer = await self.claim(store, claim)
        after = await self.record(store, claim.key)
        assert answer.verdict == PUT[situation]
        assert (answer.retry_after > 0) == (situation in {"leased", "body leased"})
        if answer.verdict != "claimed":
            assert after == before
            return
        assert after == replace(
            before,
            state="pending",
            reason="wish",
            owner="test:2",
            token=claim.token,
            fence=before.fence + 1,
            leases_lost=before.leases_lost + (before.state == "leased"),
            due_at=after.due_at,
            lease_until=None,
            body=claim.body,
            origin=claim.origin,
            history=after.history,
        )
        assert (answer.fence, answer.attempt) == (after.fence, before.attempts)
        assert (after.due_at or 0.0) > after.received_at
        lost = [Note(0.0, before.attempts, "test:1", "lease_lost", "")]
        assert noted(before, after) == (lost if before.state == "leased" else [])
        (taken,) = await store.take(a_take())
        assert (taken.record.attempts, taken.record.body) == (before.attempts + 1, claim.body)

    @pytest.mark.parametrize("situation", PUT)
    async def test_putting_in_another_body_is_a_conflict(self, store: InboxStore, situation: str) -> None:
        """Also when the first one is held."""
        claim = await self.brought_into(store, situation, "msg_1")
        await lapse()
        before = await self.record(store, claim.key)
        assert (await self.claim(store, a_delivery(body=b"[other]"))).verdict == "conflict"
        assert await self.record(store, claim.key) == before

    async def test_what_was_rejected_is_put_in_for_the_rest_of_it(self, store: InboxStore) -> None:
        """The worker does not repeat what was done, and tries again what was rejected."""
        await self.settled(store, a_claim(), "dead", results={"a": "processed", "b": "rejected"})
        assert (await self.claim(store, a_delivery())).results == {"a": "processed"}
        (taken,) = await store.take(a_take())
        assert taken.record.results == {"a": "processed"}

    async def test_putting_in_again_is_the_same(self, store: InboxStore) -> None:
        """After an unknown commit it is sent again, and counts once; once a worker has it, it is accepted."""
        claim = a_delivery()
        first = await self.claim(store, claim)
        before = await self.record(store, claim.key)
        assert [await self.claim(store, claim) for _ in range(3)] == [first] * 3
        assert await self.record(store, claim.key) == before
        taken = await self.taken(store, "msg_1")
        assert (await self.claim(store, claim)).verdict == "accepted"
        await self.ended(store, taken)
        assert (await self.claim(store, claim)).verdict == "duplicate"

    async def test_one_delivery_put_in_many_times_at_once(self, store: InboxStore) -> None:
        """One of them puts it in, the others find it there, and a worker gets it once."""
        answers = await asyncio.gather(*[self.claim(store, a_delivery()) for _ in range(20)])
        assert sorted(answer.verdict for answer in answers) == ["accepted"] * 19 + ["claimed"]
        assert names(await store.take(a_take())) == ["msg_1"]

    @pytest.mark.parametrize("into", ["pending", "dead", "done"])
    @pytest.mark.parametrize("origin", ORIGINS)
    async def test_bodies_and_origins_come_back_as_they_were(
        self, store: InboxStore, into: Literal["pending", "dead", "done"], origin: str
    ) -> None:
        """To the last byte, whether they are held for a worker or for a replay."""
        claim = a_delivery(body=EVERY_BYTE * 4096)._replace(into=into, origin=ORIGINS[origin])
        await self.put(store, claim)
        record = await self.record(store, claim.key)
        assert (record.body, record.origin) == (claim.body, claim.origin)
        if into != "pending":
            assert await store.replay([claim.key], who="me", why="") == [True]
        (taken,) = await store.take(a_take())
        assert (taken.record.body, taken.record.origin) == (claim.body, claim.origin)

    async def test_a_body_without_an_origin(self, store: InboxStore) -> None:
        """Has none, and is worked on without: in no order, whatever stands beside it."""
        claims = [a_delivery(f"msg_{n}")._replace(origin=None) for n in range(3)]
        await self.put(store, *claims, a_delivery("msg_3", order="docs"), a_delivery("msg_4"))
        taken = await store.take(a_take())
        assert names(taken) == [f"msg_{n}" for n in range(5)]
        assert [one.record.origin is None for one in taken] == [True] * 3 + [False] * 2
        await self.ended(store, taken[3])
        await self.ended(store, taken[0], "pending")
        assert not (await self.taken(store, "msg_0")).stale

    async def test_a_request_that_works_stores_no_body(self, store: InboxStore) -> None:
        """Its sender has it, and brings it again: no worker gets it."""
        await self.leased(store, a_delivery()._replace(into="leased", lease=BRIEF))
        record = await self.record(store, a_claim().key)
        assert (record.body, record.origin) == (None, None)
        await lapse()
        assert await store.take(a_take()) == []
        assert (await self.claim(store, a_claim())).verdict == "claimed"

    async def test_a_request_may_work_on_what_is_due(self, store: InboxStore) -> None:
        """It is then nobody else's; the body and its origin are kept, for a worker to go on after a failure."""
        claim = a_delivery(body=EVERY_BYTE, order="docs")
        await self.put(store, claim)
        before = await self.record(store, claim.key)
        request = a_claim(body=EVERY_BYTE)
        lease = await self.leased(store, request)
        after = await self.record(store, claim.key)
        assert after == replace(
            before,
            state="leased",
            token=request.token,
            fence=2,
            attempts=1,
            due_at=None,
            lease_until=after.lease_until,
        )
        assert await store.take(a_take()) == []
        assert await store.settle([Settle(lease, "pending", "failed", {"a": "processed"})]) == [True]
        (taken,) = await store.take(a_take())
        assert (taken.record.attempts, taken.record.results) == (2, {"a": "processed"})
        assert (taken.record.body, taken.record.origin) == (claim.body, claim.origin)
        assert await store.settle([Settle(lease, "done")]) == [False]

    async def test_a_request_waits_for_what_is_not_due(self, store: InboxStore) -> None:
        """While a worker has it, or waits with it, the request is told that it will be done."""
        await self.put(store, a_delivery())
        taken = await self.taken(store, "msg_1")
        assert (await self.claim(store, a_claim())).verdict == "accepted"
        await self.ended(store, taken, "pending", delay=SHORT)
        assert (await self.claim(store, a_claim())).verdict == "accepted"
        await lapse(SHORT)
        assert (await self.claim(store, a_claim())).verdict == "claimed"

    async def test_a_purge_drops_nothing_that_has_a_body(self, store: InboxStore) -> None:
        """Neither what waits, nor what is worked on, nor what was lost, nor what is kept for a replay."""
        kept_in = [situation for situation in SITUATIONS if situation.startswith("body")]
        claims = [await self.brought_into(store, situation, f"{n} {situation}") for n, situation in enumerate(kept_in)]
        await self.put(store, a_delivery("put"), a_delivery("taken", receiver="b"), a_delivery("lost", receiver="c"))
        await store.take(a_take(receiver="b"))
        await store.take(a_take(receiver="c", lease=BRIEF))
        keys = [*(claim.key for claim in claims), *(a_delivery(name, receiver=r).key for name, r in KEPT)]
        await lapse()
        before = await store.get(keys)
        for _ in range(3):
            assert await store.purge(done_for=0.0, abandoned_for=0.0, most=100) == 0
        assert None not in before
        assert await store.get(keys) == before

    async def test_a_purge_drops_what_a_worker_has_done(self, store: InboxStore) -> None:
        """With its body, which is not to outlive it."""
        key = await self.worked_off(store, a_delivery())
        await lapse()
        assert await store.purge(done_for=0.02, abandoned_for=HOUR, most=100) == 1
        assert await store.get([key]) == [None]
        assert await store.replay([key], who="me", why="") == [False]

    @pytest.mark.parametrize("poison", POISON)
    async def test_a_poisoned_delivery_harms_no_neighbour(self, store: InboxStore, poison: str) -> None:
        """A value that the store cannot hold fails alone; its neighbours are held, and taken with or without it."""
        coalescer = Coalescer(store.claim, key=lambda claim: claim.key, size=lambda _: 1)
        claims: list[Claim] = [a_delivery("a"), POISON[poison], a_delivery("c")]
        answers = await asyncio.gather(*map(coalescer, claims), return_exceptions=True)
        assert [isinstance(answer, Claimed) for answer in answers[::2]] == [True, True]
        assert isinstance(answers[1], Claimed | StoreDataError)
        taken = await store.take(a_take())
        wanted = ["a", "b", "c"] if isinstance(answers[1], Claimed) else ["a", "c"]
        assert sorted(names(taken)) == wanted
        assert await store.settle([Settle(held(one), "done") for one in taken]) == [True] * len(wanted)


KEPT: Final = (("put", "default"), ("taken", "b"), ("lost", "c"))
