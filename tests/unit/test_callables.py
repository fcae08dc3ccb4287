"""What can be a handler: functions, objects, methods, partials and decorated ones, and the context that they see."""

import asyncio
import contextvars
import functools
import threading
from collections.abc import Awaitable, Callable
from typing import Annotated, Any, Final

import pytest

from airweave_webhooks import Delivery, Receiver, Router, SyncCompleted
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
        reply = await receiver.handle(sign(BODY), BODY)
    assert reply.status == 200
    assert [(thread.daemon, thread.name) for thread in threads] == [(True, "airweave-handler")]
