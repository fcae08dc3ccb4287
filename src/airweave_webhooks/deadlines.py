"""Many deadlines on one timer: a timer per request costs more than the rest of the request's bookkeeping."""

import asyncio
from collections.abc import Callable
from typing import Final

# Seconds: how late a deadline may be noticed.
TICK: Final = 0.1


class Deadlines:
    """Calls functions at their time, at most `TICK` late. Belongs to one event loop."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._waiting: dict[object, tuple[float, Callable[[], object]]] = {}
        self._timer: asyncio.TimerHandle | None = None

    def set(self, token: object, at: float, call: Callable[[], object]) -> None:
        """Call `call` at `at` (the loop's time), unless `clear(token)` comes first."""
        self._waiting[token] = (at, call)
        if self._timer is None:
            self._timer = self._loop.call_later(TICK, self._tick)

    def clear(self, token: object) -> None:
        """Forget a deadline; one that has passed is no error."""
        self._waiting.pop(token, None)

    def _tick(self) -> None:
        now = self._loop.time()
        for token, (at, call) in list(self._waiting.items()):
            if at <= now:
                self._waiting.pop(token, None)
                call()
        self._timer = self._loop.call_later(TICK, self._tick) if self._waiting else None
