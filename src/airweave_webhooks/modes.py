"""When a delivery is acknowledged."""

import random
from dataclasses import dataclass, fields

_NOT_NEGATIVE = frozenset({"shutdown_grace"})


@dataclass(frozen=True, slots=True, kw_only=True)
class Mode:
    """What the modes share.

    Args:
        answer_within: seconds from the request's first header to an answer. Hosted Svix waits 15 s.
        lease: seconds for which a crashed process keeps others from its deliveries. Live ones are renewed.
        shutdown_grace: seconds that running handlers get to finish when the receiver closes.
        most_in_flight: requests that are worked on at once; more are asked to come again.
        most_threads: sync handlers that run at once; more wait.
    """

    answer_within: float = 12.0
    lease: float = 60.0
    shutdown_grace: float = 10.0
    most_in_flight: int = 256
    most_threads: int = 40

    def __post_init__(self) -> None:
        name = type(self).__name__
        for field in fields(self):
            value = getattr(self, field.name)
            if field.name in _NOT_NEGATIVE:
                if value < 0:
                    raise ValueError(f"{name}({field.name}=…) takes no negative number of seconds")
            elif not isinstance(value, bool) and not value > 0:
                raise ValueError(f"{name}({field.name}=…) takes a positive number, not {value!r}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Inline(Mode):
    """Acknowledge when the handlers are done: the sender's retries are the queue. For quick handlers.

    A handler that takes longer than `answer_within` goes on under its lease while the sender is told to come again, and
    the retry collects the result.
    """


@dataclass(frozen=True, slots=True, kw_only=True)
class Inbox(Mode):
    """Acknowledge when the body is durably stored: a worker runs the handlers. For slow or flaky handlers.

    The store has to hold an inbox: `sqlite:///` for one machine, `postgresql://` for several.

    Args:
        worker: whether this process works on what is stored. False where `airweave-webhooks worker` does.
        concurrency: deliveries that a worker works on at once.
        max_attempts: handler starts after which a delivery is dead, unless its handler has a limit of its own.
        first_pause: seconds before the second attempt; doubled before each further one, with jitter.
        longest_pause: seconds that a pause lasts at most.
        poll: seconds after which an idle worker looks for what came by another process, or is due again.
        keep_bodies_days: days for which the body of what is done is kept for a replay.
        most_pending: deliveries that may wait; beyond it new ones are answered with 503.
        most_disk: bytes that the store may take, likewise.
        unhealthy_after: seconds that a delivery may be due, before `health()` says that something is wrong.
    """

    worker: bool = True
    concurrency: int = 100
    max_attempts: int = 20
    first_pause: float = 5.0
    longest_pause: float = 3600.0
    poll: float = 0.5
    keep_bodies_days: float = 14.0
    most_pending: int = 1_000_000
    most_disk: int = 20 * 2**30
    unhealthy_after: float = 300.0

    def pause_after(self, attempt: int) -> float:
        """Seconds to wait after an attempt that failed, the first one being 1; with jitter."""
        # 2.0 ** 1024 would overflow.
        longest = min(self.first_pause * 2.0 ** min(attempt - 1, 60), self.longest_pause)
        return longest * random.uniform(0.5, 1.0)  # noqa: S311 - jitter


def inbox_like(mode: Mode, concurrency: int | None) -> Inbox:
    """The mode of a process that only works: as `mode`, with a worker, and with another concurrency."""
    chosen = {field.name: getattr(mode, field.name) for field in fields(mode)}
    chosen["worker"] = True
    if concurrency is not None:
        chosen["concurrency"] = concurrency
    return Inbox(**chosen)
