"""SQLAlchemy 2: `once()`, so that a handler's writes are done exactly once. On PostgreSQL and SQLite."""

import sqlite3
from collections.abc import Callable, Coroutine
from functools import partial
from typing import TYPE_CHECKING, Any, Final, TypeAlias, overload

from airweave_webhooks.delivery import Delivery
from airweave_webhooks.errors import ConfigurationError
from airweave_webhooks.integrations.marks import TABLE, Cause, asking, cause_of_sqlstate

try:
    from sqlalchemy import Column, Connection, DateTime, Integer, MetaData, String, Table, Text, func
    from sqlalchemy.dialects import postgresql, sqlite
    from sqlalchemy.exc import DBAPIError, OperationalError
    from sqlalchemy.orm import Session, scoped_session
except ModuleNotFoundError:
    raise ConfigurationError("this needs SQLAlchemy: pip install 'airweave-webhooks[sqlalchemy]'") from None

if TYPE_CHECKING:
    # Importing it takes greenlet, which only those who use it have.
    from sqlalchemy.ext.asyncio import AsyncConnection, AsyncSession, async_scoped_session

SyncSession: TypeAlias = Session | scoped_session[Any] | Connection
AnyAsyncSession: TypeAlias = "AsyncSession | async_scoped_session[Any] | AsyncConnection"

_INSERTS: Final[dict[str, Callable[[Table], postgresql.Insert | sqlite.Insert]]] = {
    "postgresql": postgresql.insert,
    "sqlite": sqlite.insert,
}


def once_table(metadata: MetaData, *, name: str = TABLE, schema: str | None = None) -> Table:
    """Add the table of the marks to your metadata, for `create_all` and Alembic's `--autogenerate`.

    Args:
        metadata: yours, such as `Base.metadata`.
        name: the table's.
        schema: where, if not in the default one.

    Returns:
        The table: pass it to `once(…, table=…)` if you chose `name` or `schema`, and delete old marks by `marked_at`.
    """
    return Table(
        name,
        metadata,
        Column("mark", String(64), primary_key=True),
        Column("receiver", Text, nullable=False),
        Column("tenant", Text, nullable=False),
        Column("key", Text, nullable=False),
        Column("handler", Text, nullable=False),
        Column("name", Text, nullable=False),
        Column("generation", Integer, nullable=False),
        Column("marked_at", DateTime(timezone=True), nullable=False, server_default=func.now()),
        schema=schema,
    )


ONCE: Final = once_table(MetaData())


@overload
def once(
    delivery: Delivery, session: AnyAsyncSession, *, name: str = "", table: Table = ONCE
) -> Coroutine[Any, Any, bool]: ...


@overload
def once(delivery: Delivery, session: SyncSession, *, name: str = "", table: Table = ONCE) -> bool: ...


def once(
    delivery: Delivery, session: "SyncSession | AnyAsyncSession", *, name: str = "", table: Table = ONCE
) -> bool | Coroutine[Any, Any, bool]:
    """Mark this delivery as done by the running handler, in the session's transaction.

    The mark and what else the transaction writes are committed together or not at all. If another transaction holds
    the mark, this waits until that one ends; `lock_timeout` on PostgreSQL and `timeout` on SQLite bound it.

    Args:
        delivery: the handler's.
        session: an ORM session or a connection. It is not flushed.
        name: tells apart several marks of one handler.
        table: from `once_table()`, if that was given a name or a schema.

    Returns:
        True the first time, False when it was done before: then there is nothing left to do. To be awaited on an
        `AsyncSession` or an `AsyncConnection`.

    Raises:
        ConfigurationError: the session commits each statement by itself; the table is missing; no handler runs;
            another database than PostgreSQL and SQLite; or the same mark was asked for, and found, twice in one
            attempt.
        Contended: a statement time-out while it waited. It may leave the handler, as may all of SQLAlchemy's
            errors: those that mean "come again" are answered so.
    """
    if isinstance(session, Session | Connection):
        return _once(delivery, name, table, session)
    if isinstance(session, scoped_session):
        return _once(delivery, name, table, session())

    from sqlalchemy.ext.asyncio import async_scoped_session  # noqa: PLC0415 - see above

    one = session() if isinstance(session, async_scoped_session) else session
    return one.run_sync(partial(_once, delivery, name, table))


def _once(delivery: Delivery, name: str, table: Table, session: Session | Connection) -> bool:
    with asking(delivery, name, _cause_of) as answer:
        connection = session
        if isinstance(connection, Session):
            connection = connection.connection(bind_arguments={"clause": table})
        insert = _INSERTS.get(connection.dialect.name)
        if insert is None:
            raise ConfigurationError(f"once() works on PostgreSQL and SQLite, and not on {connection.dialect.name}")
        _refuse_autocommit(connection)
        answer.where = (connection.engine, table)
        statement = insert(table).on_conflict_do_nothing(index_elements=[table.c.mark]).returning(table.c.mark)
        answer.first = connection.execute(statement, answer.mark._asdict()).first() is not None
    return answer.first


def _refuse_autocommit(connection: Connection) -> None:
    if connection.dialect.name == "sqlite":
        alone = not _in_transaction_of_sqlite(connection)
    else:
        alone = getattr(connection.connection.dbapi_connection, "autocommit", False)
    if alone:
        raise ConfigurationError(
            "once() on a connection that commits each statement by itself (isolation_level='AUTOCOMMIT') would commit"
            " the mark before the handler's writes: use a session on an engine without it"
        )


def _in_transaction_of_sqlite(connection: Connection) -> bool:
    """Whether the mark will be in a transaction, and in SQLAlchemy's: the driver begins one when it sees fit.

    See "transactions with SQLite and the sqlite3 driver" in SQLAlchemy's documentation.
    """
    driver: Any = connection.connection.driver_connection
    driver = getattr(driver, "_conn", driver)  # aiosqlite does not show all settings of what it wraps
    # From Python 3.12 on `autocommit` is True, False, or -1 for what there was before.
    if driver.isolation_level is None or getattr(driver, "autocommit", -1) != -1:
        return bool(driver.in_transaction)
    if connection.in_nested_transaction():
        # Begun by a SAVEPOINT alone, a transaction ends with it: what follows in the outer one would stand apart.
        raise ConfigurationError(
            "once() inside of begin_nested() on SQLite needs an engine whose transactions begin with BEGIN, see"
            " SQLAlchemy's documentation of SQLite; or call it before begin_nested()"
        )
    return True  # the driver begins one before it inserts


def _cause_of(error: BaseException) -> Cause | None:
    if not isinstance(error, DBAPIError):
        return None
    original: Any = error.orig
    code = getattr(original, "sqlite_errorcode", None)
    if code is not None:
        if code & 0xFF in {sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED}:
            return "contended"
        return "no table" if str(original).startswith("no such table") else None
    postgres = hasattr(original, "sqlstate") or hasattr(original, "pgcode")
    state = getattr(original, "sqlstate", None) or getattr(original, "pgcode", None)
    cause = cause_of_sqlstate(state) if state else None
    # Without an answer of the server: the driver's own, about the connection.
    lost = error.connection_invalidated or (postgres and not state and isinstance(error, OperationalError))
    return cause or ("lost" if lost else None)
