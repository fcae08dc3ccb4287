"""Named points at which a process of the inbox's tests kills itself, when its environment says so.

`before claim`, `after claim`, `after take`, `before settle`, `after settle`: around a call of the store;
`after answer`: when the sender has been answered; `after effect`, `before commit`, `after commit`: in a handler.
"""

import asyncio
import os
import signal
import time
from collections.abc import Awaitable, Callable
from typing import Any

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from airweave_webhooks.stores import Store
from airweave_webhooks.stores.inbox import InboxStore, Take, Taken
from failure.ledger import Ledger

POINT = os.environ.get("CRASH", "")
VERBS = ("claim", "take", "settle")
FLUSHED = 0.1
"""Seconds for an answer to leave the process."""


def die() -> None:
    """End this process as a power cut does, and wait until that has happened."""
    os.kill(os.getpid(), signal.SIGKILL)
    time.sleep(60)


def die_at(point: str) -> None:
    """Die, if this is the point."""
    if point == POINT:
        die()


def prepare(store: Store, ledger: Ledger) -> None:
    """Make `store` kill this process at a point, and write down what was taken, by the time when it was asked for."""
    assert isinstance(store, InboxStore)
    usual = store.take
    asked_before = False

    async def noted(take: Take) -> list[Taken]:
        nonlocal asked_before
        if not asked_before:
            asked_before = True
            print("works", flush=True)  # noqa: T201 - the test waits for it
        at = time.monotonic()
        taken = await usual(take)
        for record, _ in taken:
            ledger.write("taken", record.message_id, at=at)
        return taken

    store.take = noted  # type: ignore[method-assign]
    for verb in VERBS:
        setattr(store, verb, _deadly(verb, getattr(store, verb)))


def _deadly(verb: str, call: Callable[[Any], Awaitable[Any]]) -> Callable[[Any], Awaitable[Any]]:
    async def deadly(wish: Any) -> Any:
        die_at(f"before {verb}")
        answer = await call(wish)
        if answer:
            die_at(f"after {verb}")
        return answer

    return deadly


def deadly_app(app: ASGIApp) -> ASGIApp:
    """An application that kills its process after an answer."""

    async def serve(scope: Scope, receive: Receive, send: Send) -> None:
        async def answer(message: Message) -> None:
            await send(message)
            if message["type"] == "http.response.body" and scope["method"] == "POST":
                asyncio.get_running_loop().call_later(FLUSHED, die_at, "after answer")

        await app(scope, receive, answer)

    return serve
