"""Running a plain function in a thread, without ever waiting for it at the end of the process.

Thread pools (asyncio's, anyio's, `concurrent.futures`) join their threads when the interpreter ends. A handler's
thread cannot be cancelled, so one that hangs would keep the process from ending; these are daemons.
"""

import asyncio
import contextvars
import threading
from collections.abc import Callable
from typing import TypeVar

from airweave_webhooks.surroundings import registered

T = TypeVar("T")


class LeftRunning(asyncio.CancelledError):
    """The caller was cancelled, and the thread that it waited for runs on.

    Attributes:
        ended: set when the thread has returned.
    """

    def __init__(self, ended: asyncio.Event) -> None:
        super().__init__()
        self.ended = ended


async def run_in_thread(call: Callable[[], T], slots: asyncio.Semaphore) -> T:
    """Run `call` in a daemon thread with a copy of the current context.

    A slot is held until the thread returns, even when the caller has been cancelled meanwhile.

    Args:
        call: the function.
        slots: bounds how many run at once.

    Raises:
        LeftRunning: the caller was cancelled while the function ran.
    """
    await slots.acquire()
    loop = asyncio.get_running_loop()
    answer: asyncio.Future[T] = loop.create_future()
    ended = asyncio.Event()
    context = contextvars.copy_context()

    def finish(result: T | None, error: BaseException | None) -> None:
        slots.release()
        ended.set()
        if answer.done():
            return
        if error is None:
            answer.set_result(result)  # type: ignore[arg-type]
        elif isinstance(error, StopIteration):
            answer.set_exception(RuntimeError("a handler raised StopIteration"))
        else:
            answer.set_exception(error)

    def work() -> None:
        result: T | None = None
        failure: BaseException | None = None
        try:
            try:
                result = context.run(call)
            finally:
                for surroundings in registered:
                    surroundings.after_thread()
        except BaseException as error:  # noqa: BLE001 - whatever it is, the caller gets it
            failure = error
        try:
            loop.call_soon_threadsafe(finish, result, failure)
        except RuntimeError:  # the loop is closed: nobody waits any more
            return

    try:
        threading.Thread(target=work, name="airweave-handler", daemon=True).start()
    except BaseException:
        slots.release()
        raise
    try:
        return await answer
    except asyncio.CancelledError:
        if answer.cancelled():
            raise LeftRunning(ended) from None
        raise
