"""What operators do with deliveries, in Python."""

import asyncio
import logging
from collections.abc import AsyncIterator
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from airweave_webhooks import ConfigurationError, Receiver, SQLiteStore
from airweave_webhooks.errors import OperatorError, StoreUnavailable
from airweave_webhooks.operations import Deliveries
from airweave_webhooks.stores.base import Key, Record
from airweave_webhooks.stores.inbox import Take
from airweave_webhooks.testing import Clock
from airweave_webhooks.testing.payloads import payload
from conftest import SECRET
from inbox_records import HEADERS, Filler

pytestmark = pytest.mark.anyio


@pytest.fixture
async def store(tmp_path: Path, clock: Clock) -> AsyncIterator[SQLiteStore]:
    store = SQLiteStore(tmp_path / "shop.db", clock=clock)
    await store.open()
    yield store
    await store.close()


@pytest.fixture
def filler(store: SQLiteStore) -> Filler:
    return Filler(store)


@pytest.fixture
def deliveries(store: SQLiteStore) -> Deliveries:
    return Deliveries(store, "shop")


async def names(deliveries: Deliveries, **which: Any) -> list[str]:
    page = await deliveries.search(**which)
    return sorted(record.key.key for record in page.records)


async def test_a_receiver_has_them(tmp_path: Path) -> None:
    """The property opens the store by itself, also next to a receiver that is open."""
    receiver = Receiver(name="shop", store=f"sqlite:///{tmp_path}/shop.db", secrets=SECRET)
    assert (await receiver.deliveries.search()).records == []
    async with receiver:
        await receiver.deliveries.stats()
        assert receiver.is_open
        await receiver.deliveries.stats()


@pytest.mark.parametrize("store_", ["memory:", "redis://user:secret@nowhere:1/0"])
async def test_other_stores_cannot(store_: str) -> None:
    with pytest.raises(ConfigurationError, match=r"sqlite:///path and postgresql://host/database") as caught:
        _ = Receiver(store=store_).deliveries
    assert "secret" not in str(caught.value)


@pytest.mark.parametrize(
    ("which", "found"),
    [
        ({}, "dead done inline leased pending"),
        ({"states": "dead"}, "dead"),
        ({"states": ["dead", "pending"]}, "dead pending"),
        ({"event_types": "sync.running"}, "leased"),
        ({"event_types": "sync.*"}, "dead done leased pending"),
        ({"event_types": ["collection.*", "sync.failed"]}, "dead inline"),
        ({"event_types": "*"}, "dead done inline leased pending"),
        ({"event_types": "organization.*"}, ""),
        ({"collection": "crm"}, "dead"),
        ({"collection": ["crm", "docs"], "states": "done"}, "done inline"),
        ({"source_type": "notion"}, "dead"),
        ({"tenant": "acme"}, ""),
        ({"tenant": ""}, "dead done inline leased pending"),
        ({"name": "msg_dead"}, "dead"),
    ],
)
async def test_filters(filler: Filler, deliveries: Deliveries, which: dict[str, Any], found: str) -> None:
    await filler.one_of_each()
    assert await names(deliveries, **which) == [f"msg_{name}" for name in found.split()]


async def test_times(filler: Filler, deliveries: Deliveries, clock: Clock) -> None:
    """`since` is within, `until` is not, in any time zone."""
    start = clock.now()
    for count in range(3):
        await filler.pending(f"msg_{count}")
        clock.advance(60)
    minute = timedelta(minutes=1)
    assert await names(deliveries, since=start + minute) == ["msg_1", "msg_2"]
    assert await names(deliveries, until=start + minute) == ["msg_0"]
    assert await names(deliveries, since=start + minute, until=start + 2 * minute) == ["msg_1"]


async def test_a_type_that_only_the_store_knows(filler: Filler, deliveries: Deliveries) -> None:
    """An event that came before its release is what an operator looks for."""
    await filler.pending("msg_new", event_type="new.thing")
    assert await names(deliveries, event_types="new.thing") == ["msg_new"]
    assert await names(deliveries, event_types="new.*") == ["msg_new"]


@pytest.mark.parametrize(
    ("which", "message"),
    [
        ({"event_types": "sync.competed"}, "no such event: 'sync.competed'; did you mean 'sync.completed'?"),
        ({"event_types": "synk.*"}, "no such event: 'synk.*'; did you mean 'sync.*'?"),
        ({"states": "deed"}, "no such state: 'deed'; did you mean 'dead'?"),
        ({"states": []}, "states=[]: an empty collection matches nothing"),
        ({"event_types": ()}, "event_types=(): an empty collection matches nothing"),
        ({"since": datetime(2026, 1, 1)}, "takes a datetime with a time zone"),  # noqa: DTZ001
        ({"size": 0}, "takes 1 to 1000"),
        ({"size": 1001}, "takes 1 to 1000"),
        ({"cursor": "nonsense!"}, "cursor 'nonsense!': not one that a search gave"),
        ({"cursor": "é"}, "not one that a search gave"),
        ({"cursor": "W10"}, "not one that a search gave"),
        ({"cursor": "e30"}, "not one that a search gave"),
        ({"cursor": ""}, "not one that a search gave"),
    ],
)
async def test_what_means_nothing(deliveries: Deliveries, which: dict[str, Any], message: str) -> None:
    with pytest.raises(OperatorError) as caught:
        await deliveries.search(**which)
    assert message in str(caught.value)


async def test_an_unknown_filter(deliveries: Deliveries) -> None:
    with pytest.raises(TypeError, match="no such filter: colour"):
        await deliveries.search(colour="red")  # type: ignore[call-arg]


async def test_pages(filler: Filler, deliveries: Deliveries, clock: Clock) -> None:
    """Thousands, many of them received in the same instant, are each found once, the latest first."""
    for tenant in ("", "ä:[]"):
        await filler.many(1200, tenant=tenant)
        clock.advance(1)
    found: list[Record] = []
    cursor = None
    pages = 0
    while True:
        page = await deliveries.search(size=400, cursor=cursor)
        found += page.records
        pages += 1
        if page.cursor is None:
            break
        cursor = page.cursor
    assert pages == 6
    assert len({record.key for record in found}) == len(found) == 2400
    times = [record.received_at for record in found]
    assert times == sorted(times, reverse=True)


async def test_get(filler: Filler, deliveries: Deliveries) -> None:
    await filler.one_of_each()
    record = await deliveries.get("msg_dead")
    assert record is not None
    assert record.body == payload("sync.failed")
    assert record.origin is not None
    assert record.origin.headers == HEADERS
    assert [note.what for note in record.notes] == ["exhausted"]
    assert await deliveries.get("msg_nope") is None
    assert await deliveries.get("msg_dead", "acme") is None


async def test_get_by_either_name(filler: Filler, deliveries: Deliveries) -> None:
    """A key counts for more than the same word as a message id; several are told apart."""
    one = await filler.pending("msg_1", key="sync:1")
    await filler.pending("msg_1", key="sync:2")
    word = await filler.pending("msg_2", key="msg_3")
    await filler.pending("msg_3", key="sync:3")
    for name, key in {"sync:1": one, "msg_2": word, "msg_3": word}.items():
        record = await deliveries.get(name)
        assert record is not None
        assert record.key == key
    with pytest.raises(OperatorError, match=r"'msg_1' means 2 deliveries; name one by its key: 'sync:2', 'sync:1'"):
        await deliveries.get("msg_1")


async def test_get_of_tenants(filler: Filler, deliveries: Deliveries) -> None:
    for count in range(7):
        await filler.pending("msg_1", tenant=f"t{count}")
    with pytest.raises(OperatorError, match="means 7 deliveries; name a tenant: 't0', 't1', 't2', 't3', 't4', …"):
        await deliveries.get("msg_1")
    record = await deliveries.get("msg_1", "t5")
    assert record is not None
    assert record.key.tenant == "t5"


async def test_replay_by_name(filler: Filler, deliveries: Deliveries, caplog: pytest.LogCaptureFixture) -> None:
    """What can be replayed is, and of the rest it is said why not."""
    caplog.set_level(logging.INFO, "airweave_webhooks")
    await filler.one_of_each()
    for tenant in ("a", "b"):
        await filler.pending("msg_twice", tenant=tenant)
    asked = ["msg_dead", "msg_done", "msg_inline", "msg_pending", "msg_leased", "msg_nope", "msg_twice", "msg_dead"]
    expected = {
        "msg_inline": "no_body",
        "msg_pending": "pending",
        "msg_leased": "leased",
        "msg_nope": "unknown",
        "msg_twice": "ambiguous",
    }
    counted = await deliveries.replay(asked, why="a test", dry_run=True)
    assert (counted.found, counted.replayed, counted.names) == (2, 0, expected)
    assert caplog.messages == []
    done: list[tuple[int, int]] = []
    result = await deliveries.replay(asked, why="a test", who="me", progress=lambda *so_far: done.append(so_far))
    assert (result.found, result.replayed, result.names) == (2, 2, expected)
    assert result.skipped == dict.fromkeys(expected.values(), 1)
    assert done == [(2, 2)]
    assert caplog.messages == ["receiver shop: me replayed 2 deliveries: a test"]
    record = await deliveries.get("msg_dead")
    assert record is not None
    assert (record.state, record.reason, record.generation) == ("pending", "replayed", 1)
    assert record.results == {"shop.refresh": "processed"}
    assert record.notes[-1][2:] == ("me", "replayed", "a test")


async def test_one_delivery_by_both_its_names(filler: Filler, deliveries: Deliveries) -> None:
    await filler.dead("msg_1", key="sync:1")
    result = await deliveries.replay(["msg_1", "sync:1"], why="")
    assert (result.found, result.replayed, result.names) == (1, 1, {})


async def test_replay_for_a_tenant(filler: Filler, deliveries: Deliveries) -> None:
    for tenant in ("a", "b"):
        await filler.dead("msg_1", tenant=tenant)
    assert (await deliveries.replay(["msg_1"], why="", tenant="b")).replayed == 1
    assert (await deliveries.replay(tenant="b", why="")).skipped == {"pending": 1}
    assert (await deliveries.replay(all_dead=True, tenant="b", why="")).replayed == 0
    assert (await deliveries.replay(all_dead=True, why="")).replayed == 1


async def test_replay_by_filter(filler: Filler, deliveries: Deliveries) -> None:
    """The rest is counted by why."""
    await filler.one_of_each()
    counted = await deliveries.replay(event_types="*", why="", dry_run=True)
    assert counted.found == 2
    assert counted.skipped == {"no_body": 1, "pending": 1, "leased": 1}
    assert (await deliveries.replay(event_types="*", why="")) == counted._replace(replayed=2)
    again = await deliveries.replay(states=["dead", "done"], why="")
    assert (again.replayed, again.skipped) == (0, {"no_body": 1})


async def test_who_replays_by_default(filler: Filler, deliveries: Deliveries, monkeypatch: pytest.MonkeyPatch) -> None:
    """The user; in a container it need not have a name."""

    def nameless() -> str:
        raise OSError("no such user")

    await filler.many(2)
    monkeypatch.setattr("getpass.getuser", lambda: "ann")
    await deliveries.replay(["msg_00000"], why="")
    monkeypatch.setattr("getpass.getuser", nameless)
    await deliveries.replay(["msg_00001"], why="")
    for name, who in {"msg_00000": "ann", "msg_00001": "somebody"}.items():
        record = await deliveries.get(name)
        assert record is not None
        assert record.notes[-1].who.partition("@")[0] == who


@pytest.mark.parametrize(
    "asked",
    [
        {},
        {"names": ["msg_1"], "all_dead": True},
        {"names": ["msg_1"], "states": "dead"},
        {"all_dead": True, "event_types": "sync.*"},
        {"names": "msg_1"},
        {"collection": None, "tenant": None},
    ],
)
async def test_a_replay_of_nothing_or_of_two_things(deliveries: Deliveries, asked: dict[str, Any]) -> None:
    with pytest.raises(OperatorError, match=r"^replay\("):
        await deliveries.replay(**asked, why="")


async def test_thousands_are_replayed_in_batches(filler: Filler, deliveries: Deliveries) -> None:
    await filler.many(2100)
    done: list[tuple[int, int]] = []
    result = await deliveries.replay(all_dead=True, why="", progress=lambda *so_far: done.append(so_far))
    assert result == (2100, 2100, {}, {})
    assert done == [(500, 2100), (1000, 2100), (1500, 2100), (2000, 2100), (2100, 2100)]
    assert {tally[:2] for tally in (await deliveries.stats()).tallies} == {("pending", "replayed")}


class Changing(SQLiteStore):
    """Lets others do something just before a batch is replayed."""

    async def meanwhile(self) -> None:
        raise NotImplementedError

    async def replay(self, keys: Any, *, who: str, why: str) -> list[bool]:
        await self.meanwhile()
        return await super().replay(keys, who=who, why=why)


async def test_what_changes_meanwhile(tmp_path: Path, clock: Clock) -> None:
    """Somebody else replays one, takes another, and purges a third, after they were counted."""
    store = Changing(tmp_path / "shop.db", clock=clock)
    filler = Filler(store)

    async def meanwhile() -> None:
        await SQLiteStore.replay(store, [Key("shop", "", "msg_3"), Key("shop", "", "msg_2")], who="", why="")
        await store.take(Take("shop", 1, bytes(24), 60))
        clock.advance(20 * 86_400)
        await store.purge(done_for=86_400, abandoned_for=10**9, most=1)

    store.meanwhile = meanwhile  # type: ignore[method-assign]
    await store.open()
    await filler.done("msg_0")
    for count in range(1, 4):
        await filler.dead(f"msg_{count}")
    result = await Deliveries(store, "shop").replay(event_types="sync.*", why="")
    await store.close()
    assert (result.found, result.replayed) == (4, 1)
    assert result.skipped == {"pending": 1, "leased": 1, "unknown": 1}


async def test_a_replay_that_is_cancelled_knows_what_it_did(
    tmp_path: Path, clock: Clock, caplog: pytest.LogCaptureFixture
) -> None:
    """The batch under way is finished and counted, and nothing more is begun."""
    caplog.set_level(logging.INFO, "airweave_webhooks")
    store = Changing(tmp_path / "shop.db", clock=clock)
    started = asyncio.Event()

    async def meanwhile() -> None:
        started.set()
        await asyncio.sleep(0.05)

    store.meanwhile = meanwhile  # type: ignore[method-assign]
    await store.open()
    await Filler(store).many(1200)
    done: list[int] = []
    replaying = asyncio.create_task(
        Deliveries(store, "shop").replay(
            all_dead=True, why="", who="me", progress=lambda so_far, _: done.append(so_far)
        )
    )
    await started.wait()
    replaying.cancel()
    with pytest.raises(asyncio.CancelledError):
        await replaying
    assert done == [500]
    assert caplog.messages == ["receiver shop: me replayed 500 deliveries: "]
    tallies = (await Deliveries(store, "shop").stats()).tallies
    await store.close()
    assert {tally.state: tally.deliveries for tally in tallies} == {"dead": 700, "pending": 500}


async def test_a_store_that_fails_while_a_replay_is_cancelled(tmp_path: Path, clock: Clock) -> None:
    store = Changing(tmp_path / "shop.db", clock=clock)
    started = asyncio.Event()

    async def meanwhile() -> None:
        started.set()
        await asyncio.sleep(0.01)
        raise StoreUnavailable("gone")

    store.meanwhile = meanwhile  # type: ignore[method-assign]
    await store.open()
    await Filler(store).many(1)
    replaying = asyncio.create_task(Deliveries(store, "shop").replay(all_dead=True, why=""))
    await started.wait()
    replaying.cancel()
    with pytest.raises(asyncio.CancelledError):
        await replaying
    await store.close()


async def test_purge(filler: Filler, deliveries: Deliveries, clock: Clock) -> None:
    """In batches, of every receiver; what is dead stays."""
    await filler.many(600, into="done", reason="ignored", body=None, origin=None)
    await Filler(filler.store, "other").many(1, into="done", reason="ignored", body=None, origin=None)
    await filler.dead("msg_dead")
    clock.advance(16.5 * 86_400)
    done: list[int] = []
    assert await deliveries.purge(17) == 0
    assert await deliveries.purge(16, progress=done.append) == 601
    assert done == [500, 601]
    assert await names(deliveries) == ["msg_dead"]


@pytest.mark.parametrize("days", [15.9, 0, -1, float("nan")])
async def test_a_purge_of_what_the_sender_can_replay(deliveries: Deliveries, days: float) -> None:
    with pytest.raises(OperatorError, match="for at least 16 days"):
        await deliveries.purge(days)


async def test_stats(filler: Filler, deliveries: Deliveries, clock: Clock) -> None:
    await filler.one_of_each()
    await filler.pending("msg_due")
    await filler.store.beat("shop", "worker-2:4711")
    clock.advance(30)
    tallies, backlog = await deliveries.stats()
    assert sum(tally.deliveries for tally in tallies) == 6
    assert (backlog.pending, backlog.dead, backlog.oldest, backlog.worker_seen) == (2, 1, 30, 30)


async def test_a_store_that_cannot_be_opened(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="nowhere"):
        await Deliveries(SQLiteStore(tmp_path / "nowhere" / "shop.db"), "shop").stats()
