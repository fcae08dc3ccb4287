"""A process that dies at a named point, as its store sees it."""

import asyncio
from collections.abc import Sequence
from typing import Literal, TypeAlias

from airweave_webhooks.errors import StoreUnavailable
from airweave_webhooks.stores.base import Claim, Claimed, Lease, Settle
from airweave_webhooks.stores.inbox import Take, Taken
from airweave_webhooks.testing.plain import PlainInbox

CrashPoint: TypeAlias = Literal["claim", "handler", "settle"]
"""`claim`: the delivery is claimed, put into the inbox or taken by the worker, and no handler has run. `handler`: its
handlers have run, and that is not recorded. `settle`: it is recorded, and not answered."""


class DyingInbox(PlainInbox):
    """A store as a process uses it that dies: what it did before stays done, after that it does nothing more.

    Args:
        left_behind: what the next process finds.
        point: where this one dies.

    Attributes:
        died: is set when it does.
    """

    def __init__(self, left_behind: PlainInbox, point: CrashPoint) -> None:
        super().__init__()
        opened = self._opened
        vars(self).update(vars(left_behind))
        self._opened = opened
        self._point: CrashPoint = point
        self.died: asyncio.Event = asyncio.Event()

    async def claim(self, claims: Sequence[Claim]) -> list[Claimed]:
        """Claim, and perhaps die."""
        self._check_alive()
        claimed = await super().claim(claims)
        if any(one.verdict == "claimed" for one in claimed):
            self._die_at("claim")
        return claimed

    async def take(self, take: Take) -> list[Taken]:
        """Take, and perhaps die."""
        self._check_alive()
        taken = await super().take(take)
        if taken:
            self._die_at("claim")
        return taken

    async def settle(self, settles: Sequence[Settle]) -> list[bool]:
        """Perhaps die; settle, and perhaps die."""
        self._check_alive()
        self._die_at("handler")
        settled = await super().settle(settles)
        self._die_at("settle")
        return settled

    def renew(self, leases: Sequence[Lease], seconds: float) -> list[bool]:
        """Renew, while alive."""
        self._check_alive()
        return super().renew(leases, seconds)

    def _die_at(self, point: CrashPoint) -> None:
        if point == self._point:
            self.died.set()
        self._check_alive()

    def _check_alive(self) -> None:
        if self.died.is_set():
            raise StoreUnavailable("the process has died")
