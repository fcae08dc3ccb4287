"""`DjangoStore`: durable, on any database that Django runs on, in the tables of the app's own models."""

import os
import threading
import weakref
from collections.abc import Callable, Sequence
from contextlib import AbstractAsyncContextManager, nullcontext
from typing import TYPE_CHECKING, Final

from airweave_webhooks.errors import ConfigurationError, StoreUnavailable
from airweave_webhooks.stores.base import Claim, Claimed, Key, Lease, Record, Settle
from airweave_webhooks.stores.inbox import Backlog, Cursor, Search, Take, Taken, Tally

try:
    from django.db import connections
except ModuleNotFoundError:
    raise ConfigurationError("this needs Django: pip install 'airweave-webhooks[django]'") from None

from airweave_webhooks.integrations.django.store_connections import outlives_the_process
from airweave_webhooks.integrations.django.store_threads import Threads

if TYPE_CHECKING:
    pass

# Each by its `id`: stores on one database are equal.
_stores: Final["weakref.WeakValueDictionary[int, DjangoStore]"] = weakref.WeakValueDictionary()


class DjangoStore:
    """Keeps records in a database of the project. Workers can take them from it.

    Time is the database server's; SQLite has none, so it is the machine's. Each process has up to three connections of
    its own: one writes, one reads for operators, one renews leases. They are not those of the project's requests, and
    see nothing of their transactions.

    Can be made in the settings: models are not needed before it is opened.

    Args:
        using: the database's alias in `DATABASES`.
    """

    round_trip = True

    def __init__(self, using: str = "default") -> None:
        self.using: str = using
        self._start_anew()
        _stores[id(self)] = self

    def _start_anew(self) -> None:
        self._opened = 0
        self._threads: Threads | None = None
        # Opening and closing can come from the event loops of several threads.
        self._opening = threading.Lock()

    def shared_by(self) -> str:
        """Which processes see the same records, for people."""
        machines = "one machine" if connections[self.using].vendor == "sqlite" else "all machines"
        return f"all processes of {machines} that use the database {self.using!r}"

    def __repr__(self) -> str:
        return f"DjangoStore({self.using!r})"

    def __eq__(self, other: object) -> bool:
        """Two stores on one database are the same store."""
        return isinstance(other, DjangoStore) and self.using == other.using

    def __hash__(self) -> int:
        return hash(self.using)

    @property
    def durable(self) -> bool:
        """Whether what is settled survives the process: not in a SQLite database in memory."""
        return outlives_the_process(self.using)

    async def open(self) -> None:
        """Connect, and see whether the tables are there. Counted: each `open` needs its `close`.

        Raises:
            ConfigurationError: the database cannot be used as it is; the message says what to do.
            StoreUnavailable: it cannot be reached.
        """
        if self.using not in connections.settings:
            raise ConfigurationError(f"{self!r}: DATABASES in Django's settings has no {self.using!r}")
        with self._opening:
            # Models can be imported once Django has loaded the apps.
            from airweave_webhooks.integrations.django import store_inbox, store_records  # noqa: PLC0415

            self._records = store_records
            self._inbox = store_inbox
            self._opened += 1
            if self._threads is None:
                self._threads = Threads(self.using)
        try:
            await self._open_threads.write(store_records.check)
        except BaseException:
            await self.close()
            raise

    async def close(self) -> None:
        """Finish what is under way, disconnect, and end the threads."""
        with self._opening:
            self._opened -= 1
            if self._opened or self._threads is None:
                return
            threads, self._threads = self._threads, None
        await threads.close()

    @property
    def _open_threads(self) -> Threads:
        if self._threads is None:
            raise StoreUnavailable(f"{self!r} is not open in this process")
        return self._threads

    async def claim(self, claims: Sequence[Claim]) -> list[Claimed]:
        """Claim each, in one transaction."""
        return await self._open_threads.write(lambda transaction: self._records.claim(transaction, claims))

    async def settle(self, settles: Sequence[Settle]) -> list[bool]:
        """Settle each whose lease is current, in one transaction."""
        return await self._open_threads.write(lambda transaction: self._records.settle(transaction, settles))

    def renew(self, leases: Sequence[Lease], seconds: float) -> list[bool]:
        """Renew each that is current, on a connection that nothing else uses."""
        return self._open_threads.renew(lambda transaction: self._records.renew(transaction, leases, seconds))

    async def get(self, keys: Sequence[Key]) -> list[Record | None]:
        """Read records."""
        return await self._open_threads.read(lambda transaction: self._records.get(transaction, keys))

    async def purge(self, *, done_for: float, abandoned_for: float, most: int) -> int:
        """Remove what is finished, give up what is abandoned."""
        return await self._open_threads.write(
            lambda transaction: self._records.purge(
                transaction, done_for=done_for, abandoned_for=abandoned_for, most=most
            )
        )

    async def take(self, take: Take) -> list[Taken]:
        """Lease what is due. Takes of one receiver go one after the other, whoever asks."""
        return await self._open_threads.write(lambda transaction: self._inbox.take(transaction, take))

    def listening(self, receiver: str, wake: Callable[[], None]) -> AbstractAsyncContextManager[None]:  # noqa: ARG002
        """Do nothing: not every database can tell other processes."""
        return nullcontext()

    async def beat(self, receiver: str, owner: str) -> None:
        """Note that a worker works; forget those that have not done so for a day."""
        await self._open_threads.write(lambda transaction: self._inbox.beat(transaction, receiver, owner))

    async def backlog(self, receiver: str) -> Backlog:
        """Say how far the workers are behind."""
        return await self._open_threads.read(lambda transaction: self._inbox.backlog(transaction, receiver))

    async def forget_bodies(self, *, done_for: float, most: int) -> int:
        """Drop the bodies of what has been done for long."""
        return await self._open_threads.write(
            lambda transaction: self._inbox.forget_bodies(transaction, done_for=done_for, most=most)
        )

    async def search(self, search: Search, *, after: Cursor | None = None, most: int) -> list[Record]:
        """Find deliveries, the latest first."""
        return await self._open_threads.read(lambda transaction: self._inbox.search(transaction, search, after, most))

    async def count(self, search: Search) -> int:
        """Say how many a search finds."""
        return await self._open_threads.read(lambda transaction: self._inbox.count(transaction, search))

    async def replay(self, keys: Sequence[Key], *, who: str, why: str) -> list[bool]:
        """Make each due again that is finished and has a body."""
        return await self._open_threads.write(
            lambda transaction: self._inbox.replay(transaction, keys, who=who, why=why)
        )

    async def tally(self, receiver: str) -> list[Tally]:
        """Count deliveries that are alike."""
        return await self._open_threads.read(lambda transaction: self._inbox.tally(transaction, receiver))

    def start_anew_after_fork(self) -> None:
        """Be closed, in the child: the threads did not come along."""
        self._start_anew()


def _after_fork_in_child() -> None:
    for store in list(_stores.values()):
        store.start_anew_after_fork()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork_in_child)
