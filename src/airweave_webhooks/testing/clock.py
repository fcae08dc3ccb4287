"""The time that a test says it is."""

import time
from datetime import UTC, datetime


class Clock:
    """Stands still until it is told to go on. Calling it gives seconds since the epoch.

    Args:
        start: the first time; now by default.
    """

    def __init__(self, start: float | None = None) -> None:
        self._time = time.time() if start is None else start

    def __call__(self) -> float:
        """Return seconds since the epoch."""
        return self._time

    def __repr__(self) -> str:
        return f"<Clock {self.now().isoformat()}>"

    def now(self) -> datetime:
        """Return the time, in UTC."""
        return datetime.fromtimestamp(self._time, UTC)

    def advance(self, seconds: float) -> None:
        """Go on; with a negative number step back, as a host's clock may."""
        self._time += seconds
