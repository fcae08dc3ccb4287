"""Django's database connections in handlers: none that is dead is used, and none stays behind.

A connection belongs to a thread. Each sync handler has a thread of its own, which closes its connections when it ends
(with Django's pool, that gives them back). The async ORM of all async handlers on an event loop shares one thread,
which is asked before and after, as Django asks at the beginning and the end of a request.
"""

import asyncio
import contextlib
import weakref
from collections.abc import AsyncGenerator
from contextlib import AbstractAsyncContextManager
from typing import Final

from asgiref.sync import SyncToAsync, ThreadSensitiveContext, sync_to_async
from django.db import close_old_connections, connections

from airweave_webhooks import surroundings
from airweave_webhooks.telemetry import logger


class _Thread:
    """The thread that the async ORM gets on one event loop, as soon as a handler uses it."""

    def __init__(self) -> None:
        self._context = ThreadSensitiveContext()
        self._in_use = 0

    @contextlib.asynccontextmanager
    async def used(self) -> AsyncGenerator[None]:
        # Not the request's: its thread ends with it, and the handler may go on.
        SyncToAsync.thread_sensitive_context.set(self._context)
        await self._ask()
        self._in_use += 1
        try:
            yield
        finally:
            self._in_use -= 1
            await self._ask()

    async def _ask(self) -> None:
        if self._context not in SyncToAsync.context_to_thread_executor:
            return
        # While others run, their connection is closed only if it is dead: one of them may be in the midst of reading.
        ask = close_dead_connections if self._in_use else close_old_connections
        try:
            await sync_to_async(ask)()
        except Exception:
            logger.exception("a database connection that handlers used cannot be closed")

    def close(self) -> None:
        """Close its connections, from another thread."""
        executor = SyncToAsync.context_to_thread_executor.get(self._context)
        if executor is not None:
            executor.submit(connections.close_all).result()


class _Connections:
    """What `surroundings` asks for."""

    def __init__(self) -> None:
        self._threads: weakref.WeakKeyDictionary[asyncio.AbstractEventLoop, _Thread] = weakref.WeakKeyDictionary()

    def around_handlers(self) -> AbstractAsyncContextManager[None]:
        """Look after the thread of the async ORM."""
        return self._threads.setdefault(asyncio.get_running_loop(), _Thread()).used()

    def close_those_of_async_handlers(self) -> None:
        """Close them on every event loop; whoever uses them next connects again."""
        for thread in list(self._threads.values()):
            thread.close()

    def after_thread(self) -> None:
        """Close the connections of a sync handler."""
        try:
            connections.close_all()
        except Exception:
            logger.exception("a database connection that a handler used cannot be closed")


def close_dead_connections() -> None:
    """Close those of this thread whose last statement failed, if they do not answer any more."""
    for connection in connections.all(initialized_only=True):
        if connection.errors_occurred:
            connection.close_if_unusable_or_obsolete()


_connections: Final = _Connections()


close_those_of_async_handlers: Final = _connections.close_those_of_async_handlers


def look_after() -> None:
    """Begin to; once in a process."""
    if _connections not in surroundings.registered:
        surroundings.registered.append(_connections)
