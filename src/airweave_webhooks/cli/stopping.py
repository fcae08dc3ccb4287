"""How a command that serves is stopped: by Ctrl-C or SIGTERM once, in peace; twice, at once."""

import asyncio
import contextlib
import os
import signal
from collections.abc import Callable, Generator
from types import FrameType

from airweave_webhooks.cli.exits import INTERRUPTED


class Stop:
    """Whether the command was asked to end, and by what."""

    def __init__(self) -> None:
        self.asked: asyncio.Event = asyncio.Event()
        self.by: signal.Signals | None = None


@contextlib.contextmanager
def stopping(told: Callable[[signal.Signals], None]) -> Generator[Stop]:
    """Ask for a stop at the first signal, end the process at the second.

    Python's own handlers, and not the event loop's: they also run while a handler blocks the loop.

    Args:
        told: is told of the first signal, on the event loop.
    """
    loop = asyncio.get_running_loop()
    stop = Stop()

    def ask(by: signal.Signals) -> None:
        told(by)
        stop.asked.set()

    def on_signal(number: int, _frame: FrameType | None) -> None:
        if stop.by is not None:
            os._exit(INTERRUPTED)
        stop.by = signal.Signals(number)
        loop.call_soon_threadsafe(ask, stop.by)

    before = {number: signal.signal(number, on_signal) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield stop
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
