"""Dependencies: how they are made, where, in which order, and how they end."""

import asyncio
import functools
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any, Final

import pytest

from airweave_webhooks import Delivery, Event, Router, SyncCompleted
from airweave_webhooks.errors import RoutingError
from airweave_webhooks.events import parse
from airweave_webhooks.testing.payloads import payload
from airweave_webhooks.threads import run_in_thread

pytestmark = pytest.mark.anyio

BODY: Final = payload("sync.completed")
EVENT: Final = parse(BODY)
DELIVERY: Final = Delivery("msg_1", 1_800_000_000, None, [], BODY, EVENT, "default", "msg_1")


class Pool(str):
    """One dependency."""

    __slots__ = ()


class Session(str):
    """Another, which usually needs the first."""

    __slots__ = ()


async def call(router: Router) -> Any:
    """Run the only handler of a completed sync: what it returns, or raises."""
    slots = asyncio.Semaphore(1)
    (handler,) = router.table.match(EVENT).handlers
    return await handler.call(DELIVERY, lambda work: run_in_thread(work, slots))


def sync_factory() -> Pool:
    return Pool(threading.get_ident())


async def async_factory() -> Pool:
    return Pool(threading.get_ident())


def sync_generator() -> Iterator[Pool]:
    yield Pool(threading.get_ident())


async def async_generator() -> AsyncIterator[Pool]:
    yield Pool(threading.get_ident())


class Factories:
    """Factories that are no plain functions."""

    def __call__(self) -> Iterator[Pool]:
        yield Pool(threading.get_ident())

    async def method(self) -> Pool:
        return Pool(threading.get_ident())


SYNC: Final = [
    sync_factory,
    sync_generator,
    Factories(),
    functools.partial(sync_generator),
    lambda: Pool(threading.get_ident()),
]
ASYNC: Final = [async_factory, async_generator, Factories().method, functools.partial(async_generator)]


@pytest.mark.parametrize("factory", [*SYNC, *ASYNC])
async def test_an_async_handler_gets_all_from_the_loop(factory: Callable[..., Any]) -> None:
    """Every kind of factory runs on the event loop for a handler that does."""
    router = Router()
    router.provide(Pool, factory)

    @router.on("sync.completed")
    async def handler(pool: Pool) -> object:
        return pool, threading.get_ident()

    here = threading.get_ident()
    assert await call(router) == (str(here), here)


@pytest.mark.parametrize("factory", SYNC)
async def test_a_sync_handler_shares_its_thread_with_sync_factories(factory: Callable[..., Any]) -> None:
    """What a sync factory makes can be bound to a thread: the handler is in the same one."""
    router = Router()
    router.provide(Pool, factory)

    @router.on("sync.completed")
    def handler(pool: Pool) -> object:
        return pool == str(threading.get_ident()) != str(loop_thread)

    loop_thread = threading.get_ident()
    assert await call(router) is True


@pytest.mark.parametrize("factory", ASYNC)
async def test_a_sync_handler_gets_async_factories_from_the_loop(factory: Callable[..., Any]) -> None:
    """Async factories run on the event loop, whatever the handler."""
    router = Router()
    router.provide(Pool, factory)

    @router.on("sync.completed")
    def handler(pool: Pool) -> object:
        return pool, threading.get_ident() == loop_thread

    loop_thread = threading.get_ident()
    assert await call(router) == (str(loop_thread), False)


@pytest.mark.parametrize("factory", SYNC)
async def test_what_an_async_factory_needs_is_made_on_the_loop(factory: Callable[..., Any]) -> None:
    """A sync factory below an async one cannot wait for the thread."""
    router = Router()
    router.provide(Pool, factory)
    router.provide(Session, _session_of)

    @router.on("sync.completed")
    def handler(pool: Pool, session: Session) -> object:
        return {pool, session} == {str(loop_thread)}

    loop_thread = threading.get_ident()
    assert await call(router) is True


async def _session_of(pool: Pool) -> Session:
    return Session(pool)


async def test_factories_get_events_and_deliveries_too() -> None:
    """A factory's parameters are filled like a handler's, by annotation and of any kind."""
    router = Router()

    def pool(event: Event, /, *, delivery: Delivery, size: int = 3) -> Pool:
        return Pool(f"{event.event_type} {delivery.id} {size}")

    async def session(pool: Pool) -> Session:
        return Session(f"session of {pool}")

    router.provide(Session, session)  # before what it needs
    router.provide(Pool, pool)

    @router.on("sync.completed")
    async def handler(session: Session) -> str:
        return session

    assert await call(router) == "session of sync.completed msg_1 3"


async def test_a_class_is_a_factory() -> None:
    """A class makes its instances, with its constructor's parameters filled."""

    class Repository:
        def __init__(self, delivery: Delivery, pool: Pool) -> None:
            self.made_of = (delivery, pool)

    router = Router()
    router.provide(Pool, lambda: Pool("pool"))
    router.provide(Repository, Repository)

    async def handler(repository: Any) -> object:
        return repository.made_of

    handler.__annotations__["repository"] = Repository
    router.on("sync.completed")(handler)
    assert await call(router) == (DELIVERY, "pool")


class Sender:
    """Makes nothing unusual; that its instances can be awaited is their own affair."""

    async def __call__(self) -> None: ...


async def test_a_class_with_async_instances_is_a_sync_factory() -> None:
    """Calling the class makes an instance; calling the instance is left to the handler."""
    router = Router()
    router.provide(Sender, Sender)

    @router.on("sync.completed")
    async def handler(sender: Sender) -> object:
        return sender

    assert isinstance(await call(router), Sender)


async def test_a_dependency_is_made_once_for_a_handler_and_anew_for_the_next() -> None:
    """Two paths to one dependency share it within a handler; handlers and deliveries share nothing."""
    router = Router()
    made: list[str] = []

    def pool() -> Pool:
        made.append(f"pool {len(made)}")
        return Pool(made[-1])

    router.provide(Pool, pool)
    router.provide(Session, _session_of)

    @router.on("sync.completed")
    async def handler(session: Session, pool: Pool) -> object:
        return session, pool

    assert [await call(router), await call(router)] == [("pool 0", "pool 0"), ("pool 1", "pool 1")]
    assert made == ["pool 0", "pool 1"]


async def test_what_nobody_asks_for_is_not_made() -> None:
    """A provider costs nothing where no handler uses it."""
    router = Router()
    router.provide(Pool, lambda: pytest.fail("not asked for"))
    router.on("sync.completed")(lambda: "done")
    assert await call(router) == "done"


def test_a_circle_of_dependencies_is_refused() -> None:
    """The message spells the whole circle."""
    router = Router()

    def pool(session: Session) -> Pool:
        return Pool(session)

    router.provide(Pool, pool)
    router.provide(Session, _session_of)
    router.on("sync.completed", id="handler")(_takes_session)
    with pytest.raises(
        RoutingError, match="handler handler: its dependencies form a circle: Session -> Pool -> Session"
    ):
        _ = router.table


async def _takes_session(session: Session) -> str:
    return session


def test_a_dependency_of_a_dependency_can_be_missing() -> None:
    """The message names the handler that would need it."""
    router = Router()
    router.provide(Session, _session_of)
    router.on("sync.completed", id="handler")(_takes_session)
    with pytest.raises(RoutingError, match="handler handler: nothing provides the parameter 'pool' of type Pool"):
        _ = router.table


def test_a_type_is_provided_once() -> None:
    """A second factory for a type is refused, and the first stays."""
    router = Router()
    router.provide(Pool, sync_factory)
    with pytest.raises(RoutingError, match=r"it has one already; override\(\) replaces it for a while"):
        router.provide(Pool, async_factory)


@pytest.mark.parametrize("ours", [Delivery, Event, SyncCompleted])
def test_what_we_fill_ourselves_cannot_be_provided(ours: type) -> None:
    """A factory of events or deliveries would never run, so it is refused."""
    with pytest.raises(RoutingError):
        Router().provide(ours, lambda: None)


def test_a_factory_is_read_when_it_is_provided() -> None:
    """A factory whose parameters cannot be filled is refused at once, as a handler is."""

    def pool(size) -> Pool:  # type: ignore[no-untyped-def]
        return Pool(size)

    with pytest.raises(RoutingError, match=r"the factory of .*Pool.*: the parameter 'size' has no annotation"):
        Router().provide(Pool, pool)


async def test_an_included_router_finds_its_own_providers_first() -> None:
    """What a router provides is for its handlers; what it lacks comes from whoever includes it."""
    root, leaf = Router(), Router()
    root.provide(Pool, lambda: Pool("root's"))
    root.provide(Session, lambda: Session("root's"))
    leaf.provide(Pool, lambda: Pool("leaf's"))
    root.include(leaf)

    @leaf.on("sync.completed")
    async def handler(pool: Pool, session: Session) -> object:
        return pool, session

    assert await call(root) == ("leaf's", "root's")
    with pytest.raises(RoutingError, match="nothing provides the parameter 'session'"):
        _ = leaf.table


async def test_override_replaces_a_factory_for_a_while() -> None:
    """Within the block, and within an inner one, the other factory is used; after it the first, also after errors."""
    router = Router()
    router.provide(Session, lambda: Session("real"))
    router.on("sync.completed")(_takes_session)
    with pytest.raises(LookupError), router.override(Session, lambda: Session("fake")):
        assert await call(router) == "fake"
        with router.override(Session, lambda: Session("inner")):
            assert await call(router) == "inner"
        assert await call(router) == "fake"
        raise LookupError
    assert await call(router) == "real"


async def test_override_reaches_included_routers() -> None:
    """An override beats the providers of routers below, and their overrides; one below reaches whoever includes it."""
    root, middle, leaf = Router(), Router(), Router()
    root.include(middle)
    middle.include(leaf)
    leaf.provide(Session, lambda: Session("leaf's"))
    leaf.on("sync.completed")(_takes_session)
    assert await call(root) == "leaf's"
    with leaf.override(Session, lambda: Session("below")):
        assert await call(root) == "below"
        with root.override(Session, lambda: Session("above")):
            assert await call(root) == "above"
            assert await call(leaf) == "below"
    assert await call(root) == "leaf's"


async def test_override_fills_what_nothing_provides() -> None:
    """A test can do without the real factory, and an override can have dependencies and an end of its own."""
    router = Router()
    ended: list[Session] = []

    async def session(pool: Pool) -> AsyncIterator[Session]:
        yield Session(pool)
        ended.append(Session(pool))

    router.on("sync.completed")(_takes_session)
    with router.override(Session, session), router.override(Pool, lambda: Pool("fake")):
        assert await call(router) == "fake"
    assert ended == ["fake"]
