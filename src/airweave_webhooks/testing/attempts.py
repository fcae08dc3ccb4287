"""What a sender sends, what came of it, and what that adds up to."""

import math
from collections import Counter
from dataclasses import dataclass, field
from typing import Any, Literal, TypeAlias

# Why there was no answer: no headers in time; refused, reset or cut.
Failure: TypeAlias = Literal["timeout", "connection"]


@dataclass(frozen=True, slots=True)
class Message:
    """What is sent: one id and one body over all attempts."""

    id: str
    """`msg_` and 27 base62 characters, unless the caller chose it."""
    body: bytes = field(repr=False)
    created: float
    """Seconds since the epoch, by the sender's clock."""


@dataclass(frozen=True, slots=True)
class Attempt:
    """One attempt to deliver a message, and what came of it."""

    message_id: str
    sent_at: float
    """Seconds since the epoch, by the sender's clock."""
    seconds: float
    """From sending to the answer's headers, or to the failure."""
    status: int | None = None
    """The HTTP status, None without an answer."""
    outcome: str | None = None
    """The `status` field of a JSON answer: `processed`, `duplicate`, …"""
    error: Failure | None = None
    """Why there is no answer."""
    retry_after: float | None = None
    """Seconds that the answer's `Retry-After` asks for."""
    content_type: str | None = None
    """The answer's `Content-Type`."""
    location: str | None = None
    """Where an answer leads that is a redirect; it is not followed."""
    reason: str | None = None
    """Why there was no connection, in the words of the system."""

    @property
    def succeeded(self) -> bool:
        """Whether the answer was a 2xx; a redirect and 410 Gone are failures like any other."""
        return self.status is not None and 200 <= self.status < 300


@dataclass(frozen=True, slots=True)
class Result:
    """What became of a message over a whole schedule."""

    message: Message
    attempts: tuple[Attempt, ...]
    """The scheduled attempts in order, without manual resends in between."""
    succeeded: bool
    """Whether the message was ever answered with 2xx, on a manual resend included."""


@dataclass(slots=True)
class Statistics:
    """What was sent and what came back, since the sender was made."""

    attempts: int = 0
    """Attempts that ended, one way or the other."""
    successes: int = 0
    """Attempts that were answered with 2xx."""
    exhausted: int = 0
    """Deliveries whose last scheduled attempt failed."""
    timeouts: int = 0
    """Attempts without an answer in time."""
    connection_breaks: int = 0
    """Requests that were refused, reset or cut. An attempt can have two, or one and still succeed."""
    duplicates: int = 0
    """Requests with an id that was sent before: retries, resends, copies, repeats after a break."""
    statuses: Counter[int] = field(default_factory=Counter[int])
    """Answers by HTTP status."""
    latencies: list[float] = field(default_factory=list[float])
    """Seconds until the headers of each answer."""

    def count(self, attempt: Attempt) -> None:
        """Add an attempt that ended."""
        self.attempts += 1
        self.successes += attempt.succeeded
        self.timeouts += attempt.error == "timeout"
        if attempt.status is not None:
            self.statuses[attempt.status] += 1
            self.latencies.append(attempt.seconds)

    def as_dict(self) -> dict[str, Any]:
        """Return the counts, and as `latency` the p50, p95, p99 and max in seconds, None without answers."""
        ordered = sorted(self.latencies)
        return {
            "attempts": self.attempts,
            "successes": self.successes,
            "exhausted": self.exhausted,
            "timeouts": self.timeouts,
            "connection_breaks": self.connection_breaks,
            "duplicates": self.duplicates,
            "statuses": dict(sorted(self.statuses.items())),
            "latency": {
                "p50": _percentile(ordered, 50),
                "p95": _percentile(ordered, 95),
                "p99": _percentile(ordered, 99),
                "max": _percentile(ordered, 100),
            },
        }


def _percentile(ordered: list[float], percent: int) -> float | None:
    """Return the smallest value that `percent` of all values do not exceed (the nearest rank)."""
    return ordered[math.ceil(len(ordered) * percent / 100) - 1] if ordered else None
