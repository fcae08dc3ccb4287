"""The table of answers: what the receiver found, and what the sender gets for it."""

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import pytest

from airweave_webhooks import BodyLimits, Delivery, Inline, Receiver, Reject, Reply, Retry, SyncEvent
from airweave_webhooks.errors import StoreUnavailable
from airweave_webhooks.stores import MemoryStore
from airweave_webhooks.stores.base import Claim, Claimed, Facts, Key, Record
from airweave_webhooks.testing.payloads import payload
from conftest import OTHER_SECRET, SECRET, sign

pytestmark = pytest.mark.anyio

BODY = payload("sync.completed")
IGNORED_BODY = payload("collection.created")
DRIFTED_BODY = b'{"event_type":"sync.completed","sync_job_id":"not a UUID"}'
KEY = Key("default", "", "msg_1")


class BrokenStore(MemoryStore):
    """Cannot be reached while `broken` is set."""

    broken = False

    async def claim(self, claims: Sequence[Claim]) -> list[Claimed]:
        if self.broken:
            raise StoreUnavailable("the store is away")
        return await super().claim(claims)


@dataclass
class World:
    """A receiver with one handler, whose behaviour a row of the table chooses."""

    receiver: Receiver
    store: BrokenStore
    behaviour: Callable[[], Awaitable[None]] | None = None
    handled: list[str] = field(default_factory=list)
    hold: asyncio.Event = field(default_factory=asyncio.Event)

    async def send(self, body: bytes = BODY, *, tenant: str | None = None, **signing: Any) -> Reply:
        return await self.receiver.handle(sign(body, **signing), body, tenant)

    async def record(self) -> Record | None:
        (record,) = await self.store.get([KEY])
        return record

    @contextlib.asynccontextmanager
    async def one_under_way(self) -> AsyncIterator[None]:
        """While a first attempt is in its handler."""

        async def wait() -> None:
            await self.hold.wait()

        self.behaviour = wait
        first = asyncio.create_task(self.send())
        while not self.handled:
            await asyncio.sleep(0.001)
        yield
        self.hold.set()
        await first

    async def put(self, state: str, *, body: bytes | None = None, lease_left: float = 60) -> None:
        """Lay a record into the store, as another process or mode may have."""
        claim = Claim(KEY, "msg_1", digest(BODY), b"someone else's", Facts("sync.completed"), lease_left)
        await self.store.claim([claim])
        record = self.store._find(KEY)
        assert record is not None
        record.state = state  # type: ignore[assignment]
        record.body = body
        record.due_at = time.time() + 3600 if state == "pending" else None


def digest(body: bytes) -> bytes:
    import hashlib

    return hashlib.sha256(body).digest()


@pytest.fixture
async def world() -> AsyncIterator[World]:
    store = BrokenStore()
    mode = Inline(answer_within=0.3, shutdown_grace=0.1, most_in_flight=3)
    receiver = Receiver(secrets=SECRET, store=store, mode=mode, body_limits=BodyLimits(most_bytes=10_000))
    world = World(receiver, store)

    @receiver.on("sync.*")
    async def handler(event: SyncEvent, delivery: Delivery) -> None:
        world.handled.append(delivery.id)
        if world.behaviour is not None:
            await world.behaviour()

    async with receiver:
        yield world
        world.hold.set()


def raising(error: Exception) -> Callable[[], Awaitable[None]]:
    async def behave() -> None:
        raise error

    return behave


# What is found, each as a function of the world that sends the request in question.


async def missing_headers(w: World) -> Reply:
    return await w.receiver.handle({"content-type": "application/json"}, BODY)


async def mixed_headers(w: World) -> Reply:
    return await w.receiver.handle(sign(BODY) | sign(BODY, family="webhook"), BODY)


async def repeated_headers(w: World) -> Reply:
    return await w.receiver.handle([*sign(BODY).items(), ("svix-id", "msg_1")], BODY)


async def malformed_timestamp(w: World) -> Reply:
    return await w.receiver.handle(sign(BODY) | {"svix-timestamp": "1.7e9"}, BODY)


async def bad_signature(w: World) -> Reply:
    return await w.receiver.handle(sign(BODY, secret=OTHER_SECRET), BODY)


async def tampered_body(w: World) -> Reply:
    return await w.receiver.handle(sign(BODY), BODY.replace(b"42", b"43"))


async def stale(w: World) -> Reply:
    return await w.send(at=time.time() - 400)


async def from_the_future(w: World) -> Reply:
    return await w.send(at=time.time() + 400)


async def unknown_tenant(w: World) -> Reply:
    receiver = Receiver(name="tenants", secrets=lambda tenant: SECRET if tenant == "acme" else None, store=w.store)
    async with receiver:
        return await receiver.handle(sign(BODY), BODY, "nobody")


async def body_too_large(w: World) -> Reply:
    return await w.send(b'{"x":"' + b"x" * 10_000 + b'"}')


async def not_json(w: World) -> Reply:
    return await w.send(b"<xml/>")


async def not_an_object(w: World) -> Reply:
    return await w.send(b"[1,2]")


async def new_and_handled(w: World) -> Reply:
    return await w.send()


async def other_header_family(w: World) -> Reply:
    return await w.send(family="webhook")


async def no_handler(w: World) -> Reply:
    return await w.send(IGNORED_BODY)


async def unknown_type(w: World) -> Reply:
    return await w.send(b'{"event_type":"sync.dreamt"}')


async def done_before(w: World) -> Reply:
    await w.send()
    return await w.send()


async def ignored_before(w: World) -> Reply:
    await w.send(IGNORED_BODY)
    return await w.send(IGNORED_BODY)


async def leased_elsewhere(w: World) -> Reply:
    async with w.one_under_way():
        return await w.send()


async def pending_with_body(w: World) -> Reply:
    await w.put("pending", body=BODY)
    return await w.send()


async def leased_with_body(w: World) -> Reply:
    await w.put("leased", body=BODY)
    return await w.send()


async def queued_with_body(w: World) -> Reply:
    await w.put("queued", body=BODY)
    return await w.send()


async def dead_with_body(w: World) -> Reply:
    await w.put("dead", body=BODY)
    return await w.send()


async def drifted_while_a_handler_waits(w: World) -> Reply:
    return await w.send(DRIFTED_BODY)


async def pending_without_body(w: World) -> Reply:
    await w.put("pending")
    return await w.send()


async def dead_without_body(w: World) -> Reply:
    await w.put("dead")
    return await w.send()


async def lease_ran_out(w: World) -> Reply:
    await w.put("leased", lease_left=-1)
    return await w.send()


async def same_id_other_body(w: World) -> Reply:
    await w.send()
    return await w.send(BODY.replace(b"42", b"43"))


async def handler_fails(w: World) -> Reply:
    w.behaviour = raising(RuntimeError("no"))
    return await w.send()


async def handler_asks_for_a_retry(w: World) -> Reply:
    w.behaviour = raising(Retry(after=33))
    return await w.send()


async def handler_rejects(w: World) -> Reply:
    w.behaviour = raising(Reject("never"))
    return await w.send()


async def handler_still_runs_at_the_deadline(w: World) -> Reply:
    w.behaviour = w.hold.wait  # type: ignore[assignment]
    return await w.send()


async def the_retry_collects_the_result(w: World) -> Reply:
    await handler_still_runs_at_the_deadline(w)
    w.hold.set()
    async with asyncio.timeout(30):
        while (record := await w.record()) is None or record.state != "done":
            await asyncio.sleep(0.001)
    return await w.send()


async def store_unreachable(w: World) -> Reply:
    w.store.broken = True
    return await w.send()


async def too_many_in_flight(w: World) -> Reply:
    w.behaviour = w.hold.wait  # type: ignore[assignment]
    others = [asyncio.create_task(w.send(message_id=f"msg_{n}")) for n in range(2, 5)]
    while len(w.handled) < 3:
        await asyncio.sleep(0.001)
    reply = await w.send()
    w.hold.set()
    await asyncio.gather(*others)
    return reply


async def shutting_down(w: World) -> Reply:
    async with w.one_under_way():
        closing = asyncio.create_task(w.receiver.__aexit__())
        await asyncio.sleep(0.01)
        reply = await w.send(message_id="msg_2")
        w.hold.set()
        await closing
        await w.receiver.__aenter__()
        return reply


async def secret_lookup_failed(w: World) -> Reply:
    def lookup() -> str:
        raise OSError("vault is sealed")

    receiver = Receiver(name="vault", secrets=lookup, store=w.store)
    async with receiver:
        return await receiver.handle(sign(BODY), BODY)


@pytest.mark.parametrize(
    ("found", "status", "outcome", "retry_after", "handled", "state"),
    [
        # Found                              Answer                       Retry-After  handled  record
        (missing_headers,                    400, "malformed",            False,       0,       None),
        (mixed_headers,                      400, "malformed",            False,       0,       None),
        (repeated_headers,                   400, "malformed",            False,       0,       None),
        (malformed_timestamp,                400, "malformed",            False,       0,       None),
        (bad_signature,                      401, "unauthorized",         False,       0,       None),
        (tampered_body,                      401, "unauthorized",         False,       0,       None),
        (stale,                              401, "unauthorized",         False,       0,       None),
        (from_the_future,                    401, "unauthorized",         False,       0,       None),
        (unknown_tenant,                     401, "unauthorized",         False,       0,       None),
        (body_too_large,                     413, "too_large",            False,       0,       None),
        (not_json,                           400, "invalid",              False,       0,       None),
        (not_an_object,                      400, "invalid",              False,       0,       None),
        (new_and_handled,                    200, "processed",            False,       1,       "done"),
        (other_header_family,                200, "processed",            False,       1,       "done"),
        (no_handler,                         200, "ignored",              False,       0,       "done"),
        (unknown_type,                       200, "ignored",              False,       0,       "done"),
        (done_before,                        200, "duplicate",            False,       1,       "done"),
        (ignored_before,                     200, "duplicate",            False,       0,       "done"),
        (leased_elsewhere,                   409, "in_progress",          True,        1,       "done"),
        (pending_with_body,                  200, "accepted",             False,       0,       "pending"),
        (leased_with_body,                   200, "accepted",             False,       0,       "leased"),
        (queued_with_body,                   200, "accepted",             False,       0,       "queued"),
        (dead_with_body,                     200, "accepted",             False,       0,       "dead"),
        (drifted_while_a_handler_waits,      200, "accepted",             False,       0,       "dead"),
        (pending_without_body,               200, "processed",            False,       1,       "done"),
        (dead_without_body,                  200, "processed",            False,       1,       "done"),
        (lease_ran_out,                      200, "processed",            False,       1,       "done"),
        (same_id_other_body,                 409, "conflict",             False,       1,       "done"),
        (handler_fails,                      500, "failed",               False,       1,       "pending"),
        (handler_asks_for_a_retry,           503, "retry",                True,        1,       "pending"),
        (handler_rejects,                    200, "rejected",             False,       1,       "dead"),
        (handler_still_runs_at_the_deadline, 503, "still_running",        True,        1,       "leased"),
        (the_retry_collects_the_result,      200, "duplicate",            False,       1,       "done"),
        (store_unreachable,                  503, "unavailable",          True,        0,       None),
        (too_many_in_flight,                 503, "unavailable",          True,        3,       None),
        (shutting_down,                      503, "unavailable",          True,        1,       "done"),
        (secret_lookup_failed,               503, "unavailable",          True,        0,       None),
    ],
    ids=lambda value: value.__name__ if callable(value) else "",
)  # fmt: skip
async def test_answer(
    world: World,
    found: Callable[[World], Awaitable[Reply]],
    status: int,
    outcome: str,
    retry_after: bool,
    handled: int,
    state: str | None,
) -> None:
    """Each row of the table, with what it leaves in the store and how often the handler ran."""
    reply = await found(world)
    assert (reply.status, reply.outcome) == (status, outcome)
    assert (reply.retry_after is not None) is retry_after
    assert reply.body == b'{"status":"%s"}' % outcome.encode()
    assert reply.headers.get("retry-after") == (str(reply.retry_after) if retry_after else None)
    record = await world.record()
    assert (record and record.state) == state
    assert len(world.handled) == handled
