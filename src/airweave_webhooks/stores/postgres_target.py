"""Where a PostgreSQL server is, how to log in there, and what its errors mean. Forks leave its connections alone."""

import asyncio
import contextlib
import inspect
import os
import socket
import weakref
from typing import Any, Final, TypeAlias

import psycopg
from psycopg.conninfo import conninfo_to_dict
from psycopg_pool import AsyncConnectionPool

from airweave_webhooks.errors import (
    ConfigurationError,
    StoreBusy,
    StoreDataError,
    StoreUnavailable,
    WebhookError,
)

Pool: TypeAlias = AsyncConnectionPool[Any]
Row: TypeAlias = tuple[Any, ...]

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


def cut(connection: "psycopg.AsyncConnection[Any] | psycopg.Connection[Any]") -> None:
    """Wake up whoever waits for an answer: the connection is as if the server had closed it."""
    with contextlib.suppress(OSError, psycopg.Error), socket.socket(fileno=os.dup(connection.fileno())) as copy:
        copy.shutdown(socket.SHUT_RDWR)


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
