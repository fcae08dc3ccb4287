"""Running the handlers of one delivery, and what their outcomes add up to."""

import asyncio
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from airweave_webhooks.delivery import FAILED, PROCESSED, REJECTED, Delivery, Reply
from airweave_webhooks.errors import Reject, Retry
from airweave_webhooks.routing import Handler
from airweave_webhooks.routing.table import RunInThread


@dataclass(slots=True)
class Outcome:
    """What came of running a delivery's handlers."""

    results: Mapping[str, str]
    """Handler id to `processed` or `rejected`; a handler that has to run again is missing."""
    errors: Sequence[BaseException] = ()

    @property
    def failures(self) -> list[BaseException]:
        """Errors that say nothing about when to come again."""
        return [error for error in self.errors if not isinstance(error, Retry | Reject)]

    @property
    def error(self) -> str | None:
        """What to write into the record: one line an error, not the traceback."""
        return "\n".join(f"{type(error).__name__}: {error}"[:500] for error in self.errors) or None

    @property
    def retry_after(self) -> float:
        """The longest wait that a handler asked for, in seconds."""
        return max((error.after for error in self.errors if isinstance(error, Retry)), default=0.0)

    @property
    def state(self) -> Literal["done", "pending", "dead"]:
        """Failure and `Retry` leave something to do; `Reject` leaves nothing."""
        if any(not isinstance(error, Reject) for error in self.errors):
            return "pending"
        return "dead" if "rejected" in self.results.values() else "done"

    @property
    def reply(self) -> Reply:
        """Failure beats `Retry` beats `Reject` beats success."""
        match self.state:
            case "done":
                return PROCESSED
            case "dead":
                return REJECTED
            case _:
                return FAILED if self.failures else Reply(503, "retry", max(1, round(self.retry_after)))


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
    results = dict(earlier)
    errors: list[BaseException] = []
    for handler in handlers:
        if handler.id in earlier:
            continue
        started = time.perf_counter() if finished else 0.0
        error = await _run(handler, delivery, run_in_thread)
        if error is None:
            results[handler.id] = "processed"
        else:
            errors.append(error)
            if isinstance(error, Reject):
                results[handler.id] = "rejected"
        if finished:
            finished(handler, time.perf_counter() - started, error)
    return Outcome(results, errors)


async def _run(handler: Handler, delivery: Delivery, run_in_thread: RunInThread) -> BaseException | None:
    try:
        await handler.call(delivery, run_in_thread)
    except asyncio.CancelledError as error:
        task = asyncio.current_task()
        if task is not None and task.cancelling():
            raise  # we are being shut down
        return error  # something that the handler awaited was cancelled: its failure, not our end
    except (KeyboardInterrupt, GeneratorExit):
        raise
    except BaseException as error:  # noqa: BLE001 - also SystemExit: a handler must not end the server
        return error
    return None
