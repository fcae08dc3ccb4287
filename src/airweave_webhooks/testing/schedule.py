"""When Svix sends again: its schedule, the jitter, and what moves a step. All times are in seconds.

The numbers are those of Svix's server: `server/svix-server/src/worker.rs` in
https://github.com/svix/svix-webhooks.
"""

import math
import random
from datetime import UTC
from email.utils import parsedate_to_datetime

# The wait after the first failed attempt, after the second, and so on: 8 attempts in about 28 hours.
RETRY_SCHEDULE = (5.0, 5 * 60.0, 30 * 60.0, 2 * 3600.0, 5 * 3600.0, 10 * 3600.0, 10 * 3600.0)

# Each wait is moved by up to this part of itself, so that what failed together does not come back together.
JITTER = 0.2

# A receiver that did not even answer is overloaded: it gets this rest at least.
SHORTEST_AFTER_TIMEOUT = 60.0


def retry_delay(step: float, rng: random.Random, *, timed_out: bool = False, retry_after: float | None = None) -> float:
    """Return the wait before the next attempt.

    Args:
        step: the schedule's wait.
        rng: where the jitter comes from.
        timed_out: the last attempt got no answer in time.
        retry_after: what the last answer asked for. It only ever delays, and at most to twice `step`.
    """
    delay = step * rng.uniform(1 - JITTER, 1 + JITTER)
    if timed_out:
        return max(delay, SHORTEST_AFTER_TIMEOUT)
    if retry_after is not None:
        return min(max(delay, retry_after), 2 * step)
    return delay


def read_retry_after(value: str, now: float) -> float | None:
    """Return how long a `Retry-After` asks to wait, rounded up to whole seconds; None if it cannot be read.

    Args:
        value: a number of seconds or an HTTP date, as Svix reads both.
        now: seconds since the epoch, which a date is counted from.
    """
    try:
        seconds = float(value)
    except ValueError:
        try:
            date = parsedate_to_datetime(value)
        except ValueError:
            return None
        # An HTTP date is always UTC; Python calls a zone of "-0000" none at all.
        seconds = (date if date.tzinfo else date.replace(tzinfo=UTC)).timestamp() - now
    return max(0.0, float(math.ceil(seconds))) if math.isfinite(seconds) else None
