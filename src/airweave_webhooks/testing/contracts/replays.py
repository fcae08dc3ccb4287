"""What is done once more, and what cannot be any longer."""

import asyncio
import contextlib
from dataclasses import replace
from typing import Final, Literal

import pytest

from airweave_webhooks.errors import StoreDataError
from airweave_webhooks.stores.base import Key, Settle
from airweave_webhooks.stores.history import LONGEST_TEXT, Note
from airweave_webhooks.stores.inbox import InboxStore
from airweave_webhooks.testing.contracts.base import BRIEF, HOUR, LONG, a_claim, lapse, noted, opened
from airweave_webhooks.testing.contracts.inbox import (
    EVERY_BYTE,
    InboxTests,
    a_delivery,
    a_take,
    held,
    names,
)

AGES_AGO: Final = 0.02
"""Seconds: what is older than this counts as old."""
NOT_REPLAYABLE: Final = (
    *("leased", "lost", "failed", "done", "ignored", "rejected"),
    *("body due", "body waits", "body leased", "body lost"),
)
RESULTS: Final = {"a": "processed", "b": "rejected"}


class ReplayContract(InboxTests):
    """`replay` and `forget_bodies`."""

    @pytest.mark.parametrize(("state", "left"), [("done", {}), ("dead", {"a": "processed"})])
    async def test_a_replay_is_a_new_generation(
        self, store: InboxStore, state: Literal["done", "dead"], left: dict[str, str]
    ) -> None:
        """Due at once, and as new; what was done runs as a whole, what was dead without what was processed."""
        claim = a_delivery(body=EVERY_BYTE, order="docs")
        await self.put(store, claim)
        await self.taken(store, "msg_1", lease=BRIEF)
        await lapse()
        stale = await self.taken(store, "msg_1")
        assert await store.settle([Settle(held(stale), state, "because", RESULTS, "an error")]) == [True]
        before = await self.record(store, claim.key)
        await lapse()
        assert await store.replay([claim.key], who="me@here", why="the index was lost") == [True]
        after = await self.record(store, claim.key)
        assert after == replace(
            before,
            state="pending",
            reason="replayed",
            token=after.token,
            generation=1,
            attempts=0,
            leases_lost=0,
            results=left,
            due_at=after.due_at,
            history=after.history,
        )
        assert after.token not in {before.token, claim.token}
        assert (after.due_at or 0.0) > (before.settled_at or 0.0)
        assert noted(before, after) == [Note(0.0, 2, "me@here", "replayed", "the index was lost")]
        taken = (await self.taken(store, "msg_1")).record
        assert (taken.generation, taken.attempts, taken.fence) == (1, 1, before.fence + 1)
        assert (taken.results, taken.body, taken.origin) == (left, claim.body, claim.origin)

    async def test_a_drifted_delivery_is_replayed(self, store: InboxStore) -> None:
        """It was dead when it came, and nobody ever worked on it."""
        claim = a_delivery()._replace(into="dead", reason="drift")
        await self.put(store, claim)
        assert await store.replay([claim.key], who="me", why="") == [True]
        assert (await self.taken(store, "msg_1")).record.attempts == 1

    @pytest.mark.parametrize("situation", NOT_REPLAYABLE)
    async def test_what_cannot_be_replayed_stays(self, store: InboxStore, situation: str) -> None:
        """It has no body, or is not finished."""
        claim = await self.brought_into(store, situation, "msg_1")
        before = await self.record(store, claim.key)
        assert await store.replay([claim.key], who="me", why="because") == [False]
        assert await self.record(store, claim.key) == before

    async def test_a_batch_of_replays(self, store: InboxStore) -> None:
        """Each is answered for itself, in any order, and no other is touched; of nothing, with nothing."""
        done = await self.worked_off(store, a_delivery("done"))
        dead = await self.worked_off(store, a_delivery("dead"), "dead")
        left = await self.worked_off(store, a_delivery("left"))
        other = await self.worked_off(store, a_delivery("done", tenant="t"))
        await self.put(store, a_delivery("waits"))
        keys = [a_delivery("waits").key, dead, Key("default", "", "missing"), done]
        assert await store.replay([], who="me", why="") == []
        assert await store.replay(keys, who="me", why="") == [False, True, False, True]
        found = await store.get([*keys, left, other])
        assert [record and record.state for record in found] == ["pending", "pending", None, "pending", "done", "done"]
        assert await store.replay(keys, who="me", why="") == [False] * 4
        assert sorted(names(await store.take(a_take()))) == ["dead", "done", "waits"]

    async def test_who_worked_on_it_before_has_no_part_in_it(self, store: InboxStore) -> None:
        """Neither its lease nor the claim that put it in are the current ones, before it is taken and after."""
        claim = a_delivery()
        await self.put(store, claim)
        take = a_take()
        (old,) = await store.take(take)
        await self.ended(store, old)
        assert await store.replay([claim.key], who="me", why="") == [True]
        for _ in range(2):
            before = await self.record(store, claim.key)
            assert await store.settle([Settle(held(old), "done")]) == [False]
            assert await asyncio.to_thread(store.renew, [held(old)], LONG) == [False]
            assert (await self.claim(store, claim)).verdict == "accepted"
            assert await self.record(store, claim.key) == before
            await store.take(a_take())

    async def test_a_replayed_one_may_be_worked_on_by_a_request(self, store: InboxStore) -> None:
        """It is due, so the sender's resend may have it, and is told the generation."""
        key = await self.worked_off(store, a_delivery())
        assert await store.replay([key], who="me", why="") == [True]
        answer = await self.claim(store, a_claim())
        assert (answer.verdict, answer.attempt, answer.generation) == ("claimed", 1, 1)

    async def test_it_can_be_replayed_again_and_again(self, store: InboxStore) -> None:
        """Each time is a generation, and is noted."""
        key = await self.worked_off(store, a_delivery())
        for n in range(3):
            assert await store.replay([key], who=f"me {n}", why=f"why {n}") == [True]
            taken = await self.taken(store, "msg_1")
            assert taken.record.generation == n + 1
            await self.ended(store, taken, "dead" if n % 2 else "done")
        notes = (await self.record(store, key)).notes
        assert [(note.who, note.what, note.text) for note in notes] == [
            (f"me {n}", "replayed", f"why {n}") for n in range(3)
        ]

    async def test_a_suspect_is_replayed_without_suspicion(self, store: InboxStore) -> None:
        """An operator has looked at it."""
        await self.suspected(store, a_delivery())
        (suspect,) = await store.take(a_take(suspects=True))
        await self.ended(store, suspect, "dead")
        assert await store.replay([suspect.record.key], who="me", why="") == [True]
        await self.taken(store, "msg_1")

    async def test_replays_at_once_are_one(self, store: InboxStore) -> None:
        """Two operators: it runs once more, not twice."""
        key = await self.worked_off(store, a_delivery())
        answers = await asyncio.gather(*[store.replay([key], who="me", why="") for _ in range(10)])
        assert sorted(answers) == [[False]] * 9 + [[True]]
        record = await self.record(store, key)
        assert (record.generation, len(record.notes)) == (1, 1)

    @pytest.mark.parametrize("text", ["\0", "\ud800", "'\"], \\n\n\N{SNOWMAN}", "x" * 2 * LONGEST_TEXT])
    async def test_whoever_says_whatever_replays(self, store: InboxStore, text: str) -> None:
        """An odd name or reason is noted as well as can be; or refused, and then nothing was done."""
        key = await self.worked_off(store, a_delivery())
        answers = [False]
        with contextlib.suppress(StoreDataError):
            answers = await store.replay([key], who=text[:100], why=text)
        record = await self.record(store, key)
        assert (record.state == "pending") == answers[0]
        assert [note.what for note in record.notes] == ["replayed"] * answers[0]
        if text.isprintable():
            assert [(note.who, note.text) for note in record.notes] == [(text[:100], text[:LONGEST_TEXT])]
        assert names(await store.take(a_take())) == ["msg_1"] * answers[0]

    async def test_a_replay_is_known_to_every_store(self) -> None:
        """And survives the one that did it."""
        async with opened(self.make_store) as one, opened(self.make_store) as two:
            key = await self.worked_off(one, a_delivery())
            assert await two.replay([key], who="me", why="") == [True]
        async with opened(self.make_store) as three:
            await self.taken(three, "msg_1")

    async def test_bodies_are_forgotten(self, store: InboxStore) -> None:
        """Of what has been done for long enough; all else is remembered, and is still a duplicate."""
        for n in range(5):
            await self.worked_off(store, a_delivery(f"msg_{n}"))
        keys = [a_delivery(f"msg_{n}").key for n in range(5)]
        before = await store.get(keys)
        await lapse()
        assert await store.forget_bodies(done_for=HOUR, most=100) == 0
        assert await store.get(keys) == before
        assert [await store.forget_bodies(done_for=AGES_AGO, most=2) for _ in range(4)] == [2, 2, 1, 0]
        for old, new in zip(before, await store.get(keys), strict=True):
            assert old is not None
            assert new is not None
            # Whether the origin goes with the body is the store's choice.
            assert new == replace(old, body=None, origin=new.origin)
        assert await store.replay(keys, who="me", why="") == [False] * 5
        assert (await self.claim(store, a_delivery("msg_0"))).verdict == "duplicate"

    async def test_bodies_that_are_needed_are_kept(self, store: InboxStore) -> None:
        """Of what is not done, of what is dead, and of what was only just done, however long ago it came."""
        kept_in = ("body due", "body waits", "body leased", "body lost", "body kept", "body drifted")
        keys = [(await self.brought_into(store, situation, situation)).key for situation in kept_in]
        await self.put(store, a_delivery(receiver="b"), a_delivery(receiver="c"))
        keys.append(a_delivery(receiver="b").key)
        (late,) = await store.take(a_take(receiver="c"))
        await lapse()
        before = await store.get(keys)
        assert await store.forget_bodies(done_for=0.0, most=100) == 0
        assert await store.get(keys) == before
        await self.ended(store, late)
        assert await store.forget_bodies(done_for=HOUR, most=100) == 0
        assert await store.replay([late.record.key], who="me", why="") == [True]
        await lapse()
        assert await store.forget_bodies(done_for=0.0, most=100) == 0

    async def test_bodies_of_all_receivers_are_forgotten(self, store: InboxStore) -> None:
        """Also empty ones."""
        for receiver in "ab":
            await self.worked_off(store, a_delivery(receiver=receiver, body=b""))
        await lapse()
        assert await store.forget_bodies(done_for=AGES_AGO, most=100) == 2
        assert [record.body for record in await self.read(store, a_delivery(receiver="a"))] == [None]
