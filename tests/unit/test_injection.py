"""What handlers are called with, and what can be a handler."""

import asyncio
import contextvars
import functools
import threading
from collections.abc import Awaitable, Callable
from typing import Annotated, Any, Final

import pytest

from airweave_webhooks import Delivery, Event, Receiver, Reply, Router, SyncCompleted, SyncEvent, SyncFailed
from airweave_webhooks.errors import RoutingError
from airweave_webhooks.events import parse
from airweave_webhooks.testing.payloads import payload
from airweave_webhooks.threads import run_in_thread
from conftest import SECRET, sign

pytestmark = pytest.mark.anyio

BODY: Final = payload("sync.completed")
EVENT: Final = parse(BODY)
DELIVERY: Final = Delivery("msg_1", 1_800_000_000, None, [], BODY, EVENT, "default", "msg_1")


class Client:
    """What handlers ask for."""

    def __init__(self, name: str) -> None:
        self.name = name


async def call(router: Router) -> Any:
    """Run the only handler of a completed sync: what it returns, or raises."""
    slots = asyncio.Semaphore(1)
    (handler,) = router.table.match(EVENT).handlers
    return await handler.call(DELIVERY, lambda work: run_in_thread(work, slots))


async def call_with(function: Callable[..., Any], **clients: str) -> Any:
    """Run `function` as a handler, with `Client`s to be had by annotation."""
    router = Router()
    router.on("sync.completed")(function)
    for key, name in clients.items():
        router.provide(Client if key == "client" else Annotated[Client, key], functools.partial(Client, name))
    return await call(router)


async def nothing() -> object:
    return ()


async def event_alone(event: SyncCompleted) -> object:
    return (event,)


async def keyword_event(*, event: SyncCompleted) -> object:
    return (event,)


async def positional_event(event: SyncCompleted, /) -> object:
    return (event,)


async def base_event(event: Event) -> object:
    return (event,)


async def one_of_two(event: SyncFailed | SyncCompleted) -> object:
    return (event,)


async def delivery_alone(delivery: Delivery) -> object:
    return (delivery,)


async def event_first(event: SyncEvent, delivery: Delivery) -> object:
    return (event, delivery)


async def delivery_first(delivery: Delivery, event: SyncEvent) -> object:
    return (delivery, event)


async def all_kinds(delivery: Delivery, /, event: SyncCompleted, *, again: SyncEvent) -> object:
    return (delivery, event, again)


async def spelt(event: "SyncCompleted", delivery: "Delivery") -> object:
    return (event, delivery)


async def with_defaults(  # type: ignore[no-untyped-def]
    event: SyncCompleted, factor: int = 7, plain=8, *rest: int, key: str = "9", **more: str
) -> object:
    return (event, factor, plain, rest, key, more)


SHAPES: Final[list[tuple[Callable[..., Any], tuple[object, ...]]]] = [
    (nothing, ()),
    (event_alone, (EVENT,)),
    (keyword_event, (EVENT,)),
    (positional_event, (EVENT,)),
    (base_event, (EVENT,)),
    (one_of_two, (EVENT,)),
    (delivery_alone, (DELIVERY,)),
    (event_first, (EVENT, DELIVERY)),
    (delivery_first, (DELIVERY, EVENT)),
    (all_kinds, (DELIVERY, EVENT, EVENT)),
    (spelt, (EVENT, DELIVERY)),
    (with_defaults, (EVENT, 7, 8, (), "9", {})),
]


@pytest.mark.parametrize(("function", "expected"), SHAPES)
async def test_parameters_are_filled_by_annotation(function: Callable[..., Any], expected: tuple[Any, ...]) -> None:
    """Events and deliveries go wherever they are asked for; what has a default and no provider keeps it."""
    assert await call_with(function) == expected


@pytest.mark.parametrize(("function", "expected"), SHAPES)
async def test_parameters_of_plain_functions_are_filled_too(
    function: Callable[..., Awaitable[Any]], expected: tuple[Any, ...]
) -> None:
    """A sync handler of the same shape gets the same arguments, in a thread."""
    threads: list[int] = []

    @functools.wraps(function)
    def plain(*args: Any, **kwargs: Any) -> Any:
        threads.append(threading.get_ident())
        return function(*args, **kwargs)

    assert await call_with(plain) == expected
    assert threads != [threading.get_ident()]


async def test_dependencies_go_into_every_kind_of_parameter() -> None:
    """Positional-only, plain and keyword-only parameters take what is provided, defaults included."""

    async def handler(
        first: Client,
        delivery: Delivery,
        /,
        event: SyncCompleted,
        second: Annotated[Client, "second"],
        *,
        third: Annotated[Client, "third"] | None = None,
        fourth: Annotated[Client, "fourth"] = Client("default"),  # noqa: B008
    ) -> list[object]:
        return [first.name, delivery, event, second.name, third, fourth.name]

    assert await call_with(handler, client="1", second="2", third="3", fourth="4") == [
        "1",
        DELIVERY,
        EVENT,
        "2",
        None,
        "4",
    ]


async def test_annotated_tells_equal_types_apart() -> None:
    """`Annotated` types with other words are other dependencies, and none of them is the bare type."""

    async def handler(
        read: Annotated[Client, "read"], bare: Client, write: Annotated[Client, "write"]
    ) -> tuple[str, str, str]:
        return read.name, bare.name, write.name

    assert await call_with(handler, client="bare", read="reader", write="writer") == ("reader", "bare", "writer")


async def test_a_bare_provider_does_not_fill_an_annotated_parameter() -> None:
    """Who asks for the annotated type does not silently get the other one."""

    async def handler(client: Annotated[Client, "write"]) -> None: ...

    with pytest.raises(RoutingError, match=r"nothing provides the parameter 'client' of type Annotated\["):
        await call_with(handler, client="bare")


async def test_a_missing_provider_shows_at_opening() -> None:
    """Opening the receiver names the handler, the parameter and the remedy; the remedy works."""
    receiver = Receiver(secrets=SECRET)

    @receiver.on("sync.completed")
    async def handler(event: SyncCompleted, client: Client) -> None: ...

    with pytest.raises(RoutingError) as caught:
        await receiver.__aenter__()
    assert str(caught.value) == (
        f"handler {__name__}.test_a_missing_provider_shows_at_opening.<locals>.handler: nothing provides the parameter"
        " 'client' of type Client; register how to make one with provide(Client, factory)"
    )
    receiver.provide(Client, lambda: Client("late"))
    async with receiver:
        assert (await receiver.handle(sign(BODY), BODY)).outcome == "processed"


class Handler:
    """Handlers that are no plain functions."""

    factor = 10

    def __call__(self, event: SyncCompleted, client: Client) -> object:
        return event, client.name, self.factor

    def method(self, event: SyncCompleted, client: Client) -> object:
        return self(event, client)

    async def async_method(self, event: SyncCompleted, client: Client) -> object:
        return self(event, client)

    @classmethod
    def class_method(cls, event: SyncCompleted, client: Client) -> object:
        return event, client.name, cls.factor

    @staticmethod
    async def static_method(event: SyncCompleted, client: Client) -> object:
        return event, client.name, 10


class AsyncHandler(Handler):
    """Can be awaited."""

    async def __call__(self, event: SyncCompleted, client: Client) -> object:
        return event, client.name, self.factor


async def scaled(factor: int, event: SyncCompleted, client: Client) -> object:
    return event, client.name, factor


def traced(function: Callable[..., Any]) -> Callable[..., Any]:
    """A decorator as most are written: sync, whatever it wraps."""

    @functools.wraps(function)
    def wrapper(*args: Any, **kwargs: Any) -> Any:
        return function(*args, **kwargs)

    return wrapper


def awaited(function: Callable[..., Awaitable[Any]]) -> Callable[..., Any]:
    """A decorator that knows what it wraps."""

    @functools.wraps(function)
    async def wrapper(*args: Any, **kwargs: Any) -> Any:
        return await function(*args, **kwargs)

    return wrapper


@pytest.mark.parametrize(
    "function",
    [
        Handler(),
        Handler().method,
        Handler().async_method,
        Handler.class_method,
        Handler.static_method,
        AsyncHandler(),
        functools.partial(scaled, 10),
        functools.partial(functools.partial(scaled), factor=10),
        functools.partial(Handler().method),
        functools.partial(AsyncHandler()),
        traced(Handler().method),
        traced(AsyncHandler.static_method),
        traced(traced(Handler().async_method)),
        awaited(AsyncHandler.static_method),
    ],
)
async def test_whatever_can_be_called_can_handle(function: Callable[..., Any]) -> None:
    """Objects, methods, partials and decorated functions, sync or async, get the same arguments."""
    assert await call_with(function, client="injected") == (EVENT, "injected", 10)


async def test_a_lambda_that_returns_a_coroutine_is_awaited() -> None:
    """A lambda cannot be async; the coroutine that it hands back runs on the event loop."""
    router = Router()
    loops: list[object] = []

    async def work(word: str) -> str:
        loops.append(asyncio.get_running_loop())
        return word

    router.on("sync.completed")(lambda: work("done"))
    assert await call(router) == "done"
    assert loops == [asyncio.get_running_loop()]


async def test_a_coroutine_from_a_lambda_can_fail() -> None:
    """What such a coroutine raises is the handler's failure."""
    router = Router()

    async def work(word: str) -> None:
        raise LookupError(word)

    router.on("sync.completed")(lambda: work("gone"))
    with pytest.raises(LookupError, match="gone"):
        await call(router)


variable: contextvars.ContextVar[str] = contextvars.ContextVar("variable", default="default")


async def test_context_variables_reach_the_thread() -> None:
    """A sync handler sees the context of its request, and what it sets stays its own."""

    def handler(event: SyncCompleted) -> str:
        seen = variable.get()
        variable.set("the handler's")
        return seen

    token = variable.set("the request's")
    try:
        assert await call_with(handler) == "the request's"
        assert variable.get() == "the request's"
    finally:
        variable.reset(token)


async def test_context_variables_of_factories_reach_the_handler() -> None:
    """What a factory sets, in the thread or on the event loop, the sync handler sees."""

    async def on_loop() -> Client:
        variable.set("set on the loop")
        return Client(variable.get())

    def in_thread(client: Annotated[Client, "loop"]) -> Client:
        seen = variable.get()
        variable.set("set in the thread")
        return Client(f"{client.name}, seen: {seen}")

    router = Router()
    router.provide(Annotated[Client, "loop"], on_loop)
    router.provide(Client, in_thread)
    router.on("sync.completed")(_reads_the_variable)
    assert await call(router) == ("set on the loop, seen: set on the loop", "set in the thread")


def _reads_the_variable(client: Client) -> tuple[str, str]:
    return client.name, variable.get()


async def test_handlers_of_a_receiver_run_in_daemon_threads_of_ours() -> None:
    """A sync handler that hangs must not keep the process from ending."""
    receiver = Receiver(secrets=SECRET)
    threads: list[threading.Thread] = []

    @receiver.on("sync.completed")
    def handler(event: SyncCompleted) -> None:
        threads.append(threading.current_thread())

    async with receiver:
        reply: Reply = await receiver.handle(sign(BODY), BODY)
    assert reply.status == 200
    assert [(thread.daemon, thread.name) for thread in threads] == [(True, "airweave-handler")]
