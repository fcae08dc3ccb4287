"""Working on a delivery under its lease: the lease is kept, the handlers run, and what came of it is settled."""

import asyncio
import contextlib
import math
import random
from collections.abc import Callable, Coroutine, Mapping, Sequence
from functools import partial
from typing import Any, Final, TypeVar

from airweave_webhooks.delivery import Delivery
from airweave_webhooks.errors import LeaseLost, Unavailable
from airweave_webhooks.execution import Outcome, run_handlers
from airweave_webhooks.leases import LeaseKeeper
from airweave_webhooks.routing import Handler
from airweave_webhooks.stores.base import Lease, Settle, Store
from airweave_webhooks.stores.coalesce import Coalescer
from airweave_webhooks.surroundings import registered
from airweave_webhooks.telemetry import OBSERVED, Observer, logger, tell
from airweave_webhooks.threads import LeftRunning, run_in_thread

T = TypeVar("T")

# Seconds.
FIRST_SETTLE_PAUSE: Final = 0.05
LONGEST_SETTLE_PAUSE: Final = 2.0


class Holder:
    """Holds leases, for the request that won them or for the worker that took them. Belongs to one event loop.

    Args:
        store: what the leases are on.
        lease: seconds that one lasts, unless it is renewed.
        most_threads: sync handlers that run at once.
        observer: is told what happens; None costs nothing.
    """

    def __init__(self, store: Store, *, lease: float, most_threads: int, observer: Observer | None) -> None:
        self._loop = loop = asyncio.get_running_loop()
        self._store = store
        self._lease = lease
        self._observer = observer
        self._keeper = LeaseKeeper(store, lease, alive=lambda: not loop.is_closed())
        self._slots = asyncio.Semaphore(most_threads)
        self._settles = Coalescer(store.settle, key=lambda wish: wish.lease.key, size=_size)

    @property
    def behind(self) -> bool:
        """Whether leases may have run out that are held here, because the store is, or was until now, away."""
        return self._keeper.behind

    def start(self) -> None:
        """Start the thread that renews."""
        self._keeper.start()

    async def stop(self) -> None:
        """Finish the settles under way, and renew no more."""
        await self._settles.settled()
        # The keeper's thread may be inside the store: joining it on the event loop could wait for a lock.
        await asyncio.to_thread(self._keeper.stop)

    async def work(
        self,
        delivery: Delivery,
        handlers: Sequence[Handler],
        lease: Lease,
        earlier: Mapping[str, str],
        conclude: Callable[[Lease, Outcome], Settle],
        *,
        most_attempts: float = math.inf,
        stale: bool = False,
    ) -> tuple[Outcome, Settle]:
        """Run the handlers that are not finished yet, and settle.

        Args:
            delivery: what they get.
            handlers: those that match.
            lease: the right to do so.
            earlier: results of earlier attempts.
            conclude: says how to settle an outcome.
            most_attempts: starts after which a handler is given up.
            stale: a later event of the same order is done.

        Raises:
            LeaseLost: somebody else took over meanwhile; the result is refused.
            StoreUnavailable: the settle did not succeed for as long as the lease lasts.
        """
        self._keeper.hold(lease)
        results = dict(earlier)
        try:
            running = run_handlers(
                handlers,
                delivery,
                results,
                self._run_in_thread,
                None if self._observer is None else partial(self._handler_finished, delivery),
                most_attempts=most_attempts,
                stale=stale,
            )
            outcome = await (_surrounded(running) if registered else running)
            for error in outcome.failures:
                logger.error("delivery %s: a handler failed", delivery.key, exc_info=error, extra=OBSERVED)
            wish = conclude(lease, outcome)
            self._keeper.settling(lease)
            if not await self.settle_patiently(wish):
                if self._observer is not None:
                    tell(self._observer.lease_lost, delivery)
                raise LeaseLost(
                    f"delivery {delivery.key}: the lease was lost while a handler ran, and another process took the"
                    " delivery over; this result is refused"
                )
        except LeftRunning:
            raise  # its thread goes on: the lease expires by itself, and not before the others may start
        except asyncio.CancelledError:
            await self.settle(Settle(lease, "pending", "cancelled", results))
            raise
        finally:
            self._keeper.drop(lease)
        return outcome, wish

    async def settle(self, wish: Settle) -> bool:
        """Settle once; False if the lease is somebody else's.

        Raises:
            StoreUnavailable, StoreDataError: as the store does.
        """
        # Where a call costs no trip there is nothing to gather.
        return await self._settles.ask(wish) if self._store.round_trip else (await self._store.settle([wish]))[0]

    async def settle_patiently(self, wish: Settle) -> bool:
        """Settle, and while the store is away try again for as long as the lease lasts: the work is done.

        Raises:
            StoreUnavailable: it did not succeed for so long.
        """
        pause = FIRST_SETTLE_PAUSE
        give_up = self._loop.time() + self._lease
        while True:
            try:
                return await self.settle(wish)
            except Unavailable as error:
                if self._loop.time() > give_up:
                    raise
                logger.warning("delivery %s is done, but not settled: %s", wish.lease.key.key, error)
            await asyncio.sleep(pause * random.uniform(0.5, 1.0))  # noqa: S311 - jitter
            pause = min(2 * pause, LONGEST_SETTLE_PAUSE)

    async def _run_in_thread(self, call: Callable[[], T]) -> T:
        return await run_in_thread(call, self._slots)

    def _handler_finished(
        self, delivery: Delivery, handler: Handler, seconds: float, error: BaseException | None
    ) -> None:
        assert self._observer is not None, "it is asked for only where there is one"  # noqa: S101
        tell(self._observer.handler_finished, delivery, handler.id, seconds, error)


async def _surrounded(running: Coroutine[Any, Any, T]) -> T:
    async with contextlib.AsyncExitStack() as stack:
        try:
            for surroundings in registered:
                await stack.enter_async_context(surroundings.around_handlers())
        except BaseException:
            running.close()
            raise
        return await running


def _size(wish: Settle) -> int:
    return 512 + len(wish.body or b"")
