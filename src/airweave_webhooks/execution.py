"""Running the handlers of one delivery, and what their outcomes add up to."""

import asyncio
import math
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Final, Literal, NamedTuple

from airweave_webhooks.delivery import FAILED, PROCESSED, REJECTED, Delivery, Reply
from airweave_webhooks.errors import Reject, Retry, WebhookError
from airweave_webhooks.routing import Handler
from airweave_webhooks.routing.table import RunInThread
from airweave_webhooks.telemetry import logger

_STALE: Final = frozenset({"stale"})
_SUCCESSES: Final = frozenset({"processed", "stale"})


class Outcome(NamedTuple):
    """What running a delivery's handlers adds up to: failure beats `Retry` beats `Reject` beats success."""

    state: Literal["done", "pending", "dead"]
    """Failure and `Retry` leave something to do; `Reject` leaves nothing."""
    reason: str
    results: Mapping[str, str]
    """Handler id to `processed`, `rejected`, `exhausted` or `stale`; a handler that has to run again is missing."""
    reply: Reply
    failures: Sequence[BaseException] = ()
    """Errors that are neither `Retry` nor `Reject`."""
    error: str | None = None
    """What to write into the record: one line an error, not the traceback."""
    delay: float = 0.0
    """The longest wait that a handler asked for, in seconds."""
    started: bool = True
    """Whether any handler was started."""


class NeverReturned(WebhookError):
    """In the record of a delivery whose last attempt ended with its process."""


def outcome_of(
    results: Mapping[str, str], errors: Sequence[BaseException], last_errors: Sequence[BaseException] = ()
) -> Outcome:
    """Add up the handlers' results, from this attempt and earlier ones, and this attempt's errors.

    Args:
        results: of the handlers that are finished.
        errors: of this attempt.
        last_errors: those of handlers that have no attempt left.
    """
    if not errors and not last_errors and _SUCCESSES.issuperset(results.values()):
        reason = "stale" if results and _STALE.issuperset(results.values()) else "processed"
        return Outcome("done", reason, results, PROCESSED)
    text = "\n".join(map(_line, [*errors, *last_errors])) or None
    failures = [error for error in errors if not isinstance(error, Retry | Reject)]
    retries = [error for error in errors if isinstance(error, Retry)]
    after = max((error.after for error in retries), default=0.0)
    to_report = [*failures, *last_errors]
    if failures:
        return Outcome("pending", "failed", results, FAILED, to_report, text, after)
    if retries:
        kind = retries[0] if len({(error.status, error.outcome) for error in retries}) == 1 else Retry
        reply = Reply(kind.status, kind.outcome, math.ceil(after))
        return Outcome("pending", "retry", results, reply, to_report, text, after)
    return Outcome("dead", "exhausted" if last_errors else "rejected", results, REJECTED, to_report, text)


async def run_handlers(
    handlers: Sequence[Handler],
    delivery: Delivery,
    results: dict[str, str],
    run_in_thread: RunInThread,
    finished: Callable[[Handler, float, BaseException | None], None] | None,
    *,
    most_attempts: float = math.inf,
    stale: bool = False,
) -> Outcome:
    """Run each handler that is not finished yet, in order; one that fails does not stop the next.

    Args:
        handlers: those that match.
        delivery: what they get.
        results: of earlier attempts; the new ones are added as they come.
        run_in_thread: runs sync handlers.
        finished: is told of each handler, the seconds it took and its error; None costs nothing.
        most_attempts: starts after which a handler is given up, if it does not say so itself.
        stale: a later event of the same order is done.
    """
    errors: list[BaseException] = []
    last_errors: list[BaseException] = []
    any_started = False
    for handler in handlers:
        if handler.id in results:
            continue
        if stale and handler.options.stale == "drop":
            results[handler.id] = "stale"
            continue
        attempts_left = (handler.options.max_attempts or most_attempts) - delivery.attempt
        delivery.handler = handler.id
        delivery.explain = None  # the one before may have set it
        started = time.perf_counter() if finished else 0.0
        error: BaseException | None
        if attempts_left >= 0:
            any_started = True
            error = await _error_of(handler, delivery, run_in_thread)
        else:
            error = NeverReturned(f"{handler.id}: the process died, or stood still, in attempt {delivery.attempt - 1}")
        if error is None:
            results[handler.id] = "processed"
        elif isinstance(error, Reject):
            results[handler.id] = "rejected"
            errors.append(error)
        elif attempts_left <= 0:
            results[handler.id] = "exhausted"
            last_errors.append(error)
        else:
            errors.append(error)
        if finished:
            finished(handler, time.perf_counter() - started, error)
    outcome = outcome_of(results, errors, last_errors)
    return outcome if any_started else outcome._replace(started=False)


async def _error_of(handler: Handler, delivery: Delivery, run_in_thread: RunInThread) -> BaseException | None:
    """Run one handler; what it raises is what has become of it."""
    try:
        if handler.options.timeout is None:
            await handler.call(delivery, run_in_thread)
        else:
            await _in_time(handler, handler.options.timeout, delivery, run_in_thread)
    except asyncio.CancelledError as cancelled:
        task = asyncio.current_task()
        if task is not None and task.cancelling():
            raise  # we are being shut down
        return cancelled  # something that the handler awaited was cancelled: its failure, not our end
    except (KeyboardInterrupt, GeneratorExit):
        raise
    except BaseException as raised:  # noqa: BLE001 - also SystemExit: a handler must not end the server
        return delivery.explain(raised) if delivery.explain else raised
    return None


async def _in_time(handler: Handler, seconds: float, delivery: Delivery, run_in_thread: RunInThread) -> None:
    if handler.blocking:
        # A thread cannot be cancelled. What it does meanwhile is done: to start it once more would be to do it twice.
        loop = asyncio.get_running_loop()
        warning = loop.call_later(
            seconds,
            logger.warning,
            "handler %s of delivery %s still runs after %g s; a thread cannot be stopped, so its result is waited for",
            handler.id,
            delivery.key,
            seconds,
        )
        try:
            await handler.call(delivery, run_in_thread)
        finally:
            warning.cancel()
        return
    limit = asyncio.timeout(seconds)
    try:
        async with limit:
            await handler.call(delivery, run_in_thread)
    except TimeoutError as error:
        if limit.expired():
            raise TimeoutError(f"{handler.id} ran for longer than {seconds:g} s") from error
        raise


def _line(error: BaseException) -> str:
    try:
        text = " ".join(str(error).split())
    except Exception:  # noqa: BLE001 - a bug in somebody's __str__ must not cost the other handlers' results
        text = "(its message cannot be shown)"
    return f"{type(error).__name__}: {text}"[:500]
