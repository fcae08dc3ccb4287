"""The store's threads, each with a connection of its own, and the forks of its process.

Django has a connection per thread and database. Those of the store's threads have its own settings, whatever the
project's are for: a level of isolation that sees what others have committed, and commits that are on the disk.
"""

import os
import random
import threading
import time
import weakref
from collections.abc import Callable
from typing import Any, Final, NamedTuple, TypeAlias, TypeVar

from django.db import Error, IntegrityError, connections, transaction
from django.db.backends.base.base import BaseDatabaseWrapper
from django.db.utils import InterfaceError, OperationalError

from airweave_webhooks.errors import StoreBusy, StoreUnavailable
from airweave_webhooks.integrations.django.store_connections import (
    bounded,
    connect,
    connection_for,
    file_patience,
    hang_up,
    now_of,
)
from airweave_webhooks.integrations.django.store_errors import TRANSLATED, cause_of, is_file_in_use, translated
from airweave_webhooks.stores.sqlite_file import RETRY_PAUSE, STEP_ASIDE
from airweave_webhooks.stores.writer import MOST_JOBS, Writer

T = TypeVar("T")


class Transaction(NamedTuple):
    """What the store's verbs are functions of."""

    using: str
    """The database's alias."""
    now: float
    """Seconds since the epoch, by the database's clock."""


Run: TypeAlias = Callable[[Transaction], T]

# Each time somebody else has just inserted what was missing, and it is looked at again.
TRIES: Final = 10
PATIENCE: Final = 10
"""Seconds for which a server may be silent: more than any lock is waited for, and less than a lease lasts."""
READING_PATIENCE: Final = 30
"""Likewise where operators ask, who may count millions."""
FORK_PATIENCE: Final = 5.0
"""Seconds to wait for a transaction under way before a fork. One that takes longer keeps its connection."""

_threads: Final["weakref.WeakValueDictionary[int, ConnectionThread]"] = weakref.WeakValueDictionary()
_held_for_fork: Final["list[ConnectionThread]"] = []
# Connections of a parent that were in use when it forked: to let go of them here could end them there.
_inherited: Final[list[object]] = []


class ConnectionThread:
    """A thread with a connection, which is made when it is first needed.

    Args:
        using: the database's alias.
        name: of the thread.
        reading: whether it only reads: then nothing waits for it, and each statement sees what is committed.
    """

    def __init__(self, using: str, name: str, *, reading: bool = False) -> None:
        self._using = using
        self._reading = reading
        self._patience: int = READING_PATIENCE if reading else PATIENCE
        self._connection: BaseDatabaseWrapper | None = None
        # Held for as long as a transaction lasts, so that a fork never meets one.
        self._in_use = threading.Lock()
        # Each job locks its rows in the order of their ids. Two in one transaction would not, and meet those of other
        # processes in deadlocks; in SQLite a transaction has the whole file.
        most = MOST_JOBS if connections[using].vendor == "sqlite" else 1
        self.run: Writer[Transaction] = Writer(self._transact, self._disconnect, f"airweave-django-{name}", most)
        _threads[id(self)] = self

    def _transact(self, run: Run[list[Any]], durable: bool) -> list[Any]:  # noqa: ARG002 - every commit is durable
        began = time.monotonic()
        waited = False
        while True:
            with self._in_use:
                if self._connection is None:
                    self._connection = connection_for(self._using, self._patience, reading=self._reading)
                    connections[self._using] = self._connection  # in this thread
                try:
                    answers = self._until_it_is_alone(self._connection, run)
                except TRANSLATED as error:
                    patience = file_patience(self._connection)
                    if not (isinstance(error, Error) and is_file_in_use(error)) or time.monotonic() > began + patience:
                        raise translated(error, self._connection) from error
                else:
                    if waited:  # whoever had to wait has company
                        time.sleep(random.uniform(0, STEP_ASIDE))  # noqa: S311 - jitter
                    return answers
            waited = True
            time.sleep(random.uniform(*RETRY_PAUSE))  # noqa: S311 - jitter

    def _until_it_is_alone(self, connection: BaseDatabaseWrapper, run: Run[T]) -> T:
        for _ in range(TRIES):
            try:
                return self._on_a_living_connection(connection, run)
            except IntegrityError:
                continue
        raise StoreBusy(f"database {self._using!r}: records appear too fast to be claimed")

    def _on_a_living_connection(self, connection: BaseDatabaseWrapper, run: Run[T]) -> T:
        """Run on a connection that may have been cut while it lay idle; then once more, on a new one.

        Whatever the store asks can be asked twice.
        """
        is_old = connection.connection is not None
        give_up = time.monotonic() + self._patience
        try:
            return self._once(connection, run)
        except (OperationalError, InterfaceError) as error:
            if cause_of(error) != "lost":
                raise
            connection.close()  # of a server that was silent, the answer may still come
            if time.monotonic() >= give_up:
                silence = f"database {self._using!r} did not answer within {self._patience} s: {error}"
                raise StoreUnavailable(silence) from error
            if not is_old:
                raise
        return self._once(connection, run)

    def _once(self, connection: BaseDatabaseWrapper, run: Run[T]) -> T:
        with bounded(connection, self._patience):
            return self._at_length(connection, run)

    def _at_length(self, connection: BaseDatabaseWrapper, run: Run[T]) -> T:
        if connection.connection is None:
            connect(connection)
        if self._reading:
            return run(Transaction(self._using, now_of(connection)))
        with transaction.atomic(using=self._using):
            return run(Transaction(self._using, now_of(connection)))

    def _disconnect(self) -> None:
        with self._in_use:
            _threads.pop(id(self), None)
            if self._connection is not None:
                self._connection.close()
                self._connection = None

    def close_for_fork(self) -> None:
        """Disconnect, until one of the two below is called."""
        if self._in_use.acquire(timeout=FORK_PATIENCE):
            _held_for_fork.append(self)
            if self._connection is not None:
                hang_up(self._connection)

    def go_on_after_fork(self) -> None:
        """Allow transactions again, in the parent."""
        self._in_use.release()


class Threads:
    """The threads of one store on one database: to write, to read, and to renew leases. At most three connections."""

    def __init__(self, using: str) -> None:
        self._writing = ConnectionThread(using, "writer")
        self._reading = ConnectionThread(using, "reader", reading=True)
        self._renewing = ConnectionThread(using, "renewer")

    async def write(self, run: Run[T]) -> T:
        """Run a function in a transaction, which it may share with others.

        Raises:
            ConfigurationError, StoreUnavailable, StoreBusy, StoreDataError: it could not be done.
        """
        return await self._writing.run(run)

    async def read(self, run: Run[T]) -> T:
        """Run a function on what is committed; it keeps nobody from writing. Errors are as above."""
        return await self._reading.run(run)

    def renew(self, run: Run[T]) -> T:
        """Run a function in a transaction that waits for no other job, and wait for it here. Errors are as above."""
        return self._renewing.run.run_and_wait(run)

    async def close(self) -> None:
        """Do what waits, disconnect, and end the threads."""
        for thread in (self._writing, self._reading, self._renewing):
            await thread.run.close()


def _before_fork() -> None:
    for thread in list(_threads.values()):
        thread.close_for_fork()


def _after_fork_in_parent() -> None:
    while _held_for_fork:
        _held_for_fork.pop().go_on_after_fork()


def _after_fork_in_child() -> None:
    _held_for_fork.clear()
    _inherited.extend(_threads.values())
    _threads.clear()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(before=_before_fork, after_in_parent=_after_fork_in_parent, after_in_child=_after_fork_in_child)
