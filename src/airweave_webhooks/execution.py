"""Running the handlers of one delivery, and what their outcomes add up to."""

import asyncio
import math
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Literal, NamedTuple

from airweave_webhooks.delivery import FAILED, PROCESSED, REJECTED, Delivery, Reply
from airweave_webhooks.errors import Reject, Retry
from airweave_webhooks.routing import Handler
from airweave_webhooks.routing.table import RunInThread


class Outcome(NamedTuple):
    """What running a delivery's handlers adds up to: failure beats `Retry` beats `Reject` beats success."""

    state: Literal["done", "pending", "dead"]
    """Failure and `Retry` leave something to do; `Reject` leaves nothing."""
    reason: str
    results: Mapping[str, str]
    """Handler id to `processed` or `rejected`; a handler that has to run again is missing."""
    reply: Reply
    failures: Sequence[BaseException] = ()
    """Errors that are neither `Retry` nor `Reject`."""
    error: str | None = None
    """What to write into the record: one line an error, not the traceback."""
    delay: float = 0.0
    """The longest wait that a handler asked for, in seconds."""


def outcome_of(results: Mapping[str, str], errors: Sequence[BaseException]) -> Outcome:
    """Add up the handlers' results, from this attempt and earlier ones, and this attempt's errors."""
    if not errors and "rejected" not in results.values():
        return Outcome("done", "processed", results, PROCESSED)
    text = "\n".join(map(_line, errors)) or None
    failures = [error for error in errors if not isinstance(error, Retry | Reject)]
    retries = [error for error in errors if isinstance(error, Retry)]
    after = max((error.after for error in retries), default=0.0)
    if failures:
        return Outcome("pending", "failed", results, FAILED, failures, text, after)
    if retries:
        kind = retries[0] if len({(error.status, error.outcome) for error in retries}) == 1 else Retry
        return Outcome("pending", "retry", results, Reply(kind.status, kind.outcome, math.ceil(after)), (), text, after)
    return Outcome("dead", "rejected", results, REJECTED, (), text)


async def run_handlers(
    handlers: Sequence[Handler],
    delivery: Delivery,
    earlier: Mapping[str, str],
    run_in_thread: RunInThread,
    finished: Callable[[Handler, float, BaseException | None], None] | None,
) -> Outcome:
    """Run each handler that is not finished yet, in order; one that fails does not stop the next.

    Args:
        handlers: those that match.
        delivery: what they get.
        earlier: results of earlier attempts.
        run_in_thread: runs sync handlers.
        finished: is told of each handler, the seconds it took and its error; None costs nothing.
    """
    results = dict(earlier) if earlier else {}
    errors: list[BaseException] = []
    for handler in handlers:
        if handler.id in earlier:
            continue
        delivery.handler = handler.id
        delivery.explain = None  # the one before may have set it
        started = time.perf_counter() if finished else 0.0
        error: BaseException | None = None
        try:
            await handler.call(delivery, run_in_thread)
        except asyncio.CancelledError as cancelled:
            task = asyncio.current_task()
            if task is not None and task.cancelling():
                raise  # we are being shut down
            error = cancelled  # something that the handler awaited was cancelled: its failure, not our end
        except (KeyboardInterrupt, GeneratorExit):
            raise
        except BaseException as raised:  # noqa: BLE001 - also SystemExit: a handler must not end the server
            error = _explained(delivery, raised)
        if error is None:
            results[handler.id] = "processed"
        else:
            errors.append(error)
            if isinstance(error, Reject):
                results[handler.id] = "rejected"
        if finished:
            finished(handler, time.perf_counter() - started, error)
    return outcome_of(results, errors)


def _explained(delivery: Delivery, raised: BaseException) -> BaseException:
    return delivery.explain(raised) if delivery.explain else raised


def _line(error: BaseException) -> str:
    try:
        text = " ".join(str(error).split())
    except Exception:  # noqa: BLE001 - a bug in somebody's __str__ must not cost the other handlers' results
        text = "(its message cannot be shown)"
    return f"{type(error).__name__}: {text}"[:500]
