"""How far behind the workers are: asked for now and then, for admission, for health, and for the worker."""

import asyncio
from collections.abc import Callable
from typing import Final

from airweave_webhooks.errors import Busy, Unavailable
from airweave_webhooks.modes import Inbox
from airweave_webhooks.stores.base import Key
from airweave_webhooks.stores.inbox import Backlog, InboxStore
from airweave_webhooks.telemetry import logger

WATCH_EVERY: Final = 2.0
"""Seconds."""
COME_AGAIN: Final = 60
"""Seconds after which a sender may find room in a full inbox."""


class BacklogWatch:
    """Knows an inbox's backlog, a little late.

    Args:
        store: what holds it.
        name: the receiver's.
        mode: the limits.
    """

    def __init__(self, store: InboxStore, name: str, mode: Inbox) -> None:
        self._latest: Backlog = Backlog()
        self._store = store
        self._name = name
        self._mode = mode
        self._accepted = 0
        self._was_full = False

    async def watch(self, found: Callable[[Backlog], None] | None) -> None:
        """Look for ever, and pass on what was found."""
        while True:
            await asyncio.sleep(WATCH_EVERY)
            try:
                backlog = await self.look()
                if found is not None:
                    found(backlog)
            except Unavailable as error:
                logger.warning("receiver %s cannot look at its inbox: %s", self._name, error)
            except Exception:
                logger.exception("receiver %s cannot look at its inbox", self._name)

    async def look(self) -> Backlog:
        """Look now.

        Raises:
            StoreUnavailable: as the store does.
        """
        before = self._accepted
        self._latest = await self._store.backlog(self._name)
        self._accepted -= before  # it may have those that were accepted meanwhile, too: rather counted twice than not
        full = self._reason_to_refuse()
        if full and not self._was_full:
            logger.error("receiver %s takes no new deliveries: %s", self._name, full)
        elif self._was_full and not full:
            logger.warning("receiver %s takes new deliveries again", self._name)
        self._was_full = full is not None
        return self._latest

    def accepted(self) -> None:
        """Count one more."""
        self._accepted += 1

    @property
    def full(self) -> bool:
        """Whether a delivery needs `admit`: while there is room, no request pays for asking."""
        return self._reason_to_refuse() is not None

    async def admit(self, key: Key) -> None:
        """Refuse a delivery that would be new in a full inbox; what is known is answered all the same.

        Raises:
            Busy: the sender should come again.
            StoreUnavailable: as the store does.
        """
        reason = self._reason_to_refuse()
        if reason is not None and (await self._store.get([key]))[0] is None:
            raise Busy(reason, retry_after=COME_AGAIN)

    def _reason_to_refuse(self) -> str | None:
        pending = self._latest.pending + self._accepted
        if pending >= self._mode.most_pending:
            return f"{pending} deliveries are pending, and Inbox(most_pending={self._mode.most_pending})"
        if self._latest.disk >= self._mode.most_disk:
            return f"the store takes {self._latest.disk} bytes, and Inbox(most_disk={self._mode.most_disk})"
        return None
