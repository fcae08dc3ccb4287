"""`sqlite:///path`, the embedded default: durable, shared by the processes of one machine."""

import itertools
import os
import random
import sqlite3
import threading
import time
import weakref
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Final, TypeVar

from airweave_webhooks.errors import ConfigurationError, StoreDataError, StoreUnavailable
from airweave_webhooks.stores import sqlite_schema as sql
from airweave_webhooks.stores import transitions
from airweave_webhooks.stores.base import Claim, Claimed, Key, Lease, Record, Settle
from airweave_webhooks.stores.sqlite_writer import Run, Writer
from airweave_webhooks.stores.text import as_text, results_as_json

T = TypeVar("T")

OLDEST_SQLITE: Final = (3, 35, 0)
# Seconds. SQLite's own busy handler sleeps ever longer and starves whoever came late; we ask again soon, at random.
RETRY_PAUSE: Final = (0.0005, 0.004)
# Seconds that a writer steps aside after a commit while other processes want the file too.
STEP_ASIDE: Final = 0.002

# Stores that are open in this process, each by its `id` (stores on one file are equal), and those whose connections
# are closed while it forks.
_open_stores: Final["weakref.WeakValueDictionary[int, SQLiteStore]"] = weakref.WeakValueDictionary()
_held_for_fork: Final["list[SQLiteStore]"] = []


class SQLiteStore:
    """Keeps records in one SQLite file in WAL mode. Several processes may share the file, several machines may not.

    One thread writes; what concurrent callers want is gathered into one transaction. A commit that backs an answer
    to the sender is synced to the disk (`synchronous=FULL`), a lease need only survive the process (`NORMAL`).

    Args:
        path: the file; it is created, its directory is not.
        patience: seconds to wait for other processes' locks before `StoreUnavailable`.
        clock: seconds since the epoch. All processes on a machine share it.
    """

    round_trip = True
    durable = True

    def __init__(
        self, path: str | os.PathLike[str], *, patience: float = 5.0, clock: Callable[[], float] = time.time
    ) -> None:
        self.path: str = os.fspath(path)
        if self.path in {"", ":memory:"}:
            raise ConfigurationError("the SQLite store needs a file: SQLiteStore('airweave.db')")
        self._patience = patience
        self._clock = clock
        self._opened = 0
        self._writer: Writer | None = None
        self._connection: sqlite3.Connection | None = None
        # What the connection's commits are, as far as it was told.
        self._durably: bool | None = None
        self._renewing: sqlite3.Connection | None = None
        self._make_locks()

    def _make_locks(self) -> None:
        # Opening and closing can come from the event loops of several threads.
        self._opening = threading.Lock()
        # Held for as long as a transaction lasts, so that a fork never meets one.
        self._in_use = threading.Lock()

    def __repr__(self) -> str:
        return f"SQLiteStore({self.path!r})"

    def __eq__(self, other: object) -> bool:
        """Two stores on one file are the same store."""
        return isinstance(other, SQLiteStore) and Path(self.path).absolute() == Path(other.path).absolute()

    def __hash__(self) -> int:
        return hash(Path(self.path).absolute())

    async def open(self) -> None:
        """Open the file, creating it and its tables when they are missing.

        Raises:
            ConfigurationError: the file cannot be used; the message says what to do.
        """
        with self._opening:
            if self._writer is None:
                self._writer = Writer(self._transact, self._close_at_last)
            self._opened += 1
            _open_stores[id(self)] = self
        try:
            await self._write(lambda _: None)
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
            _open_stores.pop(id(self), None)
        await writer.close()

    def _close_at_last(self) -> None:
        with self._in_use:
            self._close_connections()

    def _close_connections(self) -> None:
        for connection in (self._connection, self._renewing):
            if connection is not None:
                connection.close()
        self._connection = self._renewing = None

    async def claim(self, claims: Sequence[Claim]) -> list[Claimed]:
        """Claim each, in one transaction."""
        # A lease need not survive the machine, but "there is nothing to do" is answered with 200.
        final = any(claim.into != "leased" for claim in claims)

        return await self._write(lambda connection: _claim(connection, claims, self._clock()), durable=final)

    async def settle(self, settles: Sequence[Settle]) -> list[bool]:
        """Settle each whose lease is current, in one transaction that is synced to the disk."""
        return await self._write(lambda connection: _settle(connection, settles, self._clock()), durable=True)

    def renew(self, leases: Sequence[Lease], seconds: float) -> list[bool]:
        """Renew each that is current, on a connection of the calling thread's own."""

        def run(connection: sqlite3.Connection) -> list[bool]:
            until = self._clock() + seconds
            return [connection.execute(sql.RENEW, (until, *_where(lease))).rowcount == 1 for lease in leases]

        def work() -> list[bool]:
            if self._renewing is None:
                if self._writer is None:  # nobody would close it
                    raise StoreUnavailable(f"{self!r} is not open in this process")
                self._renewing = self._connect()
                _sync(self._renewing, durable=False)
            return _transaction(self._renewing, run)

        return self._patiently(work)

    async def get(self, keys: Sequence[Key]) -> list[Record | None]:
        """Read records."""
        return await self._write(lambda connection: [_get(connection, key) for key in keys])

    async def purge(self, *, done_for: float, abandoned_for: float, most: int) -> int:
        """Remove what is finished, give up what is abandoned."""

        def run(connection: sqlite3.Connection) -> int:
            now = self._clock()
            gone = connection.execute(sql.PURGE_DONE, (now - done_for, most)).rowcount
            before = now - abandoned_for
            given_up = connection.execute(sql.ABANDON, (now, before, before, most - gone)).rowcount
            return gone + given_up

        return await self._write(run)

    async def _write(self, run: Run[T], *, durable: bool = False) -> T:
        """Run `run` in a transaction, which it may share with others."""
        if self._writer is None:
            raise StoreUnavailable(f"{self!r} is not open in this process")
        return await self._writer(run, durable=durable)

    def _transact(self, run: Run[list[Any]], durable: bool) -> list[Any]:
        """Run one transaction, in the writer's thread."""

        def work() -> list[Any]:
            if self._connection is None:
                self._connection = self._connect()
                sql.migrate(self._connection, self.path)
                self._durably = None
            if durable is not self._durably:
                _sync(self._connection, durable=durable)
                self._durably = durable
            return _transaction(self._connection, run)

        return self._patiently(work)

    def _patiently(self, work: Callable[[], T]) -> T:
        """Run `work`, again and again while another process holds the file, and translate what goes wrong."""
        deadline = time.monotonic() + self._patience
        waited = False
        while True:
            try:
                with self._in_use:
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
            raise ConfigurationError(f"SQLite 3.35 or later is needed, Python has {sqlite3.sqlite_version}")
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
        if code == sqlite3.SQLITE_TOOBIG:
            return StoreDataError(f"SQLite cannot store this record: {error}")
        return StoreUnavailable(f"{self.path}: {error}")

    def close_for_fork(self) -> None:
        """Finish the transaction under way and disconnect, until one of the two below is called."""
        self._in_use.acquire()
        self._close_connections()

    def go_on_after_fork(self) -> None:
        """Allow transactions again, in the parent."""
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
    for store in list(_open_stores.values()):
        store.close_for_fork()
        _held_for_fork.append(store)


def _after_fork_in_parent() -> None:
    while _held_for_fork:
        _held_for_fork.pop().go_on_after_fork()


def _after_fork_in_child() -> None:
    while _held_for_fork:
        _held_for_fork.pop().start_anew_after_fork()
    _open_stores.clear()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(before=_before_fork, after_in_parent=_after_fork_in_parent, after_in_child=_after_fork_in_child)


def _sync(connection: sqlite3.Connection, *, durable: bool) -> None:
    """Say what commits are; before a transaction, inside of which SQLite would ignore it."""
    connection.execute(f"PRAGMA synchronous = {'FULL' if durable else 'NORMAL'}")


def _transaction(connection: sqlite3.Connection, run: Run[T]) -> T:
    connection.execute("BEGIN IMMEDIATE")
    try:
        result = run(connection)
        connection.execute("COMMIT")
    except BaseException:
        if connection.in_transaction:
            connection.execute("ROLLBACK")
        raise
    return result


def _claim(connection: sqlite3.Connection, claims: Sequence[Claim], now: float) -> list[Claimed]:
    """Insert what is new, many rows at a time, and look at the rest one by one."""
    answers: list[Claimed] = []
    for chunk in sql.chunks(claims):
        fresh = [transitions.first_claim(claim, now) for claim in chunk]
        rows = tuple(itertools.chain.from_iterable(map(sql.to_row, fresh)))
        if connection.execute(sql.insert(len(chunk)), rows).rowcount == len(chunk):
            answers += map(transitions.granted, fresh)
        else:
            answers += [_claim_again(connection, claim, now) for claim in chunk]
    return answers


def _claim_again(connection: sqlite3.Connection, claim: Claim, now: float) -> Claimed:
    record = _get(connection, claim.key)
    assert record is not None, "what was not there has been inserted, under the write lock"  # noqa: S101
    answer, changed = transitions.claim_again(record, claim, now)
    if changed:
        connection.execute(sql.REPLACE, sql.to_row(record))
    return answer


def _settle(connection: sqlite3.Connection, wishes: Sequence[Settle], now: float) -> list[bool]:
    stand: list[bool] = []
    for chunk in sql.chunks(wishes):
        rows = tuple(itertools.chain.from_iterable(_settled(wish, now) for wish in chunk))
        if connection.execute(sql.settle(len(chunk)), rows).rowcount == len(chunk):
            stand += [True] * len(chunk)
        else:
            # One is not leased, or not by this holder: it stands only if this very settle was done before.
            stand += [transitions.settle(_get(connection, wish.lease.key), wish, now)[0] for wish in chunk]
    return stand


def _settled(wish: Settle, now: float) -> tuple[object, ...]:
    due_at = now + wish.delay if wish.state == "pending" else None
    results = results_as_json(wish.results)
    error = as_text(wish.error)
    return (wish.state, wish.reason, results, error, now, due_at, wish.body, *_where(wish.lease))


def _get(connection: sqlite3.Connection, key: Key) -> Record | None:
    row = connection.execute(sql.SELECT, _key(key)).fetchone()
    return None if row is None else sql.from_row(row)


def _key(key: Key) -> tuple[str | None, ...]:
    return tuple(as_text(part) for part in key)


def _where(lease: Lease) -> tuple[object, ...]:
    return (*_key(lease.key), lease.fence, lease.token)


def _is_busy(error: sqlite3.OperationalError) -> bool:
    return getattr(error, "sqlite_errorcode", 0) & 0xFF in {sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED}
