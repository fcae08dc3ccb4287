"""Group commit: calls that arrive while a batch is under way become the next batch.

At low load a call is a batch of one and waits for nothing; at high load one commit serves hundreds. This is the one
clever thing in the package. What it promises:

- a key stands in a batch once; a later call for the same key waits for the next batch, so order per key is kept;
- a batch is sorted by key, so that two processes lock rows in the same order;
- a batch that meets a deadlock or a lock time-out (`StoreBusy`) is tried again, a few times;
- a value that the store cannot hold (`StoreDataError`) fails its own call only: the batch is run again one by one;
- what waits is bounded in number and in bytes, beyond it `Busy`;
- what was won for a caller that has gone meanwhile is handed to `unclaimed`.
"""

import asyncio
import random
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, Generic, TypeAlias, TypeVar

from airweave_webhooks.errors import Busy, StoreBusy, StoreDataError
from airweave_webhooks.stores.base import Key

Item = TypeVar("Item")
Result = TypeVar("Result")

TRIES_WHEN_BUSY = 5
MOST_TURNS = 20
FIRST_BUSY_PAUSE = 0.005  # seconds; doubled each time, with jitter


# Its key, its item, the item's size, and who waits. A plain tuple: it is made for each request.
_Call: TypeAlias = tuple[Key, Item, int, asyncio.Future[Result]]


class Coalescer(Generic[Item, Result]):
    """Turns single calls into batches of one verb. Belongs to one event loop.

    Args:
        verb: the store's batch verb; its results are in the order of its items.
        key: what makes two items the same record.
        size: bytes that an item holds in memory.
        unclaimed: called with an item and its result when the caller was cancelled before it came.
        most_items: the largest batch.
        most_waiting: calls that may wait.
        most_bytes: bytes that may wait.
    """

    def __init__(
        self,
        verb: Callable[[Sequence[Item]], Awaitable[list[Result]]],
        *,
        key: Callable[[Item], Key],
        size: Callable[[Item], int],
        unclaimed: Callable[[Item, Result], object] | None = None,
        most_items: int = 500,
        most_waiting: int = 10_000,
        most_bytes: int = 64 * 2**20,
    ) -> None:
        self._loop = asyncio.get_running_loop()
        self._verb = verb
        self._key = key
        self._size = size
        self._unclaimed = unclaimed
        self._most_items = most_items
        self._most_waiting = most_waiting
        self._most_bytes = most_bytes
        self._waiting: deque[_Call[Item, Result]] = deque()
        self._bytes = 0
        self._pump: asyncio.Task[None] | None = None

    async def __call__(self, item: Item) -> Result:
        """Run the verb for one item.

        Raises:
            Busy: too much waits already.
            StoreUnavailable, StoreDataError: as the verb does.
        """
        return await self.ask(item)

    def ask(self, item: Item) -> "asyncio.Future[Result]":
        """Run the verb for one item, without waiting: who no longer wants the answer cancels it.

        Raises:
            Busy: too much waits already.
        """
        size = self._size(item)
        if len(self._waiting) >= self._most_waiting or self._bytes + size > self._most_bytes:
            raise Busy("too many calls wait for the store")
        answer: asyncio.Future[Result] = self._loop.create_future()
        self._waiting.append((self._key(item), item, size, answer))
        self._bytes += size
        if self._pump is None:
            self._pump = self._loop.create_task(self._drain())
        return answer

    async def settled(self) -> None:
        """Wait until nothing is under way."""
        while self._pump is not None:
            await asyncio.wait([self._pump])

    async def _drain(self) -> None:
        try:
            while self._waiting:
                await self._gather()
                await self._run(self._next_batch())
        except BaseException:  # the loop is being torn down
            for _, _, _, answer in self._waiting:
                answer.cancel()
            self._waiting.clear()
            raise
        finally:
            self._pump = None

    async def _gather(self) -> None:
        """Wait for calls that are about to be made: those of requests which the event loop has not looked at yet.

        A lone call waits for one turn of the loop. Under load a batch is as long as there are requests, so that few
        trips serve all; without it the trip would begin with the first handful and the others would make the next one.
        """
        for _ in range(MOST_TURNS):
            waiting = len(self._waiting)
            await asyncio.sleep(0)
            if len(self._waiting) == waiting or waiting >= self._most_items:
                return

    def _next_batch(self) -> list[_Call[Item, Result]]:
        batch: dict[Key, _Call[Item, Result]] = {}
        later: list[_Call[Item, Result]] = []
        while self._waiting and len(batch) < self._most_items:
            call = self._waiting.popleft()
            key, _, size, answer = call
            if key in batch:
                later.append(call)
                continue
            self._bytes -= size
            if not answer.done():  # else its caller has gone, and nothing was asked of the store yet
                batch[key] = call
        self._waiting.extendleft(reversed(later))
        return [batch[key] for key in sorted(batch)] if len(batch) > 1 else list(batch.values())

    async def _run(self, batch: list[_Call[Item, Result]]) -> None:
        if not batch:
            return
        try:
            results = await self._try([item for _, item, _, _ in batch])
            if len(results) != len(batch):  # whoever waited for a missing one would wait for ever
                raise RuntimeError(f"the store gave {len(results)} answers to {len(batch)} calls")
        except StoreDataError as error:
            if len(batch) == 1:
                _fail(batch, error)
                return
            for call in batch:
                await self._run([call])
        except Exception as error:  # noqa: BLE001 - every caller gets what the verb raised, whatever it is
            _fail(batch, error)
        except BaseException:
            for _, _, _, answer in batch:
                answer.cancel()
            raise
        else:
            for (_, item, _, answer), result in zip(batch, results, strict=True):
                if not answer.done():
                    answer.set_result(result)
                elif self._unclaimed is not None:
                    self._unclaimed(item, result)

    async def _try(self, items: list[Item]) -> list[Result]:
        pause = FIRST_BUSY_PAUSE
        for _ in range(TRIES_WHEN_BUSY - 1):
            try:
                return await self._verb(items)
            except StoreBusy:
                await asyncio.sleep(pause * random.uniform(0.5, 1.5))  # noqa: S311 - jitter
                pause *= 2
        return await self._verb(items)


def _fail(batch: list[_Call[Any, Any]], error: Exception) -> None:
    for _, _, _, answer in batch:
        if not answer.done():
            # An exception per caller: one shared instance would collect the traceback of every one of them.
            own = error if len(batch) == 1 else _copy(error)
            answer.set_exception(own)


def _copy(error: Exception) -> Exception:
    twin = error.__class__.__new__(error.__class__, *error.args)
    twin.args = error.args
    twin.__dict__.update(error.__dict__)
    twin.__cause__ = error
    return twin
