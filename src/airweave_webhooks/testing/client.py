"""Sending signed deliveries to a receiver in a test: through its ASGI application, without a network."""

import asyncio
import contextvars
from collections.abc import Coroutine, Iterable
from typing import Any, Self, TypeVar

from airweave_webhooks.errors import ConfigurationError
from airweave_webhooks.testing import scenarios
from airweave_webhooks.testing.bench import Bench, Sendable
from airweave_webhooks.testing.journal import Run, Sent
from airweave_webhooks.testing.scenarios import Scenario

T = TypeVar("T")


class AsyncClient(Bench):
    """`Client` for tests that are coroutines."""

    async def send(self, what: Sendable, *, id: str | None = None, tenant: str | None = None) -> Sent:  # noqa: A002
        """Send once: see `Client.send`."""
        return (await self._sent(scenarios.once(self.message(what, id)), tenant))[0]

    async def duplicate(self, what: Sendable, *, tenant: str | None = None) -> list[Sent]:
        """Send twice, one after the other."""
        return await self._sent(scenarios.duplicate(self.message(what)), tenant)

    async def concurrent(self, what: Sendable, copies: int, *, tenant: str | None = None) -> list[Sent]:
        """Send many copies at once."""
        return await self._sent(scenarios.concurrent(self.message(what), copies), tenant)

    async def reorder(self, events: Iterable[Sendable], *, tenant: str | None = None) -> list[Sent]:
        """Send the last one first."""
        return await self._sent(scenarios.reorder(map(self.message, events)), tenant)

    async def tampered(self, what: Sendable, *, tenant: str | None = None) -> Sent:
        """Send what was changed after it was signed."""
        return (await self._sent(scenarios.tampered(self.message(what)), tenant))[0]

    async def stale(self, what: Sendable, *, tenant: str | None = None) -> Sent:
        """Send what was signed an hour ago, or earlier if the receiver tolerates that."""
        return (await self._sent(scenarios.stale(self.message(what), self.receiver.tolerance), tenant))[0]

    async def rotated_secret(self, what: Sendable, *, tenant: str | None = None) -> Sent:
        """Send what is signed with a new secret and the one before."""
        return (await self._sent(scenarios.rotated_secret(self.message(what)), tenant))[0]

    async def run_pending(self) -> list[Run]:
        """Run what is due in the inbox: see `Client.run_pending`."""
        return await self._now(self._drain())

    async def _sent(self, scenario: Scenario, tenant: str | None) -> list[Sent]:
        __tracebackhide__ = True
        return await self._now(self._play(scenario, tenant))

    async def _now(self, work: Coroutine[Any, Any, T]) -> T:
        __tracebackhide__ = True
        result = await work
        self._raise_failures()
        return result


class Client(Bench):
    """Sends signed deliveries to a receiver.

        with Client(receiver) as client:
            client.send(events.sync_completed(collection="docs"))

    What a handler raises comes out of the call that ran it, but for `Retry` and `Reject`. `tenant` says for whom a
    delivery is, where the receiver serves tenants. See `Bench` for the arguments.
    """

    _runner: asyncio.Runner | None = None

    def __enter__(self) -> Self:
        """Replace the receiver's parts."""
        super().__enter__()
        self._runner = asyncio.Runner()
        return self

    def __exit__(self, *details: object) -> None:
        """Give the receiver its parts back."""
        try:
            if self._runner is not None:
                self._runner.close()
                self._runner = None
        finally:
            super().__exit__(*details)

    def send(self, what: Sendable, *, id: str | None = None, tenant: str | None = None) -> Sent:  # noqa: A002
        """Send once.

        Args:
            what: an event, a payload or a body makes a new message; a message, or what was sent before, is sent again.
            id: the message id instead of a new one.
            tenant: for whom.

        Raises:
            BaseException: what a handler raised, unless `raise_errors` is False; a group if there were several.
        """
        return self._sent(scenarios.once(self.message(what, id)), tenant)[0]

    def duplicate(self, what: Sendable, *, tenant: str | None = None) -> list[Sent]:
        """Send twice, the second time after the first was answered, as when that answer was lost."""
        return self._sent(scenarios.duplicate(self.message(what)), tenant)

    def concurrent(self, what: Sendable, copies: int, *, tenant: str | None = None) -> list[Sent]:
        """Send many copies at once, as when a retry meets an attempt that is still under way."""
        return self._sent(scenarios.concurrent(self.message(what), copies), tenant)

    def reorder(self, events: Iterable[Sendable], *, tenant: str | None = None) -> list[Sent]:
        """Send the last one first, and return them as they were sent."""
        return self._sent(scenarios.reorder(map(self.message, events)), tenant)

    def tampered(self, what: Sendable, *, tenant: str | None = None) -> Sent:
        """Send what was changed after it was signed."""
        return self._sent(scenarios.tampered(self.message(what)), tenant)[0]

    def stale(self, what: Sendable, *, tenant: str | None = None) -> Sent:
        """Send what was signed an hour ago, or earlier if the receiver tolerates that."""
        return self._sent(scenarios.stale(self.message(what), self.receiver.tolerance), tenant)[0]

    def rotated_secret(self, what: Sendable, *, tenant: str | None = None) -> Sent:
        """Send what is signed with a new secret and the one before, as during a rotation."""
        return self._sent(scenarios.rotated_secret(self.message(what)), tenant)[0]

    def run_pending(self) -> list[Run]:
        """Run what is due in the inbox, until nothing is; what failed is due again when `clock` has gone on.

        Returns:
            The handlers that ran.

        Raises:
            BaseException: what a handler raised, as for `send`.
        """
        return self._run(self._drain())

    def _sent(self, scenario: Scenario, tenant: str | None) -> list[Sent]:
        __tracebackhide__ = True
        return self._run(self._play(scenario, tenant))

    def _run(self, work: Coroutine[Any, Any, T]) -> T:
        __tracebackhide__ = True
        runner = self._runner
        if runner is None:
            work.close()
            raise ConfigurationError("use a client in a `with` block: outside of it the receiver is as in production")
        if _runs_in_a_loop() or runner.get_loop().is_running():
            work.close()
            raise ConfigurationError("an event loop runs already: use an AsyncClient, and await what it does")
        result = runner.run(work, context=contextvars.copy_context())
        self._raise_failures()
        return result


def _runs_in_a_loop() -> bool:
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return False
    return True
