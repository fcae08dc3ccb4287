"""A verified delivery on its way: claim, run, settle, answer. One `Pipeline` per receiver and event loop."""

import asyncio
import contextlib
import math
from collections.abc import Awaitable, Callable
from functools import partial
from typing import Final, NamedTuple

from airweave_webhooks.backlog import BacklogWatch
from airweave_webhooks.bodies import BodyLimits, BodyReader
from airweave_webhooks.claiming import Claims
from airweave_webhooks.deadlines import Deadlines
from airweave_webhooks.delivery import ACCEPTED, CONFLICT, DUPLICATE, FAILED, IGNORED, Delivery, Reply
from airweave_webhooks.errors import (
    Busy,
    ConfigurationError,
    LeaseLost,
    ShuttingDown,
    StoreDataError,
    StoreUnavailable,
    Unavailable,
)
from airweave_webhooks.execution import Outcome
from airweave_webhooks.grace import CLEAN_UP, end
from airweave_webhooks.holder import Holder
from airweave_webhooks.housekeeping import keep_house
from airweave_webhooks.modes import Inbox, Mode, inbox_like
from airweave_webhooks.routing import Matched, Table
from airweave_webhooks.signing import Envelope, RawHeaders
from airweave_webhooks.standstill import refuse_an_inbox_that_stands_still
from airweave_webhooks.stores.base import Claim, Claimed, Lease, Settle, Store
from airweave_webhooks.stores.coalesce import Coalescer
from airweave_webhooks.stores.inbox import InboxStore
from airweave_webhooks.telemetry import Observer, logger
from airweave_webhooks.worker import Worker

DAY: Final = 86_400.0
TOO_LATE: Final = Reply(503, "still_running", 5)


class Admission(NamedTuple):
    """A request whose headers are sound and fresh, and whose body nobody has looked at yet."""

    envelope: Envelope
    headers: RawHeaders
    pipeline: "Pipeline"
    started: float
    """When it came, by the event loop's time."""


def unavailable(error: Unavailable | ConfigurationError) -> Reply:
    """Ask the sender to come again; when the program is set up wrongly, in a minute."""
    return Reply(503, "unavailable", error.retry_after if isinstance(error, Unavailable) else 60)


class Pipeline:
    """Works on verified deliveries under leases, so that each is done once, whoever else works on the same store.

    Args:
        name: the receiver's.
        store: remembers what was done.
        mode: time limits and bounds.
        retention: seconds for which a finished delivery is remembered.
        limits: bounds on bodies that are being read.
        observer: is told what happens; None costs nothing.
        table: gives the handlers.

    Raises:
        ConfigurationError: the mode, the store and the handlers do not fit together.
    """

    def __init__(
        self,
        *,
        name: str,
        store: Store,
        mode: Mode,
        retention: float,
        limits: BodyLimits,
        observer: Observer | None,
        table: Callable[[], Table],
    ) -> None:
        self.loop: asyncio.AbstractEventLoop = asyncio.get_running_loop()
        self.bodies: BodyReader = BodyReader(limits, self.loop)
        self._deadlines: Deadlines[asyncio.Future[Reply]] = Deadlines(self.loop, mode.answer_within, _too_late)
        self._claim_deadlines: Deadlines[asyncio.Future[Claimed]] = Deadlines(
            self.loop, mode.answer_within, _too_late_to_store
        )
        self._name = name
        self._store = store
        self._mode = mode
        self._retention = retention
        self._observer = observer
        self._table = table
        self._claims = Claims(name, lease=mode.lease, retention=retention, inbox=isinstance(mode, Inbox))
        self._holder = Holder(store, lease=mode.lease, most_threads=mode.most_threads, observer=observer)
        self._running: dict[asyncio.Future[Reply], asyncio.Task[None]] = {}
        self._opening: asyncio.Task[None] | None = None
        self._open = False
        self._closing = False
        self._background: set[asyncio.Task[None]] = set()
        self._releases: set[asyncio.Task[None]] = set()
        self._claiming = Coalescer(
            store.claim, key=lambda claim: claim.key, size=_claim_size, unclaimed=self._give_back
        )
        self._backlog: BacklogWatch | None = None
        self._worker: Worker | None = None
        if not isinstance(mode, Inbox):
            _refuse_what_needs_an_inbox(table())
            return
        if not isinstance(store, InboxStore) or not store.durable:
            raise ConfigurationError(
                f"Receiver(mode=Inbox()) acknowledges what it has stored, and {store!r} holds no inbox that outlives"
                " the process: use store='sqlite:///path', or 'postgresql://…' for several machines"
            )
        refuse_an_inbox_that_stands_still(mode, store)
        self._backlog = BacklogWatch(store, name, mode)
        if mode.worker:
            self._worker = self._make_worker(store, mode)

    def _make_worker(self, store: InboxStore, mode: Inbox) -> Worker:
        return Worker(
            store,
            self._holder,
            mode=mode,
            name=self._name,
            owner=self._claims.owner,
            table=self._table,
            observer=self._observer,
        )

    async def open(self) -> None:
        """Open the store and start what runs in the background; once, however many ask at the same time.

        Raises:
            ConfigurationError, StoreUnavailable: the store cannot be opened.
        """
        if self._open:
            return
        opening = self._opening = self._opening or self.loop.create_task(self._start())
        try:
            await asyncio.shield(opening)
        finally:
            if opening.done():
                self._opening = None

    async def _start(self) -> None:
        await self._store.open()
        try:
            backlog = await self._backlog.look() if self._backlog is not None else None
        except BaseException:
            await self._store.close()
            raise
        self._holder.start()
        bodies = self._mode.keep_bodies_days * DAY if isinstance(self._mode, Inbox) else self._retention
        self._background = {self.loop.create_task(keep_house(self._store, self._name, self._retention, bodies))}
        if self._backlog is not None:
            noted = self._worker.note if self._worker else None
            self._background.add(self.loop.create_task(self._backlog.watch(noted)))
        if self._worker is not None:
            self._worker.start(backlog)
        self._open = True

    async def close(self) -> None:
        """Take nothing new, let handlers finish within the grace period, cancel the rest, close the store.

        A handler that runs in a thread cannot be cancelled: its lease is left to expire.
        """
        self._closing = True
        if self._worker is not None:
            await self._worker.stop()
        await end(
            self._running.values(),
            self._mode.shutdown_grace,
            "receiver %s closes while %d handlers still run, after %g s of grace; their deliveries will come again",
            self._name,
        )
        if not self._open:
            return
        self._open = False
        for background in self._background:
            background.cancel()
        await asyncio.wait(self._background)
        await self._claiming.settled()
        if self._releases:
            await asyncio.wait(self._releases, timeout=CLEAN_UP)
        await self._holder.stop()
        await self._store.close()

    async def drain(self) -> None:
        """Work on what is due until nothing is.

        Raises:
            ConfigurationError: the store holds no inbox.
            StoreUnavailable: the store cannot be reached.
        """
        if not isinstance(self._store, InboxStore):
            raise ConfigurationError(f"{self._store!r} holds no inbox, so there is nothing to work on")
        await self._make_worker(self._store, inbox_like(self._mode, None)).drain()

    def process(self, delivery: Delivery, matched: Matched, started: float) -> Awaitable[Reply]:
        """Begin with one delivery; what this gives waits for the answer to a request that `started` then (loop's time).

        It comes in time: the work runs in a task of its own, so a client that hangs up, or a deadline that passes, ends
        the waiting and not the work.

        Raises:
            ShuttingDown, Busy, StoreUnavailable: it was not taken. Waiting may raise them, too.
        """
        if self._closing:
            raise ShuttingDown("the receiver is closing")
        in_flight = len(self._running) + len(self._claim_deadlines)
        if in_flight >= self._mode.most_in_flight:
            raise Busy(f"{in_flight} deliveries are in flight already")
        if not self._open:
            return self._open_and_process(delivery, matched, started)
        if self._backlog is not None and matched.handlers:
            # Of the delivery nothing but its claim is kept while it waits: what many requests hold at once keeps the
            # garbage collector busy.
            return self._acknowledge(self._backlog, self._claims.of(delivery, matched), started)
        return self._work_in_task(delivery, matched, started)

    async def _open_and_process(self, delivery: Delivery, matched: Matched, started: float) -> Reply:
        logger.warning(
            "receiver %s opens on its first delivery: nobody will close it; give the application"
            " lifespan=receiver.lifespan for a graceful shutdown",
            self._name,
        )
        await self.open()
        return await self.process(delivery, matched, started)

    async def _work_in_task(self, delivery: Delivery, matched: Matched, started: float) -> Reply:
        answer: asyncio.Future[Reply] = self.loop.create_future()
        # Not eagerly: the answers to all that came at once then leave at once, which saves both sides wake-ups.
        self._running[answer] = self.loop.create_task(self._work(delivery, matched, answer))
        self._deadlines.start(answer, started)
        try:
            return await answer
        finally:
            self._deadlines.stop(answer)

    async def _acknowledge(self, backlog: BacklogWatch, claim: Claim, started: float) -> Reply:
        """Store a delivery for the worker. Needs no task: a client that hangs up takes nothing back."""
        if backlog.full:
            await backlog.admit(claim.key)
        asked = self._claiming.ask(claim)
        self._claim_deadlines.start(asked, started)
        try:
            claimed = await asked
        finally:
            self._claim_deadlines.stop(asked)
        if claimed.verdict != "claimed":
            return self._not_ours(claimed, claim)
        self._stored()
        return ACCEPTED

    def _stored(self) -> None:
        """There is something for a worker to do."""
        if self._backlog is not None:
            self._backlog.accepted()
        if self._worker is not None:
            self._worker.wake()

    async def _work(self, delivery: Delivery, matched: Matched, answer: "asyncio.Future[Reply]") -> None:
        try:
            reply = await self._deliver(delivery, matched)
        except LeaseLost as error:
            logger.error("%s", error)
            reply = Reply(error.status, "lease_lost", 1)
        except (Unavailable, ConfigurationError) as error:
            if not answer.done():
                answer.set_exception(error)  # whoever waits for it reports it, within the log's budget
                return
            logger.error("delivery %s: %s", delivery.key, error)
            reply = unavailable(error)
        except asyncio.CancelledError:
            _answer(answer, unavailable(ShuttingDown("the receiver is closing")))
            raise
        except Exception:
            logger.exception("delivery %s failed outside of its handlers", delivery.key)
            reply = FAILED
        finally:
            self._running.pop(answer, None)
        _answer(answer, reply)

    async def _deliver(self, delivery: Delivery, matched: Matched) -> Reply:
        claim = self._claims.of(delivery, matched)
        # Where a call costs no trip there is nothing to gather.
        claimed = await self._claiming.ask(claim) if self._store.round_trip else (await self._store.claim([claim]))[0]
        if claimed.verdict != "claimed":
            return self._not_ours(claimed, claim)
        if claim.into != "leased":
            return IGNORED if claim.into == "done" else ACCEPTED
        delivery.attempt = claimed.attempt
        delivery.generation = claimed.generation
        lease = Lease(claim.key, claimed.fence, claim.token)
        conclude = partial(_drifted, delivery) if matched.waiting else _wish
        outcome, wish = await self._holder.work(delivery, matched.handlers, lease, claimed.results, conclude)
        return ACCEPTED if matched.waiting and wish.state == "dead" else outcome.reply

    def _not_ours(self, claimed: Claimed, claim: Claim) -> Reply:
        match claimed.verdict:
            case "duplicate":
                return DUPLICATE
            case "accepted":
                return ACCEPTED
            case "conflict":
                logger.error("message id %s came before with another body; this one is not processed", claim.message_id)
                return CONFLICT
            case _:
                return Reply(409, "in_progress", max(1, math.ceil(claimed.retry_after)))

    def _give_back(self, claim: Claim, claimed: Claimed) -> None:
        """Release what was won for a caller that has gone; what is stored for a worker stays."""
        if claimed.verdict != "claimed":
            return
        if claim.into == "pending":
            self._stored()
        if claim.into == "leased":
            lease = Lease(claim.key, claimed.fence, claim.token)
            task = self.loop.create_task(
                self._release(Settle(lease, "pending", "released", claimed.results, started=False))
            )
            self._releases.add(task)
            task.add_done_callback(self._releases.discard)

    async def _release(self, wish: Settle) -> None:
        with contextlib.suppress(Unavailable, StoreDataError):  # then the lease runs out
            await self._holder.settle(wish)


def _refuse_what_needs_an_inbox(table: Table) -> None:
    for handler in table.handlers:
        option = handler.options.for_an_inbox
        if option is not None:
            raise ConfigurationError(
                f"handler {handler.id}: {option}=… can be kept to only by a worker, which decides what it starts: use"
                " Receiver(mode=Inbox())"
            )


def _wish(lease: Lease, outcome: Outcome) -> Settle:
    state, reason, results, _, _, error, delay, started = outcome
    return Settle(lease, state, reason, results, error, delay, None, started)


def _drifted(delivery: Delivery, lease: Lease, outcome: Outcome) -> Settle:
    """Some handlers ran; the one that wanted the event as it was is to run after an upgrade."""
    if outcome.state == "pending":
        return _wish(lease, outcome)
    return Settle(lease, "dead", "drift", outcome.results, outcome.error, body=delivery.body)


def _answer(answer: "asyncio.Future[Reply]", reply: Reply) -> None:
    if not answer.done():
        answer.set_result(reply)


def _too_late(answer: "asyncio.Future[Reply]") -> None:
    _answer(answer, TOO_LATE)


def _too_late_to_store(asked: "asyncio.Future[Claimed]") -> None:
    if not asked.done():
        asked.set_exception(StoreUnavailable("the store did not answer in time"))


def _claim_size(claim: Claim) -> int:
    return 512 + len(claim.body or b"")
