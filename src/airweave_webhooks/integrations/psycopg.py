"""psycopg 3: `once()`, so that a handler's writes to PostgreSQL are done exactly once."""

from collections.abc import Coroutine
from typing import Any, Final, LiteralString, overload

from airweave_webhooks.delivery import Delivery
from airweave_webhooks.errors import ConfigurationError
from airweave_webhooks.integrations.marks import TABLE, Answer, Cause, asking, cause_of_sqlstate

try:
    import psycopg
    from psycopg import AsyncConnection, AsyncCursor, Connection, Cursor
    from psycopg.pq import TransactionStatus
    from psycopg.rows import tuple_row
    from psycopg.sql import SQL, Composed, Identifier
except ModuleNotFoundError:
    raise ConfigurationError("this needs psycopg 3: pip install 'airweave-webhooks[postgres]'") from None

ONCE: Final = Identifier(TABLE)

_CREATE: Final[LiteralString] = """
CREATE TABLE IF NOT EXISTS {} (
    mark varchar(64) PRIMARY KEY,
    receiver text NOT NULL,
    tenant text NOT NULL,
    key text NOT NULL,
    handler text NOT NULL,
    name text NOT NULL,
    generation integer NOT NULL,
    marked_at timestamptz NOT NULL DEFAULT now()
)
"""
_INSERT: Final[LiteralString] = (
    "INSERT INTO {} (mark, receiver, tenant, key, handler, name, generation) VALUES (%s, %s, %s, %s, %s, %s, %s)"
    " ON CONFLICT (mark) DO NOTHING RETURNING true"
)


def once_table(table: Identifier = ONCE) -> Composed:
    """Make the SQL that creates the table of the marks, unless it exists; for your migrations.

    Args:
        table: its name, `Identifier("schema", "table")` for one in a schema.
    """
    return SQL(_CREATE).format(table)


@overload
def once(
    delivery: Delivery, connection: AsyncConnection[Any], *, name: str = "", table: Identifier = ONCE
) -> Coroutine[Any, Any, bool]: ...


@overload
def once(delivery: Delivery, connection: Connection[Any], *, name: str = "", table: Identifier = ONCE) -> bool: ...


def once(
    delivery: Delivery,
    connection: Connection[Any] | AsyncConnection[Any],
    *,
    name: str = "",
    table: Identifier = ONCE,
) -> bool | Coroutine[Any, Any, bool]:
    """Mark this delivery as done by the running handler, in the connection's transaction.

    The mark and what else the transaction writes are committed together or not at all. If another transaction holds
    the mark, this waits until that one ends; `lock_timeout` bounds it.

    Args:
        delivery: the handler's.
        connection: in a transaction, or about to begin one.
        name: tells apart several marks of one handler.
        table: where `once_table()` made it.

    Returns:
        True the first time, False when it was done before: then there is nothing left to do. To be awaited on an
        `AsyncConnection`.

    Raises:
        ConfigurationError: autocommit outside of a transaction; the table is missing; no handler runs; or the same
            mark was asked for, and found, twice in one attempt.
        Contended: a statement time-out while it waited. It may leave the handler, as may all of psycopg's errors:
            those that mean "come again" are answered so.
    """
    if isinstance(connection, AsyncConnection):
        return _once_async(delivery, connection, name, table)
    with asking(delivery, name, _cause_of) as answer:
        _prepare(answer, connection, table)
        # A cursor of our own: the connection's factories may speak another dialect, or make something else of rows.
        with Cursor(connection, row_factory=tuple_row) as cursor:
            cursor.execute(SQL(_INSERT).format(table), answer.mark)
            answer.first = cursor.fetchone() is not None
    return answer.first


async def _once_async(delivery: Delivery, connection: AsyncConnection[Any], name: str, table: Identifier) -> bool:
    with asking(delivery, name, _cause_of) as answer:
        _prepare(answer, connection, table)
        async with AsyncCursor(connection, row_factory=tuple_row) as cursor:
            await cursor.execute(SQL(_INSERT).format(table), answer.mark)
            answer.first = await cursor.fetchone() is not None
    return answer.first


def _prepare(answer: Answer, connection: Connection[Any] | AsyncConnection[Any], table: Identifier) -> None:
    info = connection.info
    if connection.autocommit and info.transaction_status == TransactionStatus.IDLE:
        raise ConfigurationError(
            "once() on a connection with autocommit=True would commit the mark before the handler's writes: call it"
            " inside `with connection.transaction():`"
        )
    answer.where = (info.host, info.port, info.dbname, table.as_string(connection))


def _cause_of(error: BaseException) -> Cause | None:
    if not isinstance(error, psycopg.Error):
        return None
    if error.sqlstate is not None:
        return cause_of_sqlstate(error.sqlstate)
    # Without an answer of the server: libpq's own, about the connection.
    return "lost" if isinstance(error, psycopg.OperationalError) else None
