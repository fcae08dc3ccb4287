"""The one thread that has a connection. Whatever waits when it becomes free goes into one transaction.

The coalescer gathers calls of one verb; this gathers verbs, so that one sync to the disk serves claims and settles
alike. The thread is a daemon: a store that nobody closes must not keep the process from ending.
"""

import asyncio
import concurrent.futures
import queue
import threading
from collections.abc import Callable, Sequence
from typing import Any, Final, Generic, NamedTuple, TypeAlias, TypeVar

from airweave_webhooks.errors import ConfigurationError, StoreUnavailable

T = TypeVar("T")
Connection = TypeVar("Connection")

Run: TypeAlias = Callable[[Connection], T]
Answer: TypeAlias = "asyncio.Future[Any] | concurrent.futures.Future[Any]"

MOST_JOBS: Final = 64


class Job(NamedTuple, Generic[Connection]):
    """What one caller wants done in a transaction."""

    run: Callable[[Connection], Any]
    durable: bool
    """Whether the commit has to be on the disk before the caller goes on."""
    answer: Answer


class Writer(Generic[Connection]):
    """Runs jobs in the order in which they come, as many in one transaction as wait.

    Args:
        transact: commits a function of the connection, durably or not.
        close: closes the connection; called in the thread, at the end.
        name: the thread's.
        most_jobs: in one transaction.
    """

    def __init__(
        self,
        transact: Callable[[Callable[[Connection], list[Any]], bool], list[Any]],
        close: Callable[[], None],
        name: str,
        most_jobs: int = MOST_JOBS,
    ) -> None:
        self._transact = transact
        self._close = close
        self._most_jobs = most_jobs
        self._jobs: queue.SimpleQueue[Job[Connection] | asyncio.Future[None]] = queue.SimpleQueue()
        self._thread = threading.Thread(target=self._work, name=name, daemon=True)
        self._thread.start()

    async def __call__(self, run: Callable[[Connection], T], *, durable: bool = False) -> T:
        """Run one job.

        Raises:
            ConfigurationError, StoreUnavailable, StoreDataError: as the transaction does.
        """
        answer: asyncio.Future[T] = asyncio.get_running_loop().create_future()
        self._jobs.put(Job(run, durable, answer))
        return await answer

    def run_and_wait(self, run: Callable[[Connection], T]) -> T:
        """Run one job for a thread that has no event loop. Errors are as above."""
        answer: concurrent.futures.Future[T] = concurrent.futures.Future()
        self._jobs.put(Job(run, durable=False, answer=answer))
        return answer.result()

    async def close(self) -> None:
        """Do what waits, then close the connection and end the thread."""
        closed: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._jobs.put(closed)
        await closed
        self._thread.join()  # it has nothing left to do

    def _work(self) -> None:
        while True:
            jobs: list[Job[Connection]] = []
            closing: asyncio.Future[None] | None = None
            more = True
            while more:
                item = self._jobs.get()
                if isinstance(item, Job):
                    jobs.append(item)
                else:
                    closing = item
                more = closing is None and len(jobs) < self._most_jobs and not self._jobs.empty()
            if jobs:
                self._run(jobs)
            if closing is not None:
                self._close()
                _hand_out([(closing, None, None)])
                return

    def _run(self, jobs: Sequence[Job[Connection]]) -> None:
        try:
            results = self._transact(
                lambda connection: [job.run(connection) for job in jobs], any(job.durable for job in jobs)
            )
        except (ConfigurationError, StoreUnavailable) as error:
            _hand_out([(job.answer, None, error) for job in jobs])
        except Exception as error:  # noqa: BLE001 - whatever it is, its caller gets it
            if len(jobs) == 1:
                _hand_out([(jobs[0].answer, None, error)])
                return
            for job in jobs:  # one of them is the culprit, and fails alone
                self._run([job])
        else:
            _hand_out([(job.answer, result, None) for job, result in zip(jobs, results, strict=True)])


Answered: TypeAlias = tuple[Answer, Any, Exception | None]


def _hand_out(answered: Sequence[Answered]) -> None:
    by_loop: dict[asyncio.AbstractEventLoop, list[Answered]] = {}
    for entry in answered:
        if isinstance(entry[0], concurrent.futures.Future):
            _answer([entry])
        else:
            by_loop.setdefault(entry[0].get_loop(), []).append(entry)
    for loop, entries in by_loop.items():
        try:
            loop.call_soon_threadsafe(_answer, entries)
        except RuntimeError:  # the loop is closed: nobody waits any more
            continue


def _answer(entries: Sequence[Answered]) -> None:
    for future, result, error in entries:
        if future.done():  # its caller has gone
            continue
        if error is None:
            future.set_result(result)
        else:
            future.set_exception(error)
