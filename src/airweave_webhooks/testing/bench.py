"""A receiver on the test bench: its store, clock and secret replaced, what it does noted, and its end at hand."""

import asyncio
import contextlib
import random
from collections.abc import Callable, Coroutine, Generator, Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any, Final, Self, TypeAlias
from urllib.parse import quote

import httpx
from starlette.applications import Starlette
from starlette.types import ASGIApp

from airweave_webhooks.errors import ConfigurationError
from airweave_webhooks.events import Event, UnknownEvent
from airweave_webhooks.modes import Inbox
from airweave_webhooks.receiver import Receiver
from airweave_webhooks.routing.injection import Factory
from airweave_webhooks.telemetry import Observer
from airweave_webhooks.testing.assertions import check_dead, check_handled_once, check_no_pending, check_rejected
from airweave_webhooks.testing.attempts import Message
from airweave_webhooks.testing.clock import Clock
from airweave_webhooks.testing.crashes import CrashPoint, DyingInbox
from airweave_webhooks.testing.journal import Journal, Run, Sent, raise_failures
from airweave_webhooks.testing.plain import PlainInbox
from airweave_webhooks.testing.recording import compact
from airweave_webhooks.testing.scenarios import TEST_SECRET, Request, Scenario
from airweave_webhooks.testing.sender import Sender, message_id

# Where message ids come from; not from the generator that a test may have seeded.
_ids: Final = random.SystemRandom()

# Where tenants are told apart, if the application is not the user's.
TENANTS: Final = "/{tenant}"

# What a refusal is answered with; a 409 is none.
REFUSED: Final = frozenset({400, 401, 408, 413})

Sendable: TypeAlias = Event | Mapping[str, Any] | bytes | Message | Sent
"""An event, a payload or a body makes a new message; a message, or what was sent before, is sent again."""


def on_the_bench(
    receiver: Receiver, store: PlainInbox, clock: Clock, observer: Observer | None = None
) -> contextlib.AbstractContextManager[None]:
    """Replace a receiver's parts by those of a test, inside a `with` block; its secret is `TEST_SECRET`."""
    mode = receiver.mode
    return receiver.overridden(
        secrets=TEST_SECRET,
        store=store,
        # Deliveries are worked on when the test says so.
        mode=replace(mode, worker=False) if isinstance(mode, Inbox) else mode,
        observer=observer,
        clock=clock,
    )


class Bench:
    """What `Client` and `AsyncClient` share. Use it in a `with` block: outside the receiver is as it was.

    Each call opens the receiver, as the start of a process does, and closes it again. The store outlives that; it is in
    memory, and goes by `clock`.

    Args:
        receiver: is tested.
        store: where it remembers; by default a new one.
        clock: what time it is; by default a clock that stands still until it is told to go on.
        app: the application that the receiver is mounted in; by default the receiver alone.
        path: where it is mounted; `{tenant}` in it stands for a tenant.
        raise_errors: whether what a handler raises comes out of the call. Set it to False to see what the sender sees.

    Attributes:
        runs: handlers that ran, the latest last.
    """

    def __init__(
        self,
        receiver: Receiver,
        *,
        clock: Clock | None = None,
        store: PlainInbox | None = None,
        app: ASGIApp | None = None,
        path: str = "/webhooks/airweave",
        raise_errors: bool = True,
    ) -> None:
        self.receiver = receiver
        self.clock: Clock = clock or Clock()
        self.store: PlainInbox = store or PlainInbox(clock=self.clock)
        self.raise_errors = raise_errors
        self._app = app
        self._path = path
        self._journal = Journal()
        self._crash: CrashPoint | None = None
        self._dying: DyingInbox | None = None
        self._seen = 0
        self._block = contextlib.ExitStack()

    def __enter__(self) -> Self:
        """Replace the receiver's parts.

        Raises:
            ConfigurationError: it is open.
        """
        self._block.enter_context(on_the_bench(self.receiver, self.store, self.clock, self._journal))
        return self

    def __exit__(self, *_: object) -> None:
        """Give the receiver its parts back."""
        self._block.close()

    @property
    def runs(self) -> list[Run]:
        """Handlers that ran, the latest last."""
        return list(self._journal.runs)

    def override(self, annotation: Any, factory: Factory) -> contextlib.AbstractContextManager[None]:
        """Use another factory for a dependency inside a `with` block."""
        return self.receiver.override(annotation, factory)

    @contextlib.contextmanager
    def crash_after(self, point: CrashPoint) -> Generator[None]:
        """Let the process die at a point, once inside the block; calls after that reach a new process.

        What the dead one held is under its lease: `clock.advance(61)` ends that.

        Args:
            point: `claim` (the delivery is claimed, put into the inbox or taken by the worker, and no handler has run),
                `handler` (its handlers have run, and that is not recorded) or `settle` (it is recorded, and not
                answered).

        Raises:
            AssertionError: the point was not reached.
        """
        self._crash = point
        try:
            yield
            if not self._has_crashed:
                raise AssertionError(f"nothing came to the point {point!r} inside the block, so nothing crashed")
        finally:
            self._crash = None

    def assert_handled_once(self, *sent: Sent | Iterable[Sent]) -> None:
        """Check that each delivery was handled, and that each handler that ran for it succeeded exactly once.

        What has the same key is one delivery, also under several message ids (`Receiver(key=natural_key)`).
        """
        check_handled_once(_flat(sent), self._journal, self.store.records)

    def assert_rejected(self, *sent: Sent | Iterable[Sent]) -> None:
        """Check that each was turned away: refused and not stored, or rejected by its handlers with `Reject`."""
        check_rejected(_flat(sent), self._journal, self.store.records)

    def assert_dead(self, *sent: Sent | Iterable[Sent], reason: str | None = None) -> None:
        """Check that each was given up.

        Args:
            sent: what was sent.
            reason: `exhausted`, `rejected` or `drift`, if it matters.
        """
        check_dead(_flat(sent), self._journal, self.store.records, reason)

    def assert_no_pending(self) -> None:
        """Check that nothing waits, and nothing is left half done."""
        check_no_pending(self.store.records, self.clock())

    def message(self, what: Sendable, id: str | None = None) -> Message:  # noqa: A002 - as the header is called
        """Make a message of an event, or take the one that there is.

        Args:
            what: see `Sendable`.
            id: the message id instead of a new one.
        """
        match what:
            case Sent():
                found = what.message
            case Message():
                found = what
            case _:
                return Message(id or message_id(_ids), body_of(what), self.clock())
        return found if id is None else replace(found, id=id)

    async def _play(self, scenario: Scenario, tenant: str | None) -> list[Sent]:
        sent: dict[int, Sent] = {}
        began = len(self._journal.runs)

        async def make(place: int, request: Request) -> None:
            answered = await self._send(request, tenant)
            if not self._is_dead:  # the dead answer nobody
                sent[place] = answered

        async def make_all() -> None:
            if scenario.at_once:
                async with asyncio.TaskGroup() as group:
                    for place, request in enumerate(scenario.requests):
                        group.create_task(make(place, request))
            else:
                for place, request in enumerate(scenario.requests):
                    await make(place, request)

        await self._live(make_all)
        return [
            sent.get(place) or Sent(request.message, None, None, None, self._runs_of(request, began), None, tenant)
            for place, request in enumerate(scenario.requests)
        ]

    async def _send(self, request: Request, tenant: str | None) -> Sent:
        began, refused = len(self._journal.runs), len(self._journal.refusals)
        transport = httpx.ASGITransport(self._app_for(tenant))
        path = TENANTS if tenant is not None and self._app is None else self._path
        if tenant is None and "{tenant}" in path:
            raise ConfigurationError(f"{path} names a tenant: say for whom it is, send(…, tenant=…)")
        url = "http://testserver" + path.replace("{tenant}", quote(tenant or "", safe=""))
        async with (
            httpx.AsyncClient(transport=transport) as client,
            Sender(url, secrets=request.secrets, client=client, clock=self.clock) as sender,
        ):
            timestamp = int(self.clock() - request.age)
            attempt = await sender.attempt(request.message, body=request.body, timestamp=timestamp)
        refusals = self._journal.refusals[refused:] if attempt.status in REFUSED else ()
        return Sent(
            request.message,
            attempt.status,
            attempt.outcome,
            attempt.retry_after,
            self._runs_of(request, began),
            refusals[0].diagnosis if refusals else None,
            tenant,
        )

    @property
    def _has_crashed(self) -> bool:
        return self._crash is None

    @property
    def _is_dead(self) -> bool:
        return self._dying is not None and self._dying.died.is_set()

    def _runs_of(self, request: Request, began: int) -> tuple[Run, ...]:
        return tuple(run for run in self._journal.runs[began:] if run.delivery.id == request.message.id)

    def _app_for(self, tenant: str | None) -> ASGIApp:
        if self._app is not None:
            return self._app
        if tenant is None:
            return self.receiver
        return Starlette(routes=[self.receiver.route(TENANTS)])

    async def _drain(self) -> list[Run]:
        began = len(self._journal.runs)
        await self._live(self.receiver.drain)
        return self._journal.runs[began:]

    async def _live(self, act: Callable[[], Coroutine[Any, Any, None]]) -> None:
        """Open the receiver, act, and close it; or die meanwhile."""
        if self.receiver.store is not self.store:
            raise ConfigurationError(
                f"{self.receiver!r} does not use this client's store: use a client inside its `with` block, and"
                " outside of those of other clients of the same receiver"
            )
        if not self.receiver.is_open:
            self._seen = len(self._journal.runs)  # those before were of another client, inside our block
        if self._crash is None:
            async with self.receiver:
                await act()
            return
        dying = self._dying = DyingInbox(self.store, self._crash)
        mode = replace(self.receiver.mode, shutdown_grace=0.0)  # the dead finish nothing
        with self.receiver.overridden(store=dying, mode=mode):
            async with self.receiver:
                acting, dead = asyncio.create_task(act()), asyncio.create_task(dying.died.wait())
                await asyncio.wait([acting, dead], return_when=asyncio.FIRST_COMPLETED)
                for task in (acting, dead):
                    task.cancel()
                await asyncio.gather(acting, dead, return_exceptions=True)
        self._dying = None
        if dying.died.is_set():
            self._crash = None
        else:
            await acting

    def _raise_failures(self) -> None:
        """Raise what handlers raised since this was last asked."""
        __tracebackhide__ = True
        unseen = self._journal.runs[self._seen :]
        self._seen += len(unseen)
        if self.raise_errors:
            raise_failures(unseen)


def body_of(what: Event | Mapping[str, Any] | bytes) -> bytes:
    """Write an event, or a payload, as Airweave does."""
    match what:
        case bytes():
            return what
        case UnknownEvent():
            return compact(what.payload)
        case Event():
            return compact(what.model_dump(mode="json", exclude_unset=True))
        case _:
            return compact(what)


def _flat(sent: Sequence[Sent | Iterable[Sent]]) -> list[Sent]:
    found: list[Sent] = []
    for each in sent:
        found += [each] if isinstance(each, Sent) else each
    return found
