"""A receiver as the doctor sees it from inside of its program."""

import asyncio
import contextlib
import logging
from collections.abc import Generator
from dataclasses import dataclass, field

from airweave_webhooks.modes import Inbox
from airweave_webhooks.receiver import Receiver
from airweave_webhooks.stores.inbox import Backlog
from airweave_webhooks.telemetry import logger


@dataclass(slots=True)
class Program:
    """Who is examined, and what is known so far.

    Args:
        receiver: closed.
        target: how its user calls it, `module:receiver`; None if there is only one.
        workers: processes that are going to serve it; None if that is not known.
        tenant: whose secrets to look at.
        timeout: seconds that the store, or a lookup, may take.
    """

    receiver: Receiver
    target: str | None
    workers: int | None
    tenant: str | None
    timeout: float
    unanswered: bool = False
    """Whether the store could not be reached."""
    backlog: Backlog | None = None
    """What waits in the store, if it holds an inbox."""
    warnings: list[str] = field(default_factory=list[str])
    """What the store said when it opened."""

    @property
    def inbox(self) -> Inbox | None:
        """Its mode, if it is an inbox."""
        return self.receiver.mode if isinstance(self.receiver.mode, Inbox) else None

    @contextlib.contextmanager
    def listening(self) -> Generator[None]:
        """Keep what is logged inside the block, instead of showing it."""
        kept = _Keeping(self.warnings)
        before, logger.propagate = logger.propagate, False
        logger.addHandler(kept)
        try:
            yield
        finally:
            logger.removeHandler(kept)
            logger.propagate = before

    def patience(self) -> asyncio.Timeout:
        """Bound what is done inside an `async with` block."""
        return asyncio.timeout(self.timeout)


class _Keeping(logging.Handler):
    def __init__(self, kept: list[str]) -> None:
        super().__init__(logging.WARNING)
        self._kept = kept

    def emit(self, record: logging.LogRecord) -> None:
        if (sentence := record.getMessage()) not in self._kept:
            self._kept.append(sentence)
