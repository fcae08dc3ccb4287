"""What operators look for, and find."""

import contextlib
from collections import Counter
from dataclasses import replace
from typing import Any, Final

import pytest

from airweave_webhooks.errors import StoreDataError
from airweave_webhooks.stores.base import Claim, Facts, Record, Settle
from airweave_webhooks.stores.inbox import Cursor, InboxStore, Search, Tally
from airweave_webhooks.testing.contracts.base import BRIEF, SITUATIONS, a_claim, lapse
from airweave_webhooks.testing.contracts.inbox import InboxTests, a_delivery, a_take, held

SEARCHES: Final[dict[str, tuple[dict[str, Any], str]]] = {
    "everything": ({}, "abcdef"),
    "a state": ({"states": ["done"]}, "de"),
    "states": ({"states": ["pending", "dead", "leased"]}, "abcf"),
    "an event type": ({"event_types": ["sync.failed"]}, "bd"),
    "event types": ({"event_types": ["sync.failed", "x", ""]}, "bdf"),
    "a part of an event type": ({"event_types": ["sync", "sync.%", "SYNC.FAILED"]}, ""),
    "a collection": ({"collections": ["docs"]}, "ab"),
    "collections": ({"collections": ["docs", "", "x"]}, "abe"),
    "a source type": ({"source_types": ["github"]}, "ac"),
    "source types": ({"source_types": ["github", "slack"]}, "acd"),
    "a tenant": ({"tenant": "t"}, "cd"),
    "no tenant": ({"tenant": ""}, "abef"),
    "a key": ({"name": "a"}, "a"),
    "a message id": ({"name": "message of b"}, "b"),
    "a part of a name": ({"name": "message"}, ""),
    "an empty name": ({"name": ""}, ""),
    "replayable": ({"replayable": True}, "cd"),
    "replayable, of a state": ({"replayable": True, "states": ["dead", "pending"]}, "c"),
    "all of it": (
        {
            "states": ["done"],
            "event_types": ["sync.failed"],
            "collections": ["other"],
            "source_types": ["slack"],
            "tenant": "t",
            "name": "d",
            "since": 0.0,
            "until": 1e10,
            "replayable": True,
        },
        "d",
    ),
    "all of it but one": ({"states": ["done"], "event_types": ["sync.failed"], "collections": ["docs"]}, ""),
    "another receiver": ({"receiver": "other"}, "a"),
    "no receiver": ({"receiver": "missing"}, ""),
}
"""What is given, and the names of what is found."""


def search(**changes: Any) -> Search:
    """A search, of the receiver `default` unless it says another."""
    return Search("default")._replace(**changes)


class SearchContract(InboxTests):
    """`search`, `count` and `tally`."""

    async def filled(self, store: InboxStore) -> list[Claim]:
        """Bring something of everything in: `c` is dead, `d` and `e` are done, and `e` has no body."""
        facts = {
            "a": Facts("sync.completed", "docs", "github"),
            "b": Facts("sync.failed", "docs"),
            "c": Facts("sync.completed", None, "github"),
            "d": Facts("sync.failed", "other", "slack"),
            "e": Facts("sync.completed", ""),
            "f": Facts(""),
        }
        claims = [
            a_delivery(name, tenant="t" if name in "cd" else "")._replace(
                facts=facts[name], message_id=f"message of {name}"
            )
            for name in facts
        ]
        for claim in claims:
            if claim.key.key == "e":
                await self.settled(store, claim._replace(into="leased"))
            elif claim.key.key in "cd":
                await self.worked_off(store, claim, "dead" if claim.key.key == "c" else "done")
        await self.put(store, *(claim for claim in claims if claim.key.key in "abf"))
        await self.put(store, a_delivery("a", receiver="other"))
        return claims

    async def all_of(self, store: InboxStore, wish: Search, *, most: int = 100) -> list[Record]:
        """Page through everything that is found."""
        found: list[Record] = []
        after: Cursor | None = None
        for _ in range(100):
            page = await store.search(wish, after=after, most=most)
            assert len(page) <= most
            found += page
            if len(page) < most:
                return found
            after = Cursor(page[-1].received_at, page[-1].key.tenant, page[-1].key.key)
        raise AssertionError("there is no end of it")

    @pytest.mark.parametrize("wanted", SEARCHES)
    async def test_what_is_asked_for_is_found(self, store: InboxStore, wanted: str) -> None:
        """Exactly that, and as many are counted."""
        await self.filled(store)
        given, expected = SEARCHES[wanted]
        found = await store.search(search(**given), most=100)
        assert "".join(sorted(record.key.key for record in found)) == expected
        assert {record.key.receiver for record in found} <= {given.get("receiver", "default")}
        assert await store.count(search(**given)) == len(expected)

    @pytest.mark.parametrize("situation", SITUATIONS)
    async def test_every_situation_is_found(self, store: InboxStore, situation: str) -> None:
        """By its state; as replayable if it is finished and has a body."""
        claim = await self.brought_into(store, situation, "msg_1")
        await lapse()
        record = await self.record(store, claim.key)
        replayable = situation in {"body kept", "body drifted"}
        assert await store.count(search(states=[record.state])) == 1
        assert await store.count(search(states=sorted({"pending", "leased", "done", "dead"} - {record.state}))) == 0
        assert await store.count(search(replayable=True)) == replayable
        assert len(await store.search(search(replayable=True), most=9)) == replayable

    async def test_records_are_found_without_bodies(self, store: InboxStore) -> None:
        """Nor origins; with all the rest of it."""
        claims = await self.filled(store)
        await store.take(a_take(lease=BRIEF))
        await lapse()
        (again, *_) = await store.take(a_take())
        wish = Settle(held(again), "pending", "retry", {"a": "processed"}, "an error")
        assert await store.settle([wish]) == [True]
        records = await self.read(store, *claims)
        wanted = {record.key: replace(record, body=None, origin=None) for record in records}
        assert {record.key: record for record in await store.search(search(), most=100)} == wanted
        assert len(wanted[again.record.key].notes) == 2

    async def test_since_and_until(self, store: InboxStore) -> None:
        """Received then or later, and before."""
        for name in "abc":
            await self.put(store, a_delivery(name))
            await lapse()
        times = [record.received_at for record in await self.read(store, *map(a_delivery, "abc"))]
        for since, until, expected in (
            (times[1], None, "cb"),
            (None, times[1], "a"),
            (times[0], times[2], "ba"),
            (times[1], times[1], ""),
            (times[2] + 1, None, ""),
            (None, times[0], ""),
        ):
            wish = search(since=since, until=until)
            assert "".join(record.key.key for record in await store.search(wish, most=9)) == expected
            assert await store.count(wish) == len(expected)

    @pytest.mark.parametrize("most", [1, 2, 3, 7, 14, 15])
    async def test_pages_skip_nothing_and_repeat_nothing(self, store: InboxStore, most: int) -> None:
        """The latest first; what came at the same time, by tenant and key, as their letters are numbered."""
        tenants = ("", "T", "t", "u\N{SNOWMAN}", "u\N{GRINNING FACE}", "u\uffee")
        await self.put_at_once(store, *(a_delivery(name, tenant=tenant) for tenant in tenants for name in ("a", "B")))
        await lapse()
        await self.put_at_once(store, a_delivery("b"), a_delivery("c"))
        found = await self.all_of(store, search(), most=most)
        order = [(record.received_at, record.key.tenant, record.key.key) for record in found]
        assert len(found) == 14
        assert order == sorted(set(order), reverse=True)

    async def test_pages_of_a_search(self, store: InboxStore) -> None:
        """The wish holds on every page."""
        await self.put_at_once(store, *(a_delivery(f"{n}", tenant="t" if n % 2 else "") for n in range(9)))
        for tenant, expected in (("t", "1357"), ("", "02468")):
            found = await self.all_of(store, search(tenant=tenant), most=2)
            assert "".join(sorted(record.key.key for record in found)) == expected

    async def test_what_comes_meanwhile_moves_no_page(self, store: InboxStore) -> None:
        """It is later, so it would be on a page that was seen; what is forgotten leaves the others."""
        await self.put_at_once(store, *(a_delivery(f"{n}") for n in range(4)))
        first = await store.search(search(), most=2)
        await lapse()
        await self.put(store, a_delivery("new"))
        after = Cursor(first[-1].received_at, first[-1].key.tenant, first[-1].key.key)
        second = await store.search(search(), after=after, most=2)
        assert sorted(record.key.key for record in [*first, *second]) == ["0", "1", "2", "3"]
        assert await store.search(search(), after=after._replace(received_at=0.0), most=2) == []

    @pytest.mark.parametrize("odd", ["\0", "\ud800", "'; --", "%", "_", "\\", "x" * 10_000])
    async def test_whatever_is_searched_for(self, store: InboxStore, odd: str) -> None:
        """Is not found, or refused; never an error of another kind, and never more than was asked for."""
        await self.put(store, a_delivery(tenant="t"))
        for field in ("receiver", "tenant", "name"):
            with contextlib.suppress(StoreDataError):
                assert await store.search(search(**{field: odd}), most=9) == []
                assert await store.count(search(**{field: odd})) == 0
        for field in ("states", "event_types", "collections", "source_types"):
            with contextlib.suppress(StoreDataError):
                assert await store.search(search(**{field: [odd]}), most=9) == []
                assert await store.count(search(**{field: [odd]})) == 0
        for after in (Cursor(0.0, odd, odd), Cursor(0.0, "", odd)):
            with contextlib.suppress(StoreDataError):
                assert await store.search(search(), after=after, most=9) == []
        assert await store.count(search()) == 1

    async def test_nothing_is_told_of_nothing(self, store: InboxStore) -> None:
        """An empty store has no deliveries, and no kinds of them."""
        assert await store.search(search(), most=9) == []
        assert await store.count(search()) == 0
        assert await store.tally("default") == []

    async def test_deliveries_are_tallied(self, store: InboxStore) -> None:
        """By state, reason and event type, sorted by them; of one receiver."""
        await self.filled(store)
        for n in range(3):
            await self.settled(store, a_claim(f"failed {n}"), "pending")
        await self.claim(store, a_claim("ignored")._replace(into="done", reason="ignored"))
        await self.put(store, a_delivery("drifted")._replace(into="dead", reason="because"))
        found = await store.tally("default")
        wanted = Counter(
            (record.state, record.reason, record.facts.event_type) for record in await store.search(search(), most=99)
        )
        assert wanted["dead", "because", "sync.completed"] == 2
        assert Counter({each[:3]: each.deliveries for each in found}) == wanted
        assert len(found) == len(wanted)
        assert [each.state for each in found] == sorted(each.state for each in found)
        # Where those without a reason stand among their state is the store's choice.
        reasoned = [each[:3] for each in found if each.reason is not None]
        assert reasoned == sorted(reasoned, key=str)
        assert await store.tally("other") == [Tally("pending", None, "sync.completed", 1)]
