"""What an integration does around handlers, and when."""

import asyncio
import contextlib
import threading
from collections.abc import AsyncGenerator, Iterator
from contextvars import ContextVar

import pytest

from airweave_webhooks import Receiver, SyncCompleted, SyncFailed, surroundings
from airweave_webhooks.testing.payloads import payload
from conftest import SECRET, sign

pytestmark = pytest.mark.anyio

inside: ContextVar[bool] = ContextVar("inside", default=False)


class Noting:
    """Notes what happens, and in which order."""

    def __init__(self) -> None:
        self.notes: list[object] = []
        self.error: Exception | None = None

    @contextlib.asynccontextmanager
    async def around_handlers(self) -> AsyncGenerator[None]:
        if self.error:
            raise self.error
        inside.set(True)
        self.notes.append("enter")
        try:
            yield
        finally:
            self.notes.append("leave")

    def after_thread(self) -> None:
        self.notes.append(threading.current_thread())


@pytest.fixture
def noting() -> Iterator[Noting]:
    noting = Noting()
    surroundings.registered.append(noting)
    yield noting
    surroundings.registered.remove(noting)


async def take(noting: Noting, kind: str) -> str:
    receiver = Receiver(secrets=SECRET)

    @receiver.on("sync.completed")
    def in_thread(event: SyncCompleted) -> None:
        noting.notes += [inside.get(), threading.current_thread()]

    @receiver.on("sync.failed")
    async def fail(event: SyncFailed) -> None:
        noting.notes.append(inside.get())
        raise ArithmeticError

    body = payload(kind)
    async with receiver:
        return (await asyncio.create_task(receiver.handle(sign(body), body))).outcome


async def test_around_an_async_handler(noting: Noting) -> None:
    """In its context, and also when it fails."""
    assert await take(noting, "sync.failed") == "failed"
    assert noting.notes == ["enter", True, "leave"]


async def test_after_a_sync_handler(noting: Noting) -> None:
    """In its very thread, before the delivery is settled."""
    assert await take(noting, "sync.completed") == "processed"
    enter, is_inside, thread, after, leave = noting.notes
    assert (enter, is_inside, leave) == ("enter", True, "leave")
    assert after is thread


async def test_what_cannot_be_entered_is_no_success(noting: Noting) -> None:
    """The handlers do not run, and the sender comes again."""
    noting.error = OSError("no thread can be had")
    assert await take(noting, "sync.failed") == "failed"
    assert noting.notes == []
