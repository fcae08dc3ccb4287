"""A receiver that is open on an event loop of its own, for programs that have none: one thread in each process."""

import asyncio
import atexit
import concurrent.futures
import contextvars
import os
import threading
import weakref
from collections.abc import Callable, Coroutine
from typing import Any, Final, TypeVar

from airweave_webhooks.receiver import Receiver
from airweave_webhooks.telemetry import logger

T = TypeVar("T")


class Background:
    """Opens a receiver when it is first needed in a process, so after any fork, and closes it when the process ends.

    Args:
        receiver: to be opened here, and nowhere else in the process.
    """

    def __init__(self, receiver: Receiver) -> None:
        self._receiver = receiver
        self._changing = threading.Lock()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._thread: threading.Thread | None = None
        _made.add(self)

    def __repr__(self) -> str:
        return f"{self._receiver!r} in the background"

    def run(self, work: Coroutine[Any, Any, T]) -> T:
        """Run `work` on the receiver's event loop, and wait for it.

        Raises:
            ConfigurationError, StoreUnavailable: the receiver cannot be opened; the next call tries again.
        """
        try:
            loop = self._loop if self._loop is not None else self._start()
        except BaseException:
            work.close()
            raise
        return asyncio.run_coroutine_threadsafe(work, loop).result()

    async def wait_for(self, work: Coroutine[Any, Any, T]) -> T:
        """Run `work` on the receiver's event loop, and wait for it on this one. Who is cancelled cancels the waiting.

        Raises:
            ConfigurationError, StoreUnavailable: as `run`.
        """
        try:
            loop = self._loop if self._loop is not None else await asyncio.to_thread(self._start)
        except BaseException:
            work.close()
            raise
        return await asyncio.shield(asyncio.wrap_future(asyncio.run_coroutine_threadsafe(work, loop)))

    def _start(self) -> asyncio.AbstractEventLoop:
        with self._changing:
            if self._loop is not None:
                return self._loop
            loop = asyncio.new_event_loop()
            thread = threading.Thread(target=loop.run_forever, name="airweave-loop", daemon=True)
            thread.start()
            try:
                # A thread of its pool for the end, when none can be started any more (by 3.12.0 and 3.12.1).
                asyncio.run_coroutine_threadsafe(asyncio.to_thread(int), loop).result()
                # What it starts outlives the request that came first, and must not take that request's context along.
                contextvars.Context().run(asyncio.run_coroutine_threadsafe, self._receiver.__aenter__(), loop).result()
            except BaseException:
                _end(loop, thread)
                raise
            self._loop, self._thread = loop, thread
            return loop

    def close(self) -> None:
        """Let running handlers finish within the mode's grace, and close. Whoever comes later opens it again."""
        with self._changing:
            loop, thread = self._loop, self._thread
            self.close_receiver()
            if loop is not None and thread is not None:
                _end(loop, thread)

    def close_receiver(self) -> None:
        """Close all but the thread, which is a daemon's: at the end of the process, when that cannot be waited for."""
        loop, self._loop = self._loop, None
        if loop is not None:
            asyncio.run_coroutine_threadsafe(self._receiver.__aexit__(), loop).result()

    def forget_what_a_fork_inherited(self) -> None:
        """Be closed, in the child of a fork: its parent's thread is not there, and its parent's lock may be held."""
        self._changing = threading.Lock()
        self._loop = self._thread = None


def _end(loop: asyncio.AbstractEventLoop, thread: threading.Thread) -> None:
    asyncio.run_coroutine_threadsafe(loop.shutdown_default_executor(), loop).result()
    loop.call_soon_threadsafe(loop.stop)
    thread.join()
    loop.close()


_made: Final[weakref.WeakSet[Background]] = weakref.WeakSet()


def _after_fork_in_child() -> None:
    for made in list(_made):
        made.forget_what_a_fork_inherited()


def _at_the_end() -> None:
    for made in list(_made):
        try:
            made.close_receiver()
        except Exception:
            logger.exception("%r cannot be closed", made)


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork_in_child)
# Stores may need a thread to close, and `atexit` comes when the interpreter has ended its pools of them. What was
# registered last ends first, so the pools have to be there already.
_ = concurrent.futures.ThreadPoolExecutor
_register: Callable[[Callable[[], None]], object] = getattr(threading, "_register_atexit", atexit.register)
_register(_at_the_end)
