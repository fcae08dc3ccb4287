"""What the errors of databases mean, behind Django's own.

Django's classes say too little: of a deadlock and of a server that is gone it makes the same one. The driver's error
is the cause of Django's.
"""

import sqlite3
from typing import Any, Final

from django.db import DataError, Error, InterfaceError, OperationalError
from django.db.backends.base.base import BaseDatabaseWrapper

from airweave_webhooks.errors import ConfigurationError, StoreBusy, StoreDataError, StoreUnavailable, WebhookError
from airweave_webhooks.integrations.marks import Cause, cause_of_sqlstate

TRANSLATED: Final = (Error, UnicodeError, OverflowError, ValueError, TypeError)
"""What a statement may raise. The last four are drivers' and Django's own, about values."""

# PostgreSQL: https://www.postgresql.org/docs/current/errcodes-appendix.html
# MySQL: https://dev.mysql.com/doc/mysql-errors/8.4/en/server-error-reference.html, and MariaDB
# SQLite: https://www.sqlite.org/rescode.html
_NO_TABLE: Final = frozenset({"42P01", "42703", 1146, 1054})
_CONTENDED: Final = frozenset({"40001", "40P01", "55P03", 1205, 1213, 1020, sqlite3.SQLITE_LOCKED})
_CANCELLED: Final = frozenset({1317, 1969, 3024})
_REFUSED: Final = frozenset(
    {
        *("42501", "28000", "28P01", "3D000", 1044, 1045, 1049, 1142),
        *(sqlite3.SQLITE_PERM, sqlite3.SQLITE_READONLY, sqlite3.SQLITE_CANTOPEN, sqlite3.SQLITE_NOTADB),
    }
)
_TOO_LARGE: Final = frozenset({"54000", 1153, sqlite3.SQLITE_TOOBIG})


def code_of(error: BaseException) -> str | int | None:
    """The database's code of an error: PostgreSQL's SQLSTATE, the number of MySQL or SQLite, if there is one."""
    driver: Any = error.__cause__
    if driver is None:
        return None
    if driver.args and isinstance(driver.args[0], int):  # MySQL's, which has a SQLSTATE, too, that says less
        return driver.args[0]
    number = getattr(driver, "sqlite_errorcode", None)
    if number is not None:
        return int(number) & 0xFF
    state = getattr(driver, "sqlstate", None) or getattr(driver, "pgcode", None)
    return str(state) if state else None


def is_no_table(error: Error) -> bool:
    """Whether a table, or a column, is missing."""
    return code_of(error) in _NO_TABLE or str(error).startswith(("no such table", "no such column"))


def is_file_in_use(error: Error) -> bool:
    """Whether SQLite's file is locked by another connection."""
    return isinstance(error.__cause__, sqlite3.Error) and code_of(error) == sqlite3.SQLITE_BUSY


def migrate_command(using: str) -> str:
    """What makes the tables."""
    option = "" if using == "default" else f" --database={using}"
    return f"python manage.py migrate airweave_webhooks{option}"


def cause_of(error: BaseException) -> Cause | None:
    """What an error of a handler's is about, for `once()`."""
    if not isinstance(error, Error):
        return None
    code = code_of(error)
    if isinstance(code, str):
        return cause_of_sqlstate(code)
    if code in _CONTENDED or code == sqlite3.SQLITE_BUSY:
        return "contended"
    if code in _CANCELLED:
        return "cancelled"
    if is_no_table(error):
        return "no table"
    return "lost" if _is_about_the_connection(error, code) else None


def _is_about_the_connection(error: Error, code: int | None) -> bool:
    """Whether the driver, not the server, has raised it: without a code, or with one of MySQL's client."""
    if code is None or code == 0:
        return isinstance(error, OperationalError | InterfaceError) and not isinstance(error.__cause__, sqlite3.Error)
    return 2000 <= code < 3000 or code in {1053, 1927, 4031}


def translated(error: Exception, connection: BaseDatabaseWrapper) -> WebhookError:
    """What an error means to whoever asks the store."""
    said = f"database {connection.alias!r}: {' '.join(str(error).split()) or type(error).__name__}"
    if not isinstance(error, Error):
        return StoreDataError(f"{said}: this record cannot be stored")
    code = code_of(error)
    if is_no_table(error):
        return ConfigurationError(f"{said}: run `{migrate_command(connection.alias)}`")
    if isinstance(error, DataError) or code in _TOO_LARGE:
        return StoreDataError(f"{said}: this record cannot be stored")
    if code in _CONTENDED:
        return StoreBusy(said)
    if code in _REFUSED:
        return ConfigurationError(f"{said}: check DATABASES in Django's settings, and what its user may do")
    return StoreUnavailable(said)
