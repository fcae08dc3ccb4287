"""A receiver on an event loop of its own, asked from another event loop."""

import asyncio
import contextvars
import threading
from collections.abc import Iterator

import pytest

from airweave_webhooks import Receiver
from airweave_webhooks.errors import StoreUnavailable
from airweave_webhooks.integrations.background import Background
from airweave_webhooks.stores import MemoryStore
from conftest import SECRET

pytestmark = pytest.mark.anyio

request_of: contextvars.ContextVar[str] = contextvars.ContextVar("request_of", default="nobody")


class Store(MemoryStore):
    """Notes whose context it is opened in, and can be away."""

    away = False
    opened_for = ""

    async def open(self) -> None:
        self.opened_for = request_of.get()
        if self.away:
            raise StoreUnavailable("the store is away")
        await super().open()


@pytest.fixture
def store() -> Store:
    return Store()


@pytest.fixture
def background(store: Store) -> Iterator[Background]:
    background = Background(Receiver(secrets=SECRET, store=store))
    yield background
    background.close()


async def test_it_is_waited_for(background: Background) -> None:
    """Another loop, another thread, and the context of whoever asks."""

    async def work() -> tuple[str, str]:
        return threading.current_thread().name, request_of.get()

    request_of.set("somebody")
    assert await background.wait_for(work()) == ("airweave-loop", "somebody")


async def test_who_is_cancelled_cancels_the_waiting_alone(background: Background) -> None:
    """The work goes on to its end."""
    started, go_on, ended = threading.Event(), threading.Event(), threading.Event()

    async def work() -> None:
        started.set()
        await asyncio.to_thread(go_on.wait, 20)
        ended.set()

    waiting = asyncio.create_task(background.wait_for(work()))
    assert await asyncio.to_thread(started.wait, 20)
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting
    go_on.set()
    assert await asyncio.to_thread(ended.wait, 20)


async def test_what_is_opened_has_a_context_of_its_own(background: Background, store: Store) -> None:
    """It outlives the request that came first, which would otherwise be kept for as long."""

    async def work() -> None: ...

    request_of.set("somebody")
    await background.wait_for(work())
    assert store.opened_for == "nobody"


async def test_a_store_that_is_away(background: Background, store: Store) -> None:
    """Said to whoever asks, whose work is not begun; the next one finds it open."""

    async def work() -> str:
        return "done"

    store.away = True
    with pytest.raises(StoreUnavailable):
        await background.wait_for(work())
    store.away = False
    assert await background.wait_for(work()) == "done"
