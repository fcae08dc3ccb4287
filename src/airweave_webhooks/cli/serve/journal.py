"""What `dev` and `capture` see of each request: an observer that makes one entry of what belongs together.

Of a request that is refused nothing is shown but the diagnosis, which holds nothing of its body.
"""

from collections import OrderedDict
from collections.abc import Callable
from typing import Final, Literal, NamedTuple, TypeAlias

from airweave_webhooks.delivery import Delivery, Reply
from airweave_webhooks.errors import Refused, Reject, Retry
from airweave_webhooks.telemetry import LogBudget, Observer

MOST_OPEN: Final = 1_000
"""Deliveries of which handlers have run and the end was not told; the oldest are forgotten, not shown."""
MOST_REFUSALS: Final = 600
"""A minute: strangers must not fill the terminal."""

Verdict: TypeAlias = Literal["processed", "retry", "rejected", "failed"]


class Run(NamedTuple):
    """One handler, and what came of it."""

    handler: str
    verdict: Verdict
    seconds: float
    error: BaseException | None


class Refusal(NamedTuple):
    """A request that nobody verified."""

    status: int
    outcome: str
    why: str


class Answered(NamedTuple):
    """A verified delivery was answered."""

    delivery: Delivery
    reply: Reply
    seconds: float
    runs: tuple[Run, ...]


class Settled(NamedTuple):
    """A worker is done with an attempt."""

    delivery: Delivery
    state: str
    reason: str | None
    runs: tuple[Run, ...]


class Late(NamedTuple):
    """A handler finished after its delivery was answered."""

    delivery: Delivery
    run: Run


class Lost(NamedTuple):
    """Another process took a delivery over while its handlers ran here."""

    delivery: Delivery
    runs: tuple[Run, ...]


Entry: TypeAlias = Refusal | Answered | Settled | Late | Lost


class Journal(Observer):
    """Collects what handlers did until their delivery's end is told.

    Args:
        write: takes each entry.
    """

    def __init__(self, write: Callable[[Entry], None]) -> None:
        self._write = write
        self._runs: OrderedDict[Delivery, list[Run]] = OrderedDict()
        self._late: OrderedDict[Delivery, None] = OrderedDict()
        self._refusals = LogBudget(MOST_REFUSALS)

    def refused(self, error: Refused) -> None:
        """Write it, within a budget."""
        if self._refusals.take():
            self._write(Refusal(error.status, error.outcome, error.diagnosis))

    def handler_finished(self, delivery: Delivery, handler: str, seconds: float, error: BaseException | None) -> None:
        """Keep it for the delivery's entry, or write it if there was one already."""
        run = Run(handler, _verdict(error), seconds, error)
        if delivery in self._late:
            self._write(Late(delivery, run))
            return
        self._runs.setdefault(delivery, []).append(run)
        if len(self._runs) > MOST_OPEN:
            self._runs.popitem(last=False)

    def replied(self, delivery: Delivery, reply: Reply, seconds: float) -> None:
        """Write it; handlers that still run are written when they finish."""
        if reply.outcome == "still_running":
            self._late[delivery] = None
            if len(self._late) > MOST_OPEN:
                self._late.popitem(last=False)
        self._write(Answered(delivery, reply, seconds, self._runs_of(delivery)))

    def settled(self, delivery: Delivery, state: str, reason: str | None) -> None:
        """Write it."""
        self._write(Settled(delivery, state, reason, self._runs_of(delivery)))

    def lease_lost(self, delivery: Delivery) -> None:
        """Write it."""
        self._write(Lost(delivery, self._runs_of(delivery)))

    def _runs_of(self, delivery: Delivery) -> tuple[Run, ...]:
        return tuple(self._runs.pop(delivery, ()))


def _verdict(error: BaseException | None) -> Verdict:
    match error:
        case None:
            return "processed"
        case Retry():
            return "retry"
        case Reject():
            return "rejected"
        case _:
            return "failed"
