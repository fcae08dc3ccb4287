"""Connections to PostgreSQL: who has them, for how long they may stay silent, and what their errors mean.

The only module that knows the driver. Not a pool of `psycopg_pool`: that one says "no connection within n seconds"
where the server said why, and waits ever longer before it connects again.
"""

import asyncio
import contextlib
import inspect
import os
import socket
import threading
import time
import weakref
from collections.abc import AsyncGenerator, Awaitable, Callable, Generator, Sequence
from typing import Any, Final, TypeAlias

import psycopg
from psycopg.conninfo import conninfo_to_dict
from psycopg.rows import tuple_row
from psycopg_pool import AsyncConnectionPool, PoolTimeout

from airweave_webhooks.errors import (
    ConfigurationError,
    StoreBusy,
    StoreDataError,
    StoreUnavailable,
    WebhookError,
)

Pool: TypeAlias = AsyncConnectionPool[Any]
Row: TypeAlias = tuple[Any, ...]
Fetch: TypeAlias = Callable[[bytes, Sequence[object]], Awaitable[list[Row]]]

MOST_CONNECTIONS: Final = 4
"""Per event loop: claims, settles, and two for whatever else is asked."""
CONNECT_WITHIN: Final = 3
"""Seconds, unless the URL says otherwise."""
HOW_TO_WRITE: Final = (
    "a PostgreSQL store is written postgresql://user:password@host:5432/database, with special characters in the"
    " password percent-encoded"
)

# What this process has opened: a child that is forked has copies of the sockets, and must not speak on them.
_connections: Final[weakref.WeakSet["psycopg.AsyncConnection[Any] | psycopg.Connection[Any]"]] = weakref.WeakSet()
# Kept for as long as the child lives: the driver closes what is forgotten.
_inherited: Final[list[object]] = []

# The server's refusals at login have no code on the wire that the driver would show: the text must do.
_REFUSALS: Final = (
    ("password authentication failed", "check the user and the password"),
    ("no password supplied", "put the password into the URL"),
    ("authentication failed", "check the user and the password"),
    ("no pg_hba.conf entry", "let this host in, in the server's pg_hba.conf"),
    ("is not permitted to log in", "use a role that may log in"),
    ("permission denied for database", "GRANT CONNECT ON the DATABASE to the role"),
    ("does not exist", "create it, or name another"),
)


class Target:
    """Where the server is, and how to log in there.

    Args:
        where: a URL, or a pool of the user's.

    Raises:
        ConfigurationError: it is neither.
    """

    def __init__(self, where: str | Pool) -> None:
        self.pool: Pool | None = None
        if isinstance(where, str):
            self._conninfo: Any = where
            self._kwargs: Any = None
            known: dict[str, Any] = _read(where)
        elif isinstance(where, AsyncConnectionPool):
            self.pool = where
            self._conninfo, self._kwargs = where.conninfo, where.kwargs
            # A callable's answer can change with every call: then the pool stands for the place.
            known = {"host": where.name}
            if isinstance(self._conninfo, str) and not callable(self._kwargs):
                known = {**conninfo_to_dict(self._conninfo), **(self._kwargs or {})}
        else:
            raise ConfigurationError(f"{HOW_TO_WRITE}; or pass a psycopg_pool.AsyncConnectionPool")
        self._has_timeout = "connect_timeout" in known
        self._password = str(known.get("password") or "")
        place = [str(known.get(name) or "") for name in ("host", "hostaddr", "port", "dbname", "service")]
        self.place: tuple[str, ...] = tuple(place)
        host, hostaddr, port, database, service = place
        self.shown: str = f"postgresql://{host or hostaddr or service or '…'}{':' if port else ''}{port}/{database}"

    async def connect(self) -> "psycopg.AsyncConnection[Row]":
        """Connect, from the event loop."""
        connection = await psycopg.AsyncConnection.connect(self._conninfo, **self._parameters(self._kwargs))
        _connections.add(connection)
        return connection

    def connect_here(self) -> "psycopg.Connection[Row]":
        """Connect, from a thread that may wait."""
        conninfo, kwargs = _called(self._conninfo), _called(self._kwargs)
        connection: psycopg.Connection[Row] = psycopg.connect(conninfo, **self._parameters(kwargs))
        _connections.add(connection)
        return connection

    def _parameters(self, kwargs: dict[str, Any] | None) -> dict[str, Any]:
        # What is particular to the pool's class of connection is left out.
        ours = {"row_factory", "cursor_factory", "context", "autocommit", "prepare_threshold"}
        given = {name: value for name, value in (kwargs or {}).items() if name not in ours}
        if not self._has_timeout:
            given["connect_timeout"] = CONNECT_WITHIN
        # A proxy may give every transaction another session, so none of them may remember our statements.
        return {**given, "client_encoding": "UTF8", "autocommit": True, "prepare_threshold": None}

    def translated(self, error: Exception) -> WebhookError:
        """What the driver's error means to us, without the password."""
        raw = str(error)
        said = " ".join((raw.replace(self._password, "…") if self._password else raw).split())
        match error:
            case psycopg.errors.DeadlockDetected() | psycopg.errors.SerializationFailure():
                return StoreBusy(f"{self.shown}: {said}")
            case psycopg.errors.LockNotAvailable():
                return StoreBusy(f"{self.shown}: another transaction holds the record: {said}")
            case psycopg.DataError() | psycopg.errors.ProgramLimitExceeded() | UnicodeError() | OverflowError():
                return StoreDataError(f"PostgreSQL cannot store this record: {said}")
            case psycopg.errors.InsufficientPrivilege():
                return ConfigurationError(
                    f"{self.shown}: {said}: GRANT the role that right, or let another role run"
                    " `await store.migrate()` and open with migrate=False"
                )
            case (
                psycopg.errors.UndefinedTable() | psycopg.errors.UndefinedColumn() | psycopg.errors.InvalidSchemaName()
            ):
                return ConfigurationError(f"{self.shown}: {said}: open the store again, so that it makes its tables")
            case psycopg.OperationalError() if error.sqlstate is None:
                for refusal, remedy in _REFUSALS:
                    if refusal in raw:
                        return ConfigurationError(f"{self.shown} refuses the login ({said}): {remedy}")
            case _:
                pass
        return StoreUnavailable(f"{self.shown}: {said or type(error).__name__}")


class Connections:
    """The connections of one event loop.

    Args:
        target: to what.
        patience: seconds after which a call is given up, and its connection with it.
    """

    def __init__(self, target: Target, patience: float) -> None:
        self.opened: int = 0
        self._target = target
        self._patience = patience
        self._loop = asyncio.get_running_loop()
        self._idle: list[psycopg.AsyncConnection[Row]] = []
        self._slots = asyncio.Semaphore(MOST_CONNECTIONS)

    async def fetch(self, statement: bytes, values: Sequence[object]) -> list[Row]:
        """Run one statement, which is a transaction of its own.

        A connection that lay idle may have been cut meanwhile; then the next one is taken, and at last a new one:
        whatever we ask can be asked twice.

        Raises:
            StoreUnavailable, StoreBusy, StoreDataError, ConfigurationError: see `Store`.
        """
        deadline = self._loop.time() + self._patience
        more = self._target.pool.max_size if self._target.pool else len(self._idle)
        with self._translating(self._patience):
            while True:
                try:
                    return await self._fetch(statement, values, deadline)
                except psycopg.OperationalError as error:
                    if self._loop.time() >= deadline:
                        raise TimeoutError from error
                    if more == 0 or not _is_cut(error):
                        raise
                    more -= 1

    async def _fetch(self, statement: bytes, values: Sequence[object], deadline: float) -> list[Row]:
        async with self._connection(deadline) as connection:
            silence = self._loop.call_at(deadline, _cut, connection)
            try:
                cursor = connection.cursor(row_factory=tuple_row)
                await cursor.execute(statement, values)
                return await cursor.fetchall()
            finally:
                silence.cancel()

    @contextlib.asynccontextmanager
    async def transaction(self, within: float) -> AsyncGenerator[Fetch]:
        """A transaction of several statements, which may take `within` seconds together.

        Raises:
            StoreUnavailable, StoreBusy, StoreDataError, ConfigurationError: see `Store`.
        """
        deadline = self._loop.time() + within
        with self._translating(within):
            async with self._connection(deadline) as connection, connection.transaction():
                cursor = connection.cursor(row_factory=tuple_row)

                async def fetch(statement: bytes, values: Sequence[object]) -> list[Row]:
                    await cursor.execute(statement, values or None)
                    return await cursor.fetchall() if cursor.description else []

                silence = self._loop.call_at(deadline, _cut, connection)
                try:
                    yield fetch
                finally:
                    silence.cancel()

    @contextlib.contextmanager
    def _translating(self, patience: float) -> Generator[None]:
        try:
            yield
        except TimeoutError as error:
            raise StoreUnavailable(f"{self._target.shown} did not answer within {patience:g} s") from error
        except (psycopg.Error, UnicodeError, OverflowError, OSError) as error:
            raise self._target.translated(error) from error

    async def close(self) -> None:
        """Close them all, when what is under way is finished."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(self._patience):
                for _ in range(MOST_CONNECTIONS):
                    await self._slots.acquire()
        while self._idle:
            await self._idle.pop().close()

    def abandon(self) -> None:
        """Close them all after their event loop has ended."""
        for connection in self._idle:
            connection.pgconn.finish()
        self._idle.clear()

    @contextlib.asynccontextmanager
    async def _connection(self, deadline: float) -> AsyncGenerator["psycopg.AsyncConnection[Any]"]:
        if self._target.pool is not None:
            async with _lent(self._target.pool, deadline - self._loop.time()) as connection:
                yield connection
            return
        async with asyncio.timeout_at(deadline):
            await self._slots.acquire()
        try:
            if self._idle:
                connection = self._idle.pop()
            else:
                async with asyncio.timeout_at(deadline):
                    connection = await self._target.connect()
            try:
                yield connection
            except BaseException as error:
                # An error of the server's leaves its connection as good as before; a server that turned read-only
                # has a successor somewhere else.
                if not isinstance(error, psycopg.Error) or isinstance(error, psycopg.errors.ReadOnlySqlTransaction):
                    await connection.close()
                raise
            finally:
                if not connection.closed:
                    self._idle.append(connection)
        finally:
            self._slots.release()


class RenewingConnection:
    """One connection for the threads that renew leases.

    Args:
        target: to what.
        patience: seconds after which a call is given up, and the connection with it.
    """

    def __init__(self, target: Target, patience: float) -> None:
        self._target = target
        self._patience = patience
        self._connection: psycopg.Connection[Row] | None = None
        self._in_use = threading.Lock()

    def fetch(self, statement: bytes, values: Sequence[object]) -> list[Row]:
        """Run one statement, which is a transaction of its own."""
        give_up = time.monotonic() + self._patience
        if not self._in_use.acquire(timeout=self._patience):
            raise StoreUnavailable(f"{self._target.shown} did not answer within {self._patience:g} s")
        more = int(self._connection is not None)
        try:
            while True:
                try:
                    return self._fetch(statement, values, give_up)
                except psycopg.OperationalError as error:
                    if more == 0 or not _is_cut(error) or time.monotonic() >= give_up:
                        raise
                    more -= 1
        except (psycopg.Error, UnicodeError, OverflowError, OSError) as error:
            raise self._target.translated(error) from error
        finally:
            self._in_use.release()

    def _fetch(self, statement: bytes, values: Sequence[object], give_up: float) -> list[Row]:
        if self._connection is None or self._connection.closed:
            self._connection = self._target.connect_here()
        connection = self._connection
        with _silence(connection, give_up - time.monotonic()):
            return connection.execute(statement, values).fetchall()

    def close(self) -> None:
        """Disconnect, when what is under way is finished."""
        with self._in_use:
            if self._connection is not None:
                self._connection.close()
                self._connection = None


@contextlib.asynccontextmanager
async def _lent(pool: Pool, patience: float) -> AsyncGenerator["psycopg.AsyncConnection[Any]"]:
    """A connection of the user's pool, as it was before when it goes back."""
    if patience <= 0:
        raise PoolTimeout("no connection in time")
    async with pool.connection(timeout=patience) as connection:
        autocommit = connection.autocommit
        await connection.set_autocommit(True)  # without it each statement would be three trips; sends nothing
        try:
            yield connection
        finally:
            if not connection.closed:
                await connection.set_autocommit(autocommit)


@contextlib.contextmanager
def _silence(connection: "psycopg.Connection[Any]", patience: float) -> Generator[None]:
    timer = threading.Timer(max(patience, 0.0), _cut, [connection])
    timer.daemon = True
    timer.start()
    try:
        yield
    finally:
        timer.cancel()


def _cut(connection: "psycopg.AsyncConnection[Any] | psycopg.Connection[Any]") -> None:
    """Wake up whoever waits for an answer: the connection is as if the server had closed it."""
    with contextlib.suppress(OSError, psycopg.Error), socket.socket(fileno=os.dup(connection.fileno())) as copy:
        copy.shutdown(socket.SHUT_RDWR)


def _is_cut(error: psycopg.OperationalError) -> bool:
    """Whether a connection was lost, and not refused."""
    # 57P01 to 57P03: the server ends, or its administrator ended the session.
    return error.sqlstate is None or error.sqlstate.startswith(("08", "57P"))


def _read(url: str) -> dict[str, Any]:
    scheme, _, rest = url.partition("://")
    authority, _, path = rest.partition("?")[0].partition("/")
    # A character that is not percent-encoded moves the rest of a password into the host, the port or the database.
    if scheme not in {"postgresql", "postgres"} or authority.count("@") > 1 or "@" in path:
        raise ConfigurationError(HOW_TO_WRITE)
    try:
        known = dict(conninfo_to_dict(url))
    except psycopg.Error:
        raise ConfigurationError(HOW_TO_WRITE) from None  # the driver quotes what it cannot read
    if not all(port.isdecimal() for port in str(known.get("port") or "0").split(",")):
        raise ConfigurationError(HOW_TO_WRITE)
    return known


def _called(given: Any) -> Any:
    """What a pool's parameter is: itself, or what a function says, sync or async."""
    if not callable(given):
        return given
    answer: Any = given()
    return asyncio.run(_awaited(answer)) if inspect.isawaitable(answer) else answer


async def _awaited(answer: Any) -> Any:
    return await answer


def _after_fork_in_child() -> None:
    # Closing one would say good-bye to the server on the parent's socket; the descriptor becomes nobody's instead, so
    # that the server also sees the parent's end while the child lives.
    nowhere = os.open(os.devnull, os.O_RDWR)
    for connection in list(_connections):
        _inherited.append(connection)
        with contextlib.suppress(OSError, psycopg.Error):
            os.dup2(nowhere, connection.fileno(), inheritable=False)
    os.close(nowhere)
    _connections.clear()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork_in_child)
