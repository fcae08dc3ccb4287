"""Draining an inbox: take what is due, run its handlers under a lease, settle; back off, give up, go on."""

import asyncio
import contextlib
import itertools
import os
from collections import Counter
from collections.abc import Callable, Sequence
from functools import partial
from typing import Final

from airweave_webhooks.delivery import Delivery
from airweave_webhooks.errors import LeaseLost, StoreDataError, Unavailable
from airweave_webhooks.events import AnyEvent, parse
from airweave_webhooks.execution import Outcome
from airweave_webhooks.grace import end
from airweave_webhooks.holder import Holder
from airweave_webhooks.modes import Inbox
from airweave_webhooks.routing import Handler, Matched, Table
from airweave_webhooks.stores.base import Lease, Origin, Record, Settle
from airweave_webhooks.stores.inbox import Backlog, InboxStore, Take, Taken
from airweave_webhooks.telemetry import OBSERVED, Observer, logger, tell

# Seconds.
BEAT_EVERY: Final = 5.0
FIRST_OUTAGE_PAUSE: Final = 0.1
LONGEST_OUTAGE_PAUSE: Final = 5.0
# A delivery that runs alone waits so long for the others to finish, and then so long for its next chance.
DRAIN_FOR: Final = 30.0
DRAIN_AGAIN_AFTER: Final = 60.0


class Worker:
    """Works on what is pending, as many deliveries at once as the mode says. Belongs to one event loop.

    Args:
        store: holds the deliveries.
        holder: runs handlers under leases.
        mode: how many at once, how often, how long apart.
        name: the receiver's.
        owner: who works, for people.
        table: gives the handlers, which may change.
        observer: is told what happens; None costs nothing.
    """

    def __init__(
        self,
        store: InboxStore,
        holder: Holder,
        *,
        mode: Inbox,
        name: str,
        owner: str,
        table: Callable[[], Table],
        observer: Observer | None,
    ) -> None:
        self._loop = asyncio.get_running_loop()
        self._store = store
        self._holder = holder
        self._mode = mode
        self._name = name
        self._owner = owner
        self._table = table
        self._observer = observer
        self._token_prefix = os.urandom(16)
        self._token_numbers = itertools.count()
        self._signal = asyncio.Event()
        self._running: set[asyncio.Task[None]] = set()
        # Of handlers with a limit of their own: how many deliveries are theirs now.
        self._busy: Counter[str] = Counter()
        self._stopping = False
        self._suspects_wait = False
        self._alone: asyncio.Task[None] | None = None
        self._unsure: Take | None = None
        self._next_drain = 0.0
        self._drain_until = 0.0
        self._tasks: list[asyncio.Task[None]] = []

    def start(self, backlog: Backlog | None) -> None:
        """Begin; with a backlog if it is known."""
        if backlog is not None:
            self.note(backlog)
        self._tasks = [self._loop.create_task(self._run()), self._loop.create_task(self._beat())]

    async def drain(self) -> None:
        """Work on what is due until nothing is, and then end: instead of `start` and `stop`.

        Raises:
            StoreUnavailable: the store cannot be reached.
        """
        self.note(await self._store.backlog(self._name))
        more = True
        while more or self._signal.is_set():  # what ended during a round may have made room for more
            self._signal.clear()
            more = await self._round()
            if self._running:
                await asyncio.wait(self._running)
                more = True

    def wake(self) -> None:
        """Look for work now: there may be some."""
        self._signal.set()

    def note(self, backlog: Backlog) -> None:
        """Learn from a backlog whether somebody has to run alone."""
        if backlog.suspects and not self._suspects_wait:
            self._suspects_wait = True
            self.wake()

    async def stop(self) -> None:
        """Take nothing more, let handlers finish within the grace period, cancel the rest."""
        self._stopping = True
        self.wake()
        if not self._tasks:
            return
        await asyncio.wait(self._tasks[:1])
        await end(
            self._running,
            self._mode.shutdown_grace,
            "receiver %s closes while its worker still runs %d deliveries, after %g s of grace; they will be run again",
            self._name,
        )
        for task in self._tasks:
            task.cancel()
        await asyncio.wait(self._tasks)

    async def _beat(self) -> None:
        while True:
            try:
                await self._store.beat(self._name, self._owner)
            except Exception as error:  # noqa: BLE001 - the store is away; who works notices, too
                logger.debug("the worker of receiver %s cannot say that it works: %s", self._name, error)
            await asyncio.sleep(BEAT_EVERY)

    async def _run(self) -> None:
        pause = FIRST_OUTAGE_PAUSE
        async with self._store.listening(self._name, self.wake):
            while not self._stopping:
                self._signal.clear()
                try:
                    more = await self._round()
                    pause = FIRST_OUTAGE_PAUSE
                except Unavailable as error:
                    logger.warning("the worker of receiver %s waits %.1f s: %s", self._name, pause, error)
                    await self._wait(pause)
                    pause = min(2 * pause, LONGEST_OUTAGE_PAUSE)
                except Exception:
                    logger.exception("the worker of receiver %s failed; it goes on in %.1f s", self._name, pause)
                    await self._wait(pause)
                    pause = min(2 * pause, LONGEST_OUTAGE_PAUSE)
                else:
                    if not more:
                        await self._wait(self._mode.poll)

    async def _wait(self, seconds: float) -> None:
        """Wait for a signal, for so long at most."""
        if not self._signal.is_set():
            timer = self._loop.call_later(seconds, self._signal.set)
            try:
                await self._signal.wait()
            finally:
                timer.cancel()

    async def _round(self) -> bool:
        """Take as much as can be started, and start it.

        Returns:
            Whether there may be more to start at once.
        """
        if self._holder.behind:  # what has run out meanwhile, and still runs here, would be given to us once more
            return False
        await self._make_sure()
        if self._alone is not None:
            return False
        if self._suspects_wait and self._loop.time() >= self._next_drain:
            return await self._start_one_alone()
        limited = self._table().limited
        more = await self._take_and_start(self._free, without=tuple(limited))
        for event_type, handlers in limited.items():
            more |= await self._take_and_start(min(self._free, self._lanes(handlers)), only=(event_type,))
            await asyncio.sleep(0)  # what was started is counted before the next type is asked for
        return more and self._free > 0

    @property
    def _free(self) -> int:
        return self._mode.concurrency - len(self._running)

    def _lanes(self, handlers: Sequence[Handler]) -> int:
        return min((handler.options.concurrency or 0) - self._busy[handler.id] for handler in handlers)

    async def _take_and_start(self, most: int, *, without: Sequence[str] = (), only: Sequence[str] = ()) -> bool:
        if most <= 0:
            return False
        taken = await self._take(most, without=without, only=only)
        if self._stopping:
            await self._put_back(taken)
            return False
        for work in taken:
            self._start(work)
        return len(taken) == most

    async def _take(
        self, most: int, *, suspects: bool = False, without: Sequence[str] = (), only: Sequence[str] = ()
    ) -> list[Taken]:
        token = self._token_prefix + next(self._token_numbers).to_bytes(8)
        wish = Take(self._name, most, token, self._mode.lease, self._owner, suspects, without, only)
        self._unsure = wish
        taken = await self._store.take(wish)
        self._unsure = None
        return taken

    async def _make_sure(self) -> None:
        """Give back what a take has taken that was not answered: without this it would wait for its leases to end."""
        if self._unsure is not None:
            await self._put_back(await self._store.take(self._unsure))
            self._unsure = None

    async def _put_back(self, taken: Sequence[Taken]) -> None:
        await asyncio.gather(*[self._holder.settle_patiently(_put_back(record)) for record, _ in taken])

    def _start(self, work: Taken) -> asyncio.Task[None]:
        task = self._loop.create_task(self._work(work))
        self._running.add(task)
        task.add_done_callback(self._finished)
        return task

    def _finished(self, task: asyncio.Task[None]) -> None:
        if self._free == 0:
            self.wake()
        self._running.discard(task)
        if self._drain_until and not self._running:
            self.wake()

    async def _start_one_alone(self) -> bool:
        """Run a delivery that may end this process when nothing else runs in it.

        The others are waited for, but not for ever; and afterwards they get as much time as it took.
        """
        now = self._loop.time()
        if self._running:
            self._drain_until = self._drain_until or now + DRAIN_FOR
            if now >= self._drain_until:
                self._drain_until, self._next_drain = 0.0, now + DRAIN_AGAIN_AFTER
                return True
            return False
        self._drain_until = 0.0
        taken = await self._take(1, suspects=True)
        self._suspects_wait = bool(taken)
        if not taken:  # they wait for others of their order, or are under a lease, which ends by then if nobody has it
            self._next_drain = now + self._mode.lease
        if self._stopping:
            await self._put_back(taken)
            return False
        for work in taken:
            logger.warning(
                "delivery %s has lost its lease %d times, as if it ended its process: it runs alone",
                work.record.key.key,
                work.record.leases_lost,
            )
            self._alone = self._start(work)
            self._alone.add_done_callback(partial(self._end_of_alone, now))
        return not taken

    def _end_of_alone(self, began: float, _: asyncio.Task[None]) -> None:
        self._alone = None
        self._next_drain = 2 * self._loop.time() - began
        self.wake()

    async def _work(self, work: Taken) -> None:
        record, stale = work
        limited: list[str] = []
        try:
            delivery = delivery_of(record, self._name)
            matched = self._table().match(delivery.event)
            own = [handler for handler in matched.handlers if handler.options.concurrency]
            if own and self._lanes(own) <= 0:  # of a type that nobody could name before
                await self._holder.settle_patiently(_put_back(record, self._mode.poll))
                return
            limited = [handler.id for handler in own]
            self._busy.update(limited)
            await self._deliver(delivery, matched, record, stale=stale)
        except (LeaseLost, Unavailable) as error:
            logger.error("delivery %s: %s", record.key.key, error)
        except Exception as error:
            logger.exception("delivery %s failed outside of its handlers", record.key.key)
            await self._fail(record, error)
        finally:
            self._busy.subtract(limited)
            if limited or (record.origin is not None and record.origin.order):
                self.wake()  # the next in its line

    async def _fail(self, record: Record, error: Exception) -> None:
        """Settle what went wrong before or after the handlers: our own fault, or a body that no longer parses."""
        last = record.attempts >= self._mode.max_attempts
        with contextlib.suppress(Unavailable, StoreDataError):  # then the lease runs out
            await self._holder.settle_patiently(
                Settle(
                    _lease(record),
                    "dead" if last else "pending",
                    "exhausted" if last else "failed",
                    record.results,
                    f"{type(error).__name__}: {error}",
                    self._mode.pause_after(record.attempts),
                )
            )

    async def _deliver(self, delivery: Delivery, matched: Matched, record: Record, *, stale: bool) -> None:
        lease = _lease(record)
        if matched.handlers:
            _, wish = await self._holder.work(
                delivery,
                matched.handlers,
                lease,
                record.results,
                partial(self._conclude, delivery, matched),
                most_attempts=self._mode.max_attempts,
                stale=stale,
            )
        else:
            wish = (
                Settle(lease, "dead", "drift", record.results, started=False)
                if matched.waiting
                else Settle(lease, "done", "ignored", record.results, started=False)
            )
            await self._holder.settle_patiently(wish)
        if wish.state == "dead":
            attempts = delivery.attempt if wish.started else delivery.attempt - 1
            logger.error(
                "delivery %s is dead (%s) after %d attempts", delivery.key, wish.reason, attempts, extra=OBSERVED
            )
        if self._observer is not None:
            tell(self._observer.settled, delivery, wish.state, wish.reason)

    def _conclude(self, delivery: Delivery, matched: Matched, lease: Lease, outcome: Outcome) -> Settle:
        state, reason, delay = outcome.state, outcome.reason, outcome.delay
        if state == "pending":
            delay = delay or self._mode.pause_after(delivery.attempt)
        elif matched.waiting:
            state, reason = "dead", "drift"
        return Settle(lease, state, reason, outcome.results, outcome.error, delay, started=outcome.started)


def delivery_of(record: Record, receiver: str) -> Delivery:
    """Make the delivery of a record with a body again, as handlers see it.

    Raises:
        InvalidPayload: this release does not take the body for an event's.
    """
    body = record.body or b""
    origin = record.origin or Origin(int(record.received_at))
    event: AnyEvent = parse(body)
    return Delivery(
        record.message_id,
        origin.sent_at,
        record.key.tenant or None,
        [(name.encode(), value.encode("latin-1", "replace")) for name, value in origin.headers.items()],
        body,
        event,
        receiver,
        record.key.key,
        record.attempts,
        record.generation,
    )


def _lease(record: Record) -> Lease:
    return Lease(record.key, record.fence, record.token)


def _put_back(record: Record, delay: float = 0.0) -> Settle:
    """Give back what was taken and not started."""
    return Settle(_lease(record), "pending", "released", record.results, delay=delay, started=False)
