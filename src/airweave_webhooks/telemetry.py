"""Seeing what happens: the `Observer` protocol, and the log."""

import logging
import time
from collections.abc import Callable
from typing import Final

from airweave_webhooks.delivery import Delivery, Reply
from airweave_webhooks.errors import Refused

logger: Final = logging.getLogger("airweave_webhooks")

OBSERVED: Final = {"observed": True}
"""`extra` of log lines that say what observers are told, too: who shows what they are told can leave these out."""


class Observer:
    """Is told what a receiver does. Subclass it and override what you need: every method does nothing.

    Methods are called on the event loop, so they must not block. What they raise is logged and goes no further.
    """

    def refused(self, error: Refused) -> None:
        """A request was refused before anything was done; `error.diagnosis` says why."""

    def drifted(self, delivery: Delivery) -> None:
        """A verified event has a type, or fields, that this version does not know."""

    def handler_finished(self, delivery: Delivery, handler: str, seconds: float, error: BaseException | None) -> None:
        """A handler returned (`error` is None), failed, or raised `Retry` or `Reject`."""

    def replied(self, delivery: Delivery, reply: Reply, seconds: float) -> None:
        """A verified delivery was answered, `seconds` after its headers came."""

    def settled(self, delivery: Delivery, state: str, reason: str | None) -> None:
        """In inbox mode: a worker is done with an attempt; `state` is `done`, `pending` (again later) or `dead`."""

    def lease_lost(self, delivery: Delivery) -> None:
        """A handler finished after somebody else had taken its delivery over; its result was refused."""


class Observers(Observer):
    """Tells several observers; what one raises does not keep it from the others.

    Args:
        observers: in the order in which they are told.
    """

    def __init__(self, *observers: Observer) -> None:
        self._observers = observers

    def refused(self, error: Refused) -> None:
        """Tell all."""
        for observer in self._observers:
            tell(observer.refused, error)

    def drifted(self, delivery: Delivery) -> None:
        """Tell all."""
        for observer in self._observers:
            tell(observer.drifted, delivery)

    def handler_finished(self, delivery: Delivery, handler: str, seconds: float, error: BaseException | None) -> None:
        """Tell all."""
        for observer in self._observers:
            tell(observer.handler_finished, delivery, handler, seconds, error)

    def replied(self, delivery: Delivery, reply: Reply, seconds: float) -> None:
        """Tell all."""
        for observer in self._observers:
            tell(observer.replied, delivery, reply, seconds)

    def settled(self, delivery: Delivery, state: str, reason: str | None) -> None:
        """Tell all."""
        for observer in self._observers:
            tell(observer.settled, delivery, state, reason)

    def lease_lost(self, delivery: Delivery) -> None:
        """Tell all."""
        for observer in self._observers:
            tell(observer.lease_lost, delivery)


def tell(method: Callable[..., None], *facts: object) -> None:
    """Call an observer's method; what it raises ends here."""
    try:
        method(*facts)
    except Exception:
        logger.exception("the observer's %s raised", getattr(method, "__name__", method))


class LogBudget:
    """Keeps strangers from filling the log (and, with diagnoses, the CPU): so many lines a minute, then a count.

    Args:
        most: lines a minute.
        clock: seconds, monotonic.
    """

    def __init__(self, most: int = 60, clock: Callable[[], float] = time.monotonic) -> None:
        self._most = most
        self._clock = clock
        self._minute = clock()
        self._spent = 0

    def affords(self) -> bool:
        """Whether `take` would allow a line now."""
        return self._spent < self._most or self._clock() - self._minute >= 60

    def take(self) -> bool:
        """Whether one more line may be written; says once a minute how many were not."""
        now = self._clock()
        if now - self._minute >= 60:
            if self._spent > self._most:
                logger.warning("%d more requests were refused in the last minute", self._spent - self._most)
            self._minute, self._spent = now, 0
        self._spent += 1
        return self._spent <= self._most
