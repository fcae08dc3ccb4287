"""What handlers are called with: arguments by annotation."""

import asyncio
import functools
import threading
from collections.abc import Awaitable, Callable
from typing import Annotated, Any, Final

import pytest

from airweave_webhooks import Delivery, Event, Receiver, Router, SyncCompleted, SyncEvent, SyncFailed
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


async def test_arguments_of_a_partial_are_left_alone() -> None:
    """What a partial has bound by name is bound, although its type is provided too."""

    async def handler(event: SyncCompleted, client: Client, other: Client) -> object:
        return client.name, other.name

    assert await call_with(functools.partial(handler, client=Client("bound")), client="injected") == (
        "bound",
        "injected",
    )


async def test_an_annotation_that_we_do_not_fill_may_hold_anything() -> None:
    """What only another library understands, and has a default, is none of our business."""

    async def handler(event: SyncCompleted, limit: Annotated[int, {"description": "at most"}] = 3) -> object:
        return limit

    assert await call_with(handler) == 3


async def test_only_annotations_of_parameters_that_we_fill_are_needed() -> None:
    """What a function returns, or takes by default, can be a name for type checkers only."""

    async def handler(event: SyncCompleted, limit: Any = 3) -> object:
        return limit

    handler.__annotations__ |= {"limit": "OnlyForCheckers", "return": "AlsoOnlyForCheckers"}
    assert await call_with(handler) == 3
