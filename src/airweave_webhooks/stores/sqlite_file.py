"""One SQLite file: its writer's thread, its connections, its errors, and the forks of its process."""

import asyncio
import os
import random
import sqlite3
import threading
import time
import weakref
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final, TypeAlias, TypeVar

from airweave_webhooks.errors import ConfigurationError, StoreDataError, StoreUnavailable
from airweave_webhooks.stores import sqlite_schema as sql
from airweave_webhooks.stores.writer import Writer

T = TypeVar("T")

Run: TypeAlias = Callable[[sqlite3.Connection], T]

OLDEST_SQLITE: Final = (3, 38, 0)
# Seconds. SQLite's own busy handler sleeps ever longer and starves whoever came late; we ask again soon, at random.
RETRY_PAUSE: Final = (0.0005, 0.004)
# Seconds that a writer steps aside after a commit while other processes want the file too.
STEP_ASIDE: Final = 0.002

# Files that are open in this process, each by its `id`, and those whose connections are closed while it forks.
_open_files: Final["weakref.WeakValueDictionary[int, SQLiteFile]"] = weakref.WeakValueDictionary()
_held_for_fork: Final["list[SQLiteFile]"] = []


class SQLiteFile:
    """A file in WAL mode, which other processes use too.

    Args:
        path: the file.
        patience: seconds to wait for other processes' locks before `StoreUnavailable`.
    """

    def __init__(self, path: str, patience: float) -> None:
        self.path: str = path
        self._patience = patience
        self._opened = 0
        self._writer: Writer[sqlite3.Connection] | None = None
        self._connection: sqlite3.Connection | None = None
        # What the connection's commits are, as far as it was told.
        self._durably: bool | None = None
        self._renewing: sqlite3.Connection | None = None
        self._reading: sqlite3.Connection | None = None
        self._make_locks()

    def _make_locks(self) -> None:
        # Opening and closing can come from the event loops of several threads.
        self._opening = threading.Lock()
        # Held for as long as a transaction lasts, so that a fork never meets one.
        self._in_use = threading.Lock()
        self._in_use_for_reading = threading.Lock()

    async def open(self) -> None:
        """Open the file, creating it and its tables when they are missing. Counted.

        Raises:
            ConfigurationError: the file cannot be used; the message says what to do.
        """
        with self._opening:
            if self._writer is None:
                self._writer = Writer(self._transact, self._close_at_last, "airweave-sqlite")
            self._opened += 1
            _open_files[id(self)] = self
        try:
            await self.write(lambda _: None)
        except BaseException:
            await self.close()
            raise

    async def close(self) -> None:
        """Finish what is under way and close the file."""
        with self._opening:
            self._opened -= 1
            if self._opened or self._writer is None:
                return
            writer, self._writer = self._writer, None
            _open_files.pop(id(self), None)
        await writer.close()

    def _close_at_last(self) -> None:
        with self._in_use, self._in_use_for_reading:
            self._close_connections()

    def _close_connections(self) -> None:
        for connection in (self._connection, self._renewing, self._reading):
            if connection is not None:
                connection.close()
        self._connection = self._renewing = self._reading = None

    async def write(self, run: Run[T], *, durable: bool = False) -> T:
        """Run `run` in a transaction, which it may share with others, in the writer's thread.

        Args:
            run: a function of the connection.
            durable: whether it has to be on the disk when this returns.

        Raises:
            ConfigurationError, StoreUnavailable, StoreDataError: it could not be done.
        """
        if self._writer is None:
            raise StoreUnavailable(f"{self.path} is not open in this process")
        return await self._writer(run, durable=durable)

    def _transact(self, run: Run[list[Any]], durable: bool) -> list[Any]:
        def work() -> list[Any]:
            if self._connection is None:
                self._connection = self._connect()
                sql.migrate(self._connection, self.path)
                self._durably = None
            if durable is not self._durably:
                _sync(self._connection, durable=durable)
                self._durably = durable
            return _transaction(self._connection, run)

        return self._patiently(work, self._in_use)

    async def read(self, run: Run[T]) -> T:
        """Run `run` on what is committed, in a thread of its own: it keeps nobody from writing.

        Raises:
            ConfigurationError, StoreUnavailable, StoreDataError: it could not be done.
        """

        def work() -> T:
            if self._reading is None:
                if self._writer is None:
                    raise StoreUnavailable(f"{self.path} is not open in this process")
                self._reading = self._connect()
            return _transaction(self._reading, run, "DEFERRED")

        return await asyncio.to_thread(self._patiently, work, self._in_use_for_reading)

    def renew(self, run: Run[T]) -> T:
        """Run `run` in a transaction of its own, in this thread and on a connection that the writer does not use."""

        def work() -> T:
            if self._renewing is None:
                if self._writer is None:  # nobody would close it
                    raise StoreUnavailable(f"{self.path} is not open in this process")
                self._renewing = self._connect()
                _sync(self._renewing, durable=False)
            return _transaction(self._renewing, run)

        return self._patiently(work, self._in_use)

    def _patiently(self, work: Callable[[], T], in_use: threading.Lock) -> T:
        """Run `work`, again and again while another process holds the file, and translate what goes wrong."""
        deadline = time.monotonic() + self._patience
        waited = False
        while True:
            try:
                with in_use:
                    result = work()
            except sqlite3.OperationalError as error:
                if not _is_busy(error):
                    raise self._translated(error) from error
                if time.monotonic() > deadline:
                    raise StoreUnavailable(
                        f"{self.path} was locked by another process for {self._patience:g} s"
                    ) from error
                waited = True
                time.sleep(random.uniform(*RETRY_PAUSE))  # noqa: S311 - jitter
            except (
                sqlite3.DataError,
                sqlite3.InterfaceError,
                OverflowError,
                UnicodeError,
                TypeError,
            ) as error:
                raise StoreDataError(f"SQLite cannot store this record: {error}") from error
            except sqlite3.Error as error:
                raise self._translated(error) from error
            else:
                if waited:
                    # Whoever had to wait has company: without a pause one of two processes gets no turn.
                    time.sleep(random.uniform(0, STEP_ASIDE))  # noqa: S311 - jitter
                return result

    def _connect(self) -> sqlite3.Connection:
        if sqlite3.sqlite_version_info < OLDEST_SQLITE:
            raise ConfigurationError(f"SQLite 3.38 or later is needed, Python has {sqlite3.sqlite_version}")
        # One thread at a time uses each connection; `close` comes from whichever.
        connection = sqlite3.connect(self.path, timeout=0, isolation_level=None, check_same_thread=False)
        try:
            connection.execute("PRAGMA journal_mode = WAL")
        except BaseException:
            connection.close()
            raise
        return connection

    def _translated(self, error: sqlite3.Error) -> Exception:
        code = getattr(error, "sqlite_errorcode", 0) & 0xFF
        if code == sqlite3.SQLITE_CANTOPEN:
            directory = Path(self.path).absolute().parent
            remedy = f"create the directory {directory}" if not directory.exists() else "check its permissions"
            return ConfigurationError(f"cannot open {self.path}: {remedy}")
        if code in {sqlite3.SQLITE_READONLY, sqlite3.SQLITE_PERM}:
            return ConfigurationError(f"{self.path} is read-only: give this process the right to write it")
        if code == sqlite3.SQLITE_NOTADB:
            return ConfigurationError(f"{self.path} is not a SQLite database: name another file")
        if code == sqlite3.SQLITE_FULL:
            return StoreUnavailable(f"there is no space left for {self.path}: free some; nothing is lost meanwhile")
        if getattr(error, "sqlite_errorcode", 0) == sqlite3.SQLITE_IOERR_WRITE:
            return StoreUnavailable(
                f"nothing can be written to {self.path}: is a quota used up, or is the disk broken? Nothing is lost"
                " meanwhile"
            )
        if code == sqlite3.SQLITE_TOOBIG:
            return StoreDataError(f"SQLite cannot store this record: {error}")
        return StoreUnavailable(f"{self.path}: {error}")

    def close_for_fork(self) -> None:
        """Finish the transaction under way and disconnect, until one of the two below is called."""
        self._in_use.acquire()
        self._in_use_for_reading.acquire()
        self._close_connections()

    def go_on_after_fork(self) -> None:
        """Allow transactions again, in the parent."""
        self._in_use_for_reading.release()
        self._in_use.release()

    def start_anew_after_fork(self) -> None:
        """Be closed, in the child."""
        self._make_locks()
        self._writer = None  # its thread did not come along
        self._opened = 0


# SQLite keeps the locks of a file in the memory of the process, where a fork copies what it does not own: a child
# would believe in locks that only its parent has, also on a connection of its own. So nothing is open while forking;
# both connect again when they next need to.
def _before_fork() -> None:
    for file in list(_open_files.values()):
        file.close_for_fork()
        _held_for_fork.append(file)


def _after_fork_in_parent() -> None:
    while _held_for_fork:
        _held_for_fork.pop().go_on_after_fork()


def _after_fork_in_child() -> None:
    while _held_for_fork:
        _held_for_fork.pop().start_anew_after_fork()
    _open_files.clear()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(before=_before_fork, after_in_parent=_after_fork_in_parent, after_in_child=_after_fork_in_child)


def _sync(connection: sqlite3.Connection, *, durable: bool) -> None:
    """Say what commits are; before a transaction, inside of which SQLite would ignore it."""
    connection.execute(f"PRAGMA synchronous = {'FULL' if durable else 'NORMAL'}")


def _transaction(connection: sqlite3.Connection, run: Run[T], kind: str = "IMMEDIATE") -> T:
    connection.execute(f"BEGIN {kind}")
    try:
        result = run(connection)
        connection.execute("COMMIT")
    except BaseException:
        if connection.in_transaction:
            connection.execute("ROLLBACK")
        raise
    return result


def _is_busy(error: sqlite3.OperationalError) -> bool:
    return getattr(error, "sqlite_errorcode", 0) & 0xFF in {sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED}
