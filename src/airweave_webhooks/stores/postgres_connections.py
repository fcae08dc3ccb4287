"""Connections to PostgreSQL: who has them, and for how long they may stay silent.

Not a pool of `psycopg_pool`: that one says "no connection within n seconds"
where the server said why, and waits ever longer before it connects again.
"""

import asyncio
import contextlib
import threading
import time
from collections.abc import AsyncGenerator, Awaitable, Callable, Generator, Mapping, Sequence
from typing import Any, Final, TypeAlias

import psycopg
from psycopg.rows import tuple_row
from psycopg_pool import PoolTimeout

from airweave_webhooks.errors import StoreUnavailable
from airweave_webhooks.stores.postgres_listening import hearing
from airweave_webhooks.stores.postgres_target import Pool, Row, Target, cut

Values: TypeAlias = Sequence[object] | Mapping[str, object]
Fetch: TypeAlias = Callable[[bytes, Values], Awaitable[list[Row]]]

MOST_CONNECTIONS: Final = 4
"""Per event loop: claims, settles, and two for whatever else is asked."""


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

    async def fetch(self, statement: bytes, values: Values, *, first: bytes = b"") -> list[Row]:
        """Run one statement, which is a transaction of its own; or in one after `first`, which gives nothing.

        With `first`, values stand in the text, and both go to the server as one message. It does not begin before it
        has all of it, and then needs us no more: a process that is stopped in the middle leaves no lock behind.

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
                    return await self._fetch(statement, values, first, deadline)
                except psycopg.OperationalError as error:
                    if self._loop.time() >= deadline:
                        raise TimeoutError from error
                    if more == 0 or not _is_cut(error):
                        raise
                    more -= 1

    async def _fetch(self, statement: bytes, values: Values, first: bytes, deadline: float) -> list[Row]:
        async with self._connection(deadline) as connection:
            silence = self._loop.call_at(deadline, cut, connection)
            try:
                if not first:
                    cursor = connection.cursor(row_factory=tuple_row)
                    await cursor.execute(statement, values)
                    return await cursor.fetchall()
                merging = psycopg.AsyncClientCursor(connection, row_factory=tuple_row)
                await merging.execute(first + statement, values)
                while merging.nextset():
                    pass
                return await merging.fetchall()
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

                async def fetch(statement: bytes, values: Values) -> list[Row]:
                    await cursor.execute(statement, values or None)
                    return await cursor.fetchall() if cursor.description else []

                silence = self._loop.call_at(deadline, cut, connection)
                try:
                    yield fetch
                finally:
                    silence.cancel()

    def hearing(self, channel: str, wake: Callable[[], None]) -> contextlib.AbstractAsyncContextManager[None]:
        """For a block, call `wake` for notifications on a channel: see `postgres_listening`."""
        return hearing(self._target, self._patience, channel, wake)

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

    def fetch(self, statement: bytes, values: Values) -> list[Row]:
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

    def _fetch(self, statement: bytes, values: Values, give_up: float) -> list[Row]:
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
    timer = threading.Timer(max(patience, 0.0), cut, [connection])
    timer.daemon = True
    timer.start()
    try:
        yield
    finally:
        timer.cancel()


def _is_cut(error: psycopg.OperationalError) -> bool:
    """Whether a connection was lost, and not refused."""
    # 57P01 to 57P03: the server ends, or its administrator ended the session.
    return error.sqlstate is None or error.sqlstate.startswith(("08", "57P"))
