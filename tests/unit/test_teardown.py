"""How dependencies end: in reverse, before the settle, and never turning a failure into a success."""

import asyncio
import functools
import threading
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from typing import Any, Final

import pytest

from airweave_webhooks import Delivery, MemoryStore, Receiver, Retry, Router, SyncCompleted
from airweave_webhooks.events import parse
from airweave_webhooks.stores.base import Settle
from airweave_webhooks.testing.payloads import payload
from airweave_webhooks.threads import run_in_thread
from conftest import SECRET, sign

pytestmark = pytest.mark.anyio

BODY: Final = payload("sync.completed")
EVENT: Final = parse(BODY)
DELIVERY: Final = Delivery("msg_1", 1_800_000_000, None, [], BODY, EVENT, "default", "msg_1")


class Pool:
    """One dependency."""


class Session:
    """Another, which needs the first."""


class Writer(MemoryStore):
    """Notes when a delivery is settled."""

    def __init__(self, log: list[str]) -> None:
        super().__init__()
        self.log = log

    async def settle(self, settles: Sequence[Settle]) -> list[bool]:
        self.log += [f"settled {wish.state}" for wish in settles]
        return await super().settle(settles)


def spoken(log: list[str], kind: str) -> tuple[Callable[..., Any], Callable[..., Any]]:
    """Factories of a pool and of a session that needs it, which note their beginnings and ends."""

    def pool() -> Iterator[Pool]:
        log.append("pool begins")
        yield Pool()
        log.append("pool ends")

    def session(pool: Pool) -> Iterator[Session]:
        log.append("session begins")
        yield Session()
        log.append("session ends")

    async def async_pool() -> AsyncIterator[Pool]:
        for _ in pool():
            yield _

    async def async_session(pool: Pool) -> AsyncIterator[Session]:
        for _ in session(pool):
            yield _

    return {
        "sync": (pool, session),
        "async": (async_pool, async_session),
        "async below sync": (async_pool, session),
        "sync below async": (pool, async_session),
    }[kind]


async def deliver(receiver: Receiver, message_id: str = "msg_1") -> str:
    """Send one `sync.completed`: the answer's outcome."""
    async with receiver:
        return (await receiver.handle(sign(BODY, message_id=message_id), BODY)).outcome


def sync_or_async(do: Callable[[], object], *, is_async: bool) -> Callable[..., Any]:
    """A handler of either kind that needs a session."""

    async def async_handler(event: SyncCompleted, session: Session) -> object:
        return do()

    def handler(event: SyncCompleted, session: Session) -> object:
        return do()

    return async_handler if is_async else handler


@pytest.mark.parametrize("is_async", [False, True])
@pytest.mark.parametrize("kind", ["sync", "async", "async below sync", "sync below async"])
async def test_dependencies_end_in_reverse_and_before_the_settle(kind: str, is_async: bool) -> None:
    """A session that commits at its end has done so when the delivery counts as done."""
    log: list[str] = []
    pool, session = spoken(log, kind)
    receiver = Receiver(secrets=SECRET, store=Writer(log))
    receiver.provide(Pool, pool)
    receiver.provide(Session, session)
    receiver.on("sync.completed")(sync_or_async(lambda: log.append("handled"), is_async=is_async))
    assert await deliver(receiver) == "processed"
    assert log == [
        "pool begins",
        "session begins",
        "handled",
        "session ends",
        "pool ends",
        "settled done",
    ]


def raising_at_the_end() -> Iterator[Session]:
    yield Session()
    raise ConnectionError("cannot commit")


async def async_raising_at_the_end() -> AsyncIterator[Session]:
    yield Session()
    raise ConnectionError("cannot commit")


@pytest.mark.parametrize("is_async", [False, True])
@pytest.mark.parametrize("factory", [raising_at_the_end, async_raising_at_the_end])
async def test_a_teardown_that_raises_fails_the_handler(
    factory: Callable[..., Any], is_async: bool, caplog: pytest.LogCaptureFixture
) -> None:
    """A commit that fails is no success: the delivery stays open, and the sender comes again."""
    log: list[str] = []
    receiver = Receiver(secrets=SECRET, store=Writer(log))
    receiver.provide(Session, factory)
    receiver.on("sync.completed")(sync_or_async(lambda: None, is_async=is_async))
    assert await deliver(receiver) == "failed"
    assert log == ["settled pending"]
    assert "cannot commit" in caplog.text


async def call(router: Router) -> Any:
    """Run the only handler of a completed sync: what it returns, or raises."""
    slots = asyncio.Semaphore(1)
    (handler,) = router.table.match(EVENT).handlers
    return await handler.call(DELIVERY, lambda work: run_in_thread(work, slots))


def fail() -> None:
    raise LookupError("the handler's")


@pytest.mark.parametrize("is_async", [False, True])
@pytest.mark.parametrize("kind", ["sync", "async"])
async def test_a_dependency_sees_the_handlers_error(kind: str, is_async: bool) -> None:
    """What the handler raises comes out of the `yield`, so that a session rolls back."""
    seen: list[str] = []

    def session() -> Iterator[Session]:
        try:
            yield Session()
        except LookupError as error:
            seen.append(f"rolled back: {error}")
            raise

    async def async_session() -> AsyncIterator[Session]:
        try:
            yield Session()
        except LookupError as error:
            seen.append(f"rolled back: {error}")
            raise

    router = Router()
    router.provide(Session, session if kind == "sync" else async_session)
    router.on("sync.completed")(sync_or_async(fail, is_async=is_async))
    with pytest.raises(LookupError, match="the handler's"):
        await call(router)
    assert seen == ["rolled back: the handler's"]


def swallowing() -> Iterator[Session]:
    try:
        yield Session()
    except BaseException:
        return


async def async_swallowing() -> AsyncIterator[Session]:
    try:
        yield Session()
    except BaseException:
        return


@pytest.mark.parametrize("is_async", [False, True])
@pytest.mark.parametrize("factory", [swallowing, async_swallowing])
async def test_a_dependency_that_swallows_the_error_makes_no_success(
    factory: Callable[..., Any], is_async: bool
) -> None:
    """A handler that failed has failed, whatever its dependencies make of it."""
    router = Router()
    router.provide(Session, factory)
    router.on("sync.completed")(sync_or_async(fail, is_async=is_async))
    with pytest.raises(LookupError, match="the handler's"):
        await call(router)


@pytest.mark.parametrize("factory", [swallowing, async_swallowing])
async def test_a_swallowed_failure_leaves_the_delivery_open(factory: Callable[..., Any]) -> None:
    """The sender is told of it, and the record waits for the next attempt."""
    log: list[str] = []
    receiver = Receiver(secrets=SECRET, store=Writer(log))
    receiver.provide(Session, factory)
    receiver.on("sync.completed")(sync_or_async(fail, is_async=True))
    assert await deliver(receiver) == "failed"
    assert log == ["settled pending"]


@pytest.mark.parametrize("is_async", [False, True])
@pytest.mark.parametrize("factory", [swallowing, async_swallowing])
async def test_a_verdict_passes_through_dependencies(factory: Callable[..., Any], is_async: bool) -> None:
    """`Retry` reaches the sender with its seconds, also past a dependency that swallows everything."""

    def later() -> None:
        raise Retry("rate limit", after=7)

    receiver = Receiver(secrets=SECRET)
    receiver.provide(Session, factory)
    receiver.on("sync.completed")(sync_or_async(later, is_async=is_async))
    async with receiver:
        reply = await receiver.handle(sign(BODY), BODY)
    assert (reply.status, reply.retry_after) == (503, 7)


@pytest.mark.parametrize("is_async", [False, True])
@pytest.mark.parametrize("kind", ["sync", "async"])
async def test_a_factory_that_fails_ends_what_was_made_before(kind: str, is_async: bool) -> None:
    """The handler does not run, its failure is the factory's, and the pool below is given back."""
    log: list[str] = []

    def pool() -> Iterator[Pool]:
        try:
            yield Pool()
        finally:
            log.append("pool ends")

    def session(pool: Pool) -> Iterator[Session]:
        yield connect()

    async def async_session(pool: Pool) -> Session:
        return connect()

    def connect() -> Session:
        raise ConnectionError("refused")

    router = Router()
    router.provide(Pool, pool)
    router.provide(Session, session if kind == "sync" else async_session)
    router.on("sync.completed")(sync_or_async(lambda: log.append("handled"), is_async=is_async))
    with pytest.raises(ConnectionError, match="refused"):
        await call(router)
    assert log == ["pool ends"]


def passing_on(function: Callable[..., Any]) -> Callable[..., Any]:
    """A decorator that is sync, whatever it wraps."""

    @functools.wraps(function)
    def wrapper(*args: Any, **kwargs: Any) -> Any:
        return function(*args, **kwargs)

    return wrapper


@pytest.mark.parametrize("kind", ["sync", "async"])
async def test_dependencies_outlive_a_coroutine_that_a_plain_function_returns(kind: str) -> None:
    """An async handler under a sync decorator is done when its coroutine is, and its session ends after that."""
    log: list[str] = []
    pool, session = spoken(log, kind)
    router = Router()
    router.provide(Pool, pool)
    router.provide(Session, session)

    @router.on("sync.completed")
    @passing_on
    async def handler(session: Session) -> None:
        log.append("handled")

    await call(router)
    assert log[2:] == ["handled", "session ends", "pool ends"]


async def test_dependencies_outlive_a_thread_whose_caller_was_cancelled() -> None:
    """A thread cannot be cancelled: what it uses must not end under its hands."""
    log: list[str] = []
    started, go_on = threading.Event(), threading.Event()

    async def session() -> AsyncIterator[Session]:
        try:
            yield Session()
        finally:
            log.append("session ends")

    def work() -> None:
        started.set()
        go_on.wait(5)
        log.append("handled")

    router = Router()
    router.provide(Session, session)
    router.on("sync.completed")(sync_or_async(work, is_async=False))
    task = asyncio.create_task(call(router))
    while not started.is_set():
        await asyncio.sleep(0.001)
    task.cancel()
    await asyncio.wait([task], timeout=0.1)
    go_on.set()
    await asyncio.wait([task])
    while "handled" not in log:
        await asyncio.sleep(0.001)
    assert log[0] == "handled"
