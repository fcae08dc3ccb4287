"""What the sender gets in inbox mode: acknowledgement, admission, and health."""

import asyncio
import gc
import json
import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import pytest
from fastapi import FastAPI
from starlette.applications import Starlette

from airweave_webhooks import (
    ConfigurationError,
    Delivery,
    Inbox,
    Inline,
    MemoryStore,
    Receiver,
    SQLiteStore,
    SyncCompleted,
    UnknownEvent,
)
from airweave_webhooks.backlog import BacklogWatch
from airweave_webhooks.errors import Busy, StoreUnavailable
from airweave_webhooks.housekeeping import keep_house
from airweave_webhooks.signing import raw_headers
from airweave_webhooks.stores.base import Claim, Record
from airweave_webhooks.stores.inbox import Backlog
from airweave_webhooks.testing.contracts import a_claim, lease_of, opened
from conftest import SECRET, sign
from inboxes import World, body

pytestmark = pytest.mark.anyio


@pytest.fixture
def make(tmp_path: Path) -> Callable[..., World]:
    def make(**settings: Any) -> World:
        world = World(tmp_path, **settings)
        world.receiver.on("sync.*", id="handler")(lambda: world.seen.append(1))
        return world

    return make


async def test_headers_that_a_server_gives_as_lists(make: Callable[..., World]) -> None:
    """ASGI asks for pairs, not for tuples: what is kept of them is the same."""
    world = make(worker=False)
    pairs = [[name.encode(), value.encode()] for name, value in sign(body(), at=None).items()]
    answers: list[Any] = []

    async def receive() -> dict[str, Any]:
        return {"type": "http.request", "body": body()}

    async def send(message: Any) -> None:
        answers.append(message)

    async with world.receiver:
        await world.receiver({"type": "http", "method": "POST", "headers": pairs}, receive, send)
        assert [answer.get("body") for answer in answers] == [None, b'{"status":"accepted"}']
        record = await world.record()
        assert record.origin is not None
        assert record.origin.headers == {"content-type": "application/json"}


async def test_what_is_done_to_the_headers_of_one_delivery_is_not_seen_in_another(make: Callable[..., World]) -> None:
    """What deliveries share is not what handlers get, whatever they do to it."""
    receiver = make(worker=False).receiver
    for _ in range(2):
        headers = list(sign(body(), at=None).items())
        delivery = await receiver.verify(receiver.admit(raw_headers(headers)), body())
        assert isinstance(delivery.headers, dict)
        assert delivery.headers.pop("content-type") == "application/json"
        assert delivery.headers["content-type"] == "application/json"


async def test_the_body_is_on_the_disk_when_it_is_acknowledged(make: Callable[..., World]) -> None:
    """With what a worker needs besides: the time of the signature, and headers that hold no secret."""
    world = make(worker=False)
    async with world.receiver:
        headers = sign(body(), at=None) | {"authorization": "Bearer s3cret", "cookie": "s3cret", "user-agent": "Svix"}
        assert (await world.receiver.handle(headers, body())).outcome == "accepted"
        record = await world.record()
        assert (record.state, record.attempts, record.body, record.settled_at) == ("pending", 0, body(), None)
        assert record.origin is not None
        assert record.origin.sent_at == int(headers["svix-timestamp"])
        assert record.origin.headers == {"content-type": "application/json", "user-agent": "Svix"}
    assert b"s3cret" not in Path(world.store.path).read_bytes()
    assert world.seen == []


async def test_what_the_sender_gets_when_it_comes_again(make: Callable[..., World]) -> None:
    """`accepted` while it is held, `duplicate` when it is done, and a conflict for another body."""
    world = make(worker=False)
    async with world.receiver:
        outcomes = [(await world.send()).outcome for _ in range(2)]
        outcomes.append((await world.send(event=body(chunks_written=5))).outcome)
    assert outcomes == ["accepted", "accepted", "conflict"]
    worker = make()
    async with worker.receiver:
        await worker.settled()
        assert (await worker.send()).outcome == "duplicate"
    assert worker.seen == [1]


async def test_many_at_once_are_stored_once(make: Callable[..., World]) -> None:
    """And run once."""
    world = make()
    async with world.receiver:
        replies = await asyncio.gather(*[world.send(f"msg_{n % 10}") for n in range(200)])
        assert {reply.status for reply in replies} == {200}
        await world.settled(*[f"msg_{n}" for n in range(10)])
    assert len(world.seen) == 10


async def test_what_nobody_handles_is_not_stored_with_its_body(make: Callable[..., World]) -> None:
    """A search's content is none of ours."""
    world = make(worker=False)
    async with world.receiver:
        assert (await world.send(event=body("search.completed"))).outcome == "ignored"
        record = await world.record()
    assert (record.state, record.body, record.origin) == ("done", None, None)


async def test_what_drifted_is_kept(make: Callable[..., World]) -> None:
    """For an upgrade, with its origin, so that a worker can run it then."""
    world = make(worker=False)
    async with world.receiver:
        assert (await world.send(event=body(sync_job_id=5))).outcome == "accepted"
        record = await world.record()
    assert (record.state, record.reason, record.body) == ("dead", "drift", body(sync_job_id=5))
    assert record.origin is not None


async def test_a_client_that_hangs_up_takes_nothing_back(make: Callable[..., World]) -> None:
    """What it sent is stored, and worked on without waiting for a poll."""
    world = make(poll=30.0)
    async with world.receiver:
        with world.store._file._in_use:  # until then the claim is under way
            request = asyncio.create_task(world.send())
            await asyncio.sleep(0.1)
            request.cancel()
            await asyncio.wait([request])
        assert request.cancelled()
        await asyncio.sleep(0.1)
        await world.settled("msg_1")
    assert world.seen == [1]


async def test_acknowledgements_are_bounded(make: Callable[..., World]) -> None:
    """What waits for the store is in flight; beyond the bound the sender comes again."""
    world = make(worker=False, most_in_flight=3)
    async with world.receiver:
        with world.store._file._in_use:
            requests = [asyncio.create_task(world.send(f"msg_{n}")) for n in range(5)]
            await asyncio.sleep(0.1)
        replies = [await request for request in requests]
    assert [reply.status for reply in replies] == [200] * 3 + [503] * 2


async def test_those_that_come_while_it_opens_are_bounded_too(make: Callable[..., World]) -> None:
    """They wait together for the store, and then there is no more room than ever."""
    world = make(worker=False, most_in_flight=3)
    replies = await asyncio.gather(*[world.send(f"msg_{n}") for n in range(5)])
    async with world.receiver:
        pass
    assert [reply.status for reply in replies] == [200] * 3 + [503] * 2


async def test_of_an_event_that_waits_to_be_stored_only_its_claim_is_kept(make: Callable[..., World]) -> None:
    """What many requests hold at once is what the garbage collector goes through, again and again."""
    world = make(worker=False)
    async with world.receiver:
        with world.store._file._in_use:
            request = asyncio.create_task(world.send(event=body(chunks_written=4711)))
            await asyncio.sleep(0.1)
            objects = gc.get_objects()  # of other tests, too
        assert (await request).outcome == "accepted"
    assert not [event for event in objects if type(event) is SyncCompleted and event.chunks_written == 4711]
    assert not [one for one in objects if type(one) is Delivery and one.body == body(chunks_written=4711)]
    assert [claim for claim in objects if type(claim) is Claim and claim.body == body(chunks_written=4711)]


async def test_a_store_that_does_not_answer_in_time(make: Callable[..., World]) -> None:
    """The sender is asked to come again before it gives up by itself."""
    world = make(answer_within=0.1, worker=False)
    async with world.receiver:
        world.store._file._in_use.acquire()
        reply = await world.send()
        world.store._file._in_use.release()
        assert (reply.status, reply.outcome, reply.retry_after) == (503, "unavailable", 5)
        assert (await world.send()).outcome == "accepted"


async def test_a_new_delivery_wakes_the_worker(make: Callable[..., World]) -> None:
    """The poll is for what comes by other processes."""
    world = make(poll=3600.0)
    async with world.receiver:
        for n in range(3):
            await world.accept(f"msg_{n}")
            await world.settled(f"msg_{n}")


async def test_a_worker_finds_what_another_process_stored(make: Callable[..., World]) -> None:
    """And what is due again."""
    world, other = make(poll=0.05), make(worker=False)
    other.receiver.name = "default"
    async with world.receiver, opened(lambda: other.store) as store:
        claim = a_claim("elsewhere")._replace(into="pending", body=body())
        await store.claim([claim])
        await world.settled("elsewhere")


def test_inbox_settings_that_cannot_work() -> None:
    """Said where they are written."""
    for wrong in ({"concurrency": 0}, {"max_attempts": -1}, {"poll": 0}, {"keep_bodies_days": 0}, {"most_disk": 0}):
        with pytest.raises(ValueError, match=rf"Inbox\({next(iter(wrong))}="):
            Inbox(**wrong)  # type: ignore[arg-type]


async def test_an_inbox_needs_a_store_that_holds_it() -> None:
    """What is acknowledged must outlive the process; the message says which stores there are."""
    receiver = Receiver(secrets=SECRET, mode=Inbox())
    with pytest.raises(ConfigurationError, match=r"holds no inbox.*sqlite:///path"):
        await receiver.__aenter__()


@pytest.mark.parametrize("option", [{"order_by": "sync_job_id"}, {"concurrency": 1}])
async def test_options_that_need_a_worker_are_refused_without_one(option: dict[str, Any]) -> None:
    """Inline, the sender decides what comes when."""
    receiver = Receiver(secrets=SECRET, mode=Inline())
    receiver.on("sync.*", id="handler", **option)(lambda: None)
    with pytest.raises(ConfigurationError, match=rf"handler handler: {next(iter(option))}=.*mode=Inbox\(\)"):
        await receiver.__aenter__()


async def test_work_runs_until_it_is_stopped(make: Callable[..., World]) -> None:
    """Alone, in a process of its own; of a receiver whose web processes do not work, too."""
    world = make(worker=False)
    await world.fill(("msg_1", body()))
    stop = asyncio.Event()
    working = asyncio.create_task(world.receiver.work(concurrency=3, stop=stop))
    await world.until(lambda: world.seen)
    with pytest.raises(ConfigurationError, match="this one is open"):
        await world.receiver.work(stop=stop)
    stop.set()
    await working
    async with opened(lambda: world.store):
        assert (await world.record()).state == "done"
    assert world.receiver.mode == make(worker=False).receiver.mode


async def test_work_runs_what_was_replayed_of_an_inline_receiver(tmp_path: Path) -> None:
    """Such as an event that had drifted, after an upgrade."""
    store = SQLiteStore(tmp_path / "a.db")
    receiver = Receiver(secrets=SECRET, store=store)
    seen: list[object] = []

    @receiver.on("sync.completed")
    async def handler() -> None:
        seen.append(1)

    async with receiver:
        drifted = body(sync_job_id=5)
        await receiver.handle(sign(drifted), drifted)
        key = a_claim("msg_1").key
        assert await store.replay([key], who="me", why="upgraded") == [True]
    receiver.on(UnknownEvent)(lambda: seen.append(2))
    stop = asyncio.Event()
    working = asyncio.create_task(receiver.work(stop=stop))
    async with asyncio.timeout(30):
        while not seen:
            await asyncio.sleep(0.01)
    stop.set()
    await working
    async with opened(lambda: store):
        (record,) = await store.get([key])
    assert record is not None
    assert (seen, record.state, record.reason, record.generation) == ([2], "dead", "drift", 1)


# Admission.


@pytest.mark.parametrize("limit", [{"most_pending": 3}, {"most_disk": 1}])
async def test_a_full_inbox_takes_nothing_new(
    make: Callable[..., World], limit: dict[str, int], caplog: pytest.LogCaptureFixture
) -> None:
    """New deliveries get 503 and are asked to come again; what is known is answered as ever."""
    world = make(worker=False)
    await world.fill(*[(f"msg_{n}", body()) for n in range(3)])
    world.receiver.mode = make(worker=False, **limit).receiver.mode
    async with world.receiver:
        refused = await world.send("new")
        assert (refused.status, refused.outcome, refused.retry_after) == (503, "unavailable", 60)
        assert (await world.send("msg_1")).outcome == "accepted"
        assert (await world.send("msg_1", body(chunks_written=5))).outcome == "conflict"
        assert (await world.send("search", body("search.completed"))).outcome == "ignored"
        assert (await world.store.get([a_claim("new").key])) == [None]
    assert f"Inbox({next(iter(limit))}=" in caplog.text


async def test_what_comes_between_two_looks_counts(make: Callable[..., World]) -> None:
    """A crowd does not get in because nobody looked."""
    world = make(worker=False, most_pending=5)
    async with world.receiver:
        statuses = [(await world.send(f"msg_{n}")).status for n in range(8)]
    assert statuses == [200] * 5 + [503] * 3


async def test_what_nobody_could_look_at_still_counts(make: Callable[..., World]) -> None:
    """A look that fails forgets nothing of what was accepted."""
    world = make(worker=False, most_pending=2)
    watch = BacklogWatch(world.store, "default", world.receiver.mode)  # type: ignore[arg-type]
    for _ in range(2):
        watch.accepted()
    with pytest.raises(StoreUnavailable):  # it is not open
        await watch.look()
    async with opened(lambda: world.store):
        with pytest.raises(Busy):
            await watch.admit(a_claim("new").key)
        await watch.look()
        await watch.admit(a_claim("new").key)


async def test_a_full_inbox_opens_again(make: Callable[..., World], caplog: pytest.LogCaptureFixture) -> None:
    """By itself, when there is room; it says so once each time."""
    world = make(worker=False, most_pending=1)
    with caplog.at_level(logging.WARNING):
        async with opened(lambda: world.store) as store:
            watch = BacklogWatch(world.store, "default", world.receiver.mode)  # type: ignore[arg-type]
            claim = a_claim("msg_1")._replace(into="pending", body=b"{}")
            await store.claim([claim])
            for _ in range(2):
                await watch.look()
            await store._file.write(lambda connection: connection.execute("DELETE FROM deliveries"))
            for _ in range(2):
                await watch.look()
            await watch.admit(claim.key)
    assert [record.levelname for record in caplog.records] == ["ERROR", "WARNING"]
    assert "takes new deliveries again" in caplog.text


async def test_a_watch_goes_on_after_an_outage(
    monkeypatch: pytest.MonkeyPatch, make: Callable[..., World], caplog: pytest.LogCaptureFixture
) -> None:
    """Whatever went wrong, it looks again, and what it knew stands until then."""
    monkeypatch.setattr("airweave_webhooks.backlog.WATCH_EVERY", 0.01)
    world = make(worker=False)
    answers: list[Backlog | Exception] = [
        Backlog(pending=1),
        StoreUnavailable("away"),
        ZeroDivisionError("a bug"),
        Backlog(pending=2),
    ]
    found: list[Backlog] = []

    async def backlog(receiver: str) -> Backlog:
        answer = answers.pop(0) if len(answers) > 1 else answers[0]
        if isinstance(answer, Exception):
            raise answer
        return answer

    world.store.backlog = backlog  # type: ignore[method-assign]
    watch = BacklogWatch(world.store, "default", world.receiver.mode)  # type: ignore[arg-type]
    watching = asyncio.create_task(watch.watch(found.append))
    await world.until(lambda: len(found) >= 2)
    watching.cancel()
    assert [one.pending for one in found[:2]] == [1, 2]
    assert "cannot look at its inbox: away" in caplog.text


async def test_bodies_are_forgotten_in_time(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Of what is done, in bounded batches; what is pending or dead keeps its body."""
    monkeypatch.setattr("airweave_webhooks.housekeeping.PURGE_EVERY", 0.01)
    monkeypatch.setattr("airweave_webhooks.housekeeping.PURGE_BATCH", 2)
    async with opened(lambda: SQLiteStore(tmp_path / "a.db")) as store:

        async def claim(name: str, **changed: Any) -> Claim:
            made = a_claim(name)._replace(into="pending", body=b"{}")._replace(**changed)
            await store.claim([made])
            return made

        for n in range(5):
            await claim(f"done_{n}", into="done")
        await claim("pending")
        await claim("dead", into="dead")
        names = [*[f"done_{n}" for n in range(5)], "pending", "dead"]
        keys = [a_claim(name).key for name in names]
        house = asyncio.create_task(keep_house(store, "default", 100.0, 0.001))
        async with asyncio.timeout(30):
            while any(record and record.body for record in await store.get(keys[:5])):
                await asyncio.sleep(0.01)
        house.cancel()
        bodies = [record and record.body for record in await store.get(keys)]
    assert bodies == [None] * 5 + [b"{}"] * 2


# Health.


async def age(world: World, seconds: float) -> None:
    await world.store._file.write(
        lambda connection: connection.execute("UPDATE deliveries SET due_at = due_at - ?", [seconds])
    )


async def test_health(make: Callable[..., World]) -> None:
    """What waits, for how long, and who works; unhealthy when something has been due for too long."""
    world = make(worker=False, unhealthy_after=60.0)
    assert (await world.receiver.health()).healthy
    await world.fill(("msg_1", body()), ("msg_2", body(sync_job_id=5)))
    async with world.receiver:
        await age(world, 50)
        health = await world.receiver.health()
        assert (health.healthy, health.pending, health.dead, health.worker_seen) == (True, 1, 1, None)
        assert 50 <= health.oldest_pending < 60
        await age(world, 50)
        health = await world.receiver.health()
        assert not health.healthy
        assert "no worker runs: start `airweave-webhooks worker`" in health.problems[0]
        await world.store.beat("default", "somebody")
        health = await world.receiver.health()
        assert "the workers do not keep up" in health.problems[0]
        assert health.worker_seen is not None
    working = make()
    async with working.receiver:
        await working.settled()
        health = await working.receiver.health()
        assert (health.healthy, health.pending) == (True, 0)


async def test_health_counts_leases_that_were_lost(make: Callable[..., World]) -> None:
    """A crash leaves a trace."""
    world = make()
    async with opened(lambda: world.store) as store:
        first = a_claim("msg_1", lease=0.001)
        await store.claim([first])
        await asyncio.sleep(0.05)
        (again,) = await store.claim([a_claim("msg_1")])
        assert again.verdict == "claimed"
        assert lease_of(first, again).fence == 2
    assert (await world.receiver.health()).leases_lost == 1


@pytest.mark.parametrize("limit", [{"most_pending": 1}, {"most_disk": 1}])
async def test_a_full_inbox_is_not_healthy(make: Callable[..., World], limit: dict[str, int]) -> None:
    """Somebody has to do something."""
    world = make(worker=False)
    await world.fill(("msg_1", body()))
    world.receiver.mode = make(worker=False, **limit).receiver.mode
    health = await world.receiver.health()
    assert not health.healthy
    assert "refused with 503" in health.problems[0]


async def test_a_store_that_is_away_is_not_healthy(tmp_path: Path) -> None:
    """It says so instead of failing."""
    closed = Receiver(secrets=SECRET, store=f"sqlite:///{tmp_path}/no/a.db")
    health = await closed.health()
    assert (health.healthy, health.pending) == (False, 0)
    assert "cannot be opened" in health.problems[0]


class AwayStore(MemoryStore):
    """Cannot be read."""

    async def get(self, keys: object) -> list[Record | None]:
        raise StoreUnavailable("away")


async def test_health_without_an_inbox() -> None:
    """The store answers, or it does not."""
    assert (await Receiver(secrets=SECRET).health()).healthy
    health = await Receiver(secrets=SECRET, store=AwayStore()).health()
    assert health.problems == ("the store cannot be used: away",)


async def test_the_health_endpoint(make: Callable[..., World]) -> None:
    """JSON, 200 or 503, never from a cache; however many ask, the store is asked once a second."""
    world = make(worker=False, unhealthy_after=60.0)
    app = Starlette(routes=[world.receiver.health_route("/health")])
    await world.fill(("msg_1", body()))
    looks: list[str] = []
    backlog = world.store.backlog

    async def counted(receiver: str) -> Backlog:
        looks.append(receiver)
        return await backlog(receiver)

    world.store.backlog = counted  # type: ignore[method-assign]
    async with (
        world.receiver,
        httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://test") as client,
    ):
        looks.clear()
        answers = await asyncio.gather(*[client.get("/health") for _ in range(5)])
        assert {answer.status_code for answer in answers} == {200}
        assert answers[0].headers["cache-control"] == "no-store"
        assert answers[0].json()["pending"] == 1
        assert len(looks) <= 2
        await age(world, 100)
        await asyncio.sleep(1.1)
        answer = await client.get("/health")
    assert answer.status_code == 503
    found = json.loads(answer.content)
    assert (found["healthy"], len(found["problems"])) == (False, 1)


async def test_the_health_endpoint_in_fastapi(make: Callable[..., World]) -> None:
    """A route like any other there."""
    app = FastAPI()
    app.router.routes.append(make().receiver.health_route("/health"))
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://test") as client:
        answer = await client.get("/health")
    assert (answer.status_code, answer.json()["healthy"]) == (200, True)
