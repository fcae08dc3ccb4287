"""What a receiver did in a test."""

import os
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Final, NamedTuple

from airweave_webhooks.delivery import Delivery, Reply
from airweave_webhooks.errors import Refused, Reject, Retry
from airweave_webhooks.telemetry import Observer
from airweave_webhooks.testing.attempts import Message

OURS: Final = str(Path(__file__).parents[1]) + os.sep


class Run(NamedTuple):
    """A handler ran."""

    handler: str
    """Its id."""
    delivery: Delivery
    error: BaseException | None
    """What it raised; a `Retry` or `Reject`, too."""

    @property
    def key(self) -> tuple[str, str]:
        """The tenant and the key of the delivery."""
        return self.delivery.tenant or "", self.delivery.key


@dataclass(frozen=True, slots=True)
class Sent:
    """A delivery that was sent, and what came of it."""

    message: Message
    status: int | None
    """The HTTP status; None if the process crashed before it answered."""
    outcome: str | None
    """The word in the answer: `processed`, `duplicate`, `unauthorized`, …"""
    retry_after: float | None
    """Seconds after which the receiver asks to send it again."""
    runs: tuple[Run, ...]
    """The handlers that ran for this message meanwhile."""
    diagnosis: str | None
    """Why it was refused; the sender is not told."""
    tenant: str | None = None
    """For whom it was."""

    @property
    def id(self) -> str:
        """The message id."""
        return self.message.id

    @property
    def accepted(self) -> bool:
        """Whether the sender will not send it again."""
        return self.status is not None and 200 <= self.status < 300


class Journal(Observer):
    """Notes what a receiver tells.

    Attributes:
        runs: of handlers, in the order in which they ended.
        refusals: requests that were turned away.
    """

    def __init__(self) -> None:
        self.runs: list[Run] = []
        self.refusals: list[Refused] = []
        self._keys: dict[tuple[str, str], str] = {}

    def handler_finished(self, delivery: Delivery, handler: str, seconds: float, error: BaseException | None) -> None:  # noqa: ARG002
        """Note it."""
        self.runs.append(Run(handler, delivery, error))
        self._keys[delivery.tenant or "", delivery.id] = delivery.key

    def replied(self, delivery: Delivery, reply: Reply, seconds: float) -> None:  # noqa: ARG002
        """Note what it is deduplicated by."""
        self._keys[delivery.tenant or "", delivery.id] = delivery.key

    def refused(self, error: Refused) -> None:
        """Note it."""
        self.refusals.append(error)

    def key_of(self, sent: Sent) -> tuple[str, str]:
        """Return the tenant and the key of what was sent: two that have the same are one delivery."""
        tenant = sent.tenant or ""
        return tenant, self._keys.get((tenant, sent.id), sent.id)


def raise_failures(runs: Iterable[Run]) -> None:
    """Raise what handlers raised; `Retry` and `Reject` are no failures.

    Raises:
        BaseException: the failure, or an `ExceptionGroup` of all of them.
    """
    __tracebackhide__ = True
    failures = [
        run.error.with_traceback(_in_the_handler(run.error.__traceback__))
        for run in runs
        if run.error is not None and not isinstance(run.error, Retry | Reject)
    ]
    if len(failures) == 1:
        raise failures[0]
    if failures:
        raise BaseExceptionGroup(f"{len(failures)} handlers failed", failures)


def _in_the_handler(traceback: TracebackType | None) -> TracebackType | None:
    """What of a traceback is the handler's: it begins with the way there, which is ours."""
    place = traceback
    while place is not None and place.tb_frame.f_code.co_filename.startswith(OURS):
        place = place.tb_next
    return place or traceback
