"""Deliveries as they come and as they are settled: each change once, in bounded memory."""

import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from airweave_webhooks import SQLiteStore
from airweave_webhooks.cli import following, tail
from airweave_webhooks.cli.following import Follower
from airweave_webhooks.errors import StoreUnavailable
from airweave_webhooks.stores.base import Facts, Key, Record, Settle
from airweave_webhooks.stores.inbox import Search
from inbox_records import Filler

pytestmark = pytest.mark.anyio

ALL = Search("shop")


class Shop:
    """A store, and one who follows it."""

    def __init__(self, path: Path) -> None:
        self.now = time.time()
        self.store = SQLiteStore(path / "shop.db", clock=lambda: self.now)
        self.fill = Filler(self.store)
        self.follower = Follower(self.store, ALL)

    async def look(self, follower: Follower | None = None) -> list[str]:
        found = await (follower or self.follower).look()
        return [f"{record.message_id} {record.state}" for record in found]


@pytest.fixture
async def shop(tmp_path: Path) -> AsyncIterator[Shop]:
    shop = Shop(tmp_path)
    await shop.store.open()
    yield shop
    await shop.store.close()


async def test_what_comes_and_what_is_settled(shop: Shop) -> None:
    """Each change once, however often one looks, and however long it takes."""
    assert await shop.follower.start(10) == []
    assert await shop.look() == []
    lease = await shop.fill.leased("msg_1")
    assert await shop.look() == ["msg_1 leased"]
    assert await shop.look() == []
    shop.now += 40  # longer than anything is looked at again
    assert await shop.look() == []
    await shop.fill.pending("msg_2")
    await shop.store.settle([Settle(lease, "pending", "failed", error="ValueError", delay=7)])
    assert sorted(await shop.look()) == ["msg_1 pending", "msg_2 pending"]
    shop.now += 40
    await shop.fill.done("msg_3")  # takes msg_2, which was due first
    assert sorted(await shop.look()) == ["msg_2 done", "msg_3 pending"]
    assert await shop.look() == []


async def test_what_was_there_is_not_told(shop: Shop) -> None:
    """But the latest, the oldest of them first; and what becomes of all of them is."""
    await shop.fill.dead("msg_1")
    await shop.fill.leased("msg_2")
    shop.now += 1
    await shop.fill.leased("msg_3")
    shop.now += 1
    lease = await shop.fill.leased("msg_4")
    assert [record.message_id for record in await shop.follower.start(2)] == ["msg_3", "msg_4"]
    assert await shop.look() == []
    await shop.store.settle([Settle(lease, "done", "processed")])
    assert await shop.look() == ["msg_4 done"]


async def test_what_was_settled_long_ago_and_is_replayed(shop: Shop) -> None:
    await shop.fill.dead("msg_1")
    shop.now += 7 * 86_400
    await shop.fill.pending("msg_2")
    await shop.follower.start(0)
    await shop.store.replay([Key("shop", "", "msg_1")], who="me", why="asked")
    assert await shop.look() == ["msg_1 pending"]
    await shop.store.replay([Key("shop", "", "msg_1")], who="me", why="asked")
    assert await shop.look() == []


async def test_what_is_purged(shop: Shop) -> None:
    """Is forgotten."""
    await shop.follower.start(0)
    await shop.fill.pending("msg_1")
    assert await shop.look() == ["msg_1 pending"]
    await shop.fill.done("msg_1")
    shop.now += 90 * 86_400
    await shop.store.purge(done_for=86_400, abandoned_for=86_400, most=10)
    assert await shop.look() == []
    assert not shop.follower._seen


async def test_only_states_that_are_asked_for_are_told(shop: Shop) -> None:
    """The others are followed."""
    follower = Follower(shop.store, ALL._replace(states=("dead",)))
    await shop.fill.done("msg_0")
    await shop.fill.dead("msg_1")
    assert [record.message_id for record in await follower.start(5)] == ["msg_1"]
    lease = await shop.fill.leased("msg_2")
    assert await shop.look(follower) == []
    shop.now += 40
    await shop.store.settle([Settle(lease, "dead", "exhausted")])
    assert await shop.look(follower) == ["msg_2 dead"]


async def test_only_what_the_search_finds(shop: Shop) -> None:
    follower = Follower(shop.store, ALL._replace(event_types=("sync.failed",)))
    await follower.start(0)
    await shop.fill.pending("msg_1")
    await shop.fill.pending("msg_2", event_type="sync.failed")
    assert await shop.look(follower) == ["msg_2 pending"]


async def test_memory_is_bounded(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of more than can be shown the latest are, and it says so."""
    for name, number in {"PAGE": 10, "MOST_NEW": 20, "MOST_WATCHED": 5, "MOST_REMEMBERED": 30, "MOST_READ": 3}.items():
        monkeypatch.setattr(following, name, number)
    await shop.follower.start(0)
    await shop.fill.many(30)
    assert len(await shop.look()) == 20
    assert [shop.follower.left_out] == [True]
    shop.now += 60
    for number in range(12):
        shop.now += 1
        await shop.fill.pending(f"msg_new{number}")
        assert await shop.look() == [f"msg_new{number} pending"]
    assert [shop.follower.left_out] == [False]
    assert len(shop.follower._seen) <= 30
    for _ in range(12):
        await shop.fill.done("msg_another")
    shop.now += 60
    told: list[str] = []
    for _ in range(6):  # three each time
        told += await shop.look()
    assert sorted(set(told)) == sorted(told)
    assert {f"msg_new{number} done" for number in range(11)} <= set(told)


async def test_an_outage_forgets_nothing(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    """And who is told of it is told once, and looks less and less often."""

    async def away(*_: Any, **__: Any) -> Any:
        raise StoreUnavailable("away")

    printer = Printer()
    await shop.follower.start(0)
    await shop.fill.pending("msg_1")
    pause = 0.5
    with monkeypatch.context() as patch:
        patch.setattr(shop.store, "search", away)
        pauses = [pause := await tail._look(shop.follower, pause, 0.5, printer) for _ in range(6)]  # type: ignore[arg-type]
    assert pauses == [1.0, 2.0, 4.0, 8.0, 10.0, 10.0]
    assert await tail._look(shop.follower, pause, 0.5, printer) == 0.5  # type: ignore[arg-type]
    assert printer.said == [
        "the store cannot be reached, trying again: away",
        "the store can be reached again",
        "msg_1",
    ]
    shop.follower.left_out = True
    monkeypatch.setattr(shop.follower, "look", nothing)
    await tail._look(shop.follower, 0.5, 0.5, printer)  # type: ignore[arg-type]
    assert printer.said[-1] == "more came at once than can be followed: some are left out"


async def nothing() -> list[Record]:
    return []


class Printer:
    def __init__(self) -> None:
        self.said: list[str] = []

    def show(self, record: Record) -> None:
        self.said.append(record.message_id)

    def note(self, text: str) -> None:
        self.said.append(text)


def record(**changed: Any) -> Record:
    facts = Facts("source_connection.auth_completed", "a-collection-with-a-long-name")
    return Record(
        **{
            "key": Key("shop", "", "msg_1"),
            "message_id": "msg_2f8a6d0f5b3c4e7a9d1b2c3e4f5",
            "digest": b"",
            "facts": facts,
            "received_at": 1_800_000_000.0,
            **changed,
        }
    )


@pytest.mark.parametrize("width", [80, 120, 200])
@pytest.mark.parametrize(
    "changed",
    [
        {},
        {"state": "done", "reason": "processed", "settled_at": 1_800_000_100.0},
        {"state": "dead", "reason": "exhausted", "error": "\x1b[2J" + "x" * 200, "settled_at": 1_800_000_100.0},
        {"message_id": "y" * 200},
        {"facts": Facts("x" * 200, "\N{FULLWIDTH LATIN CAPITAL LETTER A}" * 100)},
    ],
)
def test_a_line_fits(width: int, changed: dict[str, Any]) -> None:
    """Whatever a stranger wrote."""
    line = tail.line(record(**changed), width, 1_800_000_200.0, clock=True)
    assert line.cell_len <= width
    assert "\x1b" not in line.plain
    assert "\n" not in line.plain


def test_what_a_line_says() -> None:
    """When: of what came, when it came; of what is settled, when that was; of all else, now."""

    def says(**changed: Any) -> str:
        return tail.line(record(**changed), 160, 1_800_000_200.0, clock=False).plain

    head = "msg_2f8a6d0f5b3c4e7a9d1b2c3e4f5 source_connection.auth_comple… a-collection-wi…"
    assert says() == f"2027-01-15T08:00:00.000Z pending {head}"
    assert says(state="done", reason="processed", settled_at=1_800_000_100.0, attempts=2) == (
        f"2027-01-15T08:01:40.000Z done    {head} processed try 2"
    )
    assert says(reason="failed", error="no", attempts=1) == f"2027-01-15T08:03:20.000Z pending {head} failed no"
    assert says(reason="replayed", error="no", generation=1) == f"2027-01-15T08:03:20.000Z pending {head} replayed"
