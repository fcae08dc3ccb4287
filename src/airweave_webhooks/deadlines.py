"""Many deadlines on one timer: a timer per request costs more than the rest of the request's bookkeeping."""

import asyncio
from collections.abc import Callable
from typing import Final, Generic, TypeVar

T = TypeVar("T")

# Seconds: how late a deadline may be noticed.
TICK: Final = 0.1


class Deadlines(Generic[T]):
    """Ends what takes too long, at most `TICK` late. Belongs to one event loop.

    Args:
        loop: its time is what counts.
        within: seconds that each thing may take.
        expire: called once with each thing that took longer.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop, within: float, expire: Callable[[T], object]) -> None:
        self._loop = loop
        self._within = within
        self._expire = expire
        self._started: dict[T, float] = {}
        self._timer: asyncio.TimerHandle | None = None

    def __len__(self) -> int:
        """How many things are watched."""
        return len(self._started)

    def start(self, thing: T, at: float) -> None:
        """Watch `thing`, which began at `at` (the loop's time)."""
        self._started[thing] = at
        if self._timer is None:
            self._timer = self._loop.call_later(TICK, self._tick)

    def stop(self, thing: T) -> bool:
        """Watch no longer, and say whether `thing` was in time."""
        return self._started.pop(thing, None) is not None

    def _tick(self) -> None:
        before = self._loop.time() - self._within
        for thing in [thing for thing, at in self._started.items() if at <= before]:
            del self._started[thing]
            self._expire(thing)
        self._timer = self._loop.call_later(TICK, self._tick) if self._started else None
