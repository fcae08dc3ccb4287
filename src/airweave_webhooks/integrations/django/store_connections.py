"""The store's own connections to the project's database, and the database's clock."""

import contextlib
import os
import socket
import threading
import time
from collections.abc import Callable, Generator, Sequence
from typing import Any, Final

from django.db import connections, transaction
from django.db.backends.base.base import BaseDatabaseWrapper

LOCK_PATIENCE: Final = 5
"""Seconds to wait for another transaction's lock, on PostgreSQL and MySQL: those of the store last milliseconds."""
CONNECT_PATIENCE: Final = 3
"""Seconds for a server to take a connection, unless the project says otherwise. Whole ones, as drivers want them."""
FILE_PATIENCE: Final = 5.0
"""What Python's `sqlite3` waits for if nobody says otherwise. Seconds."""
SQLITES_PATIENCE: Final = 20
"""Milliseconds of it that SQLite waits by itself. It sleeps ever longer, and would starve whoever came late."""
CUT_AGAIN: Final = 1.0
"""Seconds: whoever is silent may have become so between connecting and being known to be connected."""

# Settings for the transaction that it begins, and the server's clock. A stricter durability of the project's stays.
_NOW_OF_POSTGRES: Final = """
    SELECT extract(epoch FROM clock_timestamp())::float8, set_config('lock_timeout', %s, true),
        set_config('synchronous_commit', coalesce(nullif(current_setting('synchronous_commit'), 'off'), 'on'), true)
"""
_BY_INDEX_ON_POSTGRES: Final = (
    "SELECT set_config('enable_seqscan', 'off', true), set_config('enable_bitmapscan', 'off', true)"
)
# Not `unix_timestamp(now(6))`: in the hour that a time zone has twice, that is the wrong one.
_NOW_OF_MYSQL: Final = "SELECT timestampdiff(MICROSECOND, '1970-01-01', utc_timestamp(6))"

# Drivers that Django itself supports, or that pass for one; others name their time-outs otherwise.
_MYSQLS: Final = frozenset({"MySQLdb", "pymysql"})

_DISK_OF_POSTGRES: Final = "SELECT pg_total_relation_size(%s::regclass)"
_DISK_OF_MYSQL: Final = """
    SELECT sum(data_length + index_length) FROM information_schema.tables
    WHERE table_schema = database() AND table_name = %s
"""
_DISK_OF_SQLITE: Final = """
    SELECT (page_count - freelist_count) * page_size
    FROM pragma_page_count, pragma_freelist_count, pragma_page_size
"""


def connection_for(using: str, patience: int, *, reading: bool) -> BaseDatabaseWrapper:
    """Make a connection that belongs to nobody else. It connects when it is first used.

    Args:
        using: the database's alias.
        patience: seconds for which a server may be silent, where the driver can be told and the project does not.
        reading: whether it only reads.
    """
    project: Any = connections[using]
    settings: dict[str, Any] = project.settings_dict
    options: dict[str, Any] = dict(settings["OPTIONS"])
    if project.vendor == "sqlite":
        if not reading:
            options["transaction_mode"] = "IMMEDIATE"
        options["init_command"] = f"{options.get('init_command', '')}; PRAGMA synchronous = EXTRA"
    elif project.vendor == "postgresql":
        from django.db.backends.postgresql.psycopg_any import IsolationLevel  # noqa: PLC0415 - it imports the driver

        options["isolation_level"] = IsolationLevel.READ_COMMITTED
        options.pop("pool", None)  # a connection that is kept for long belongs into no pool
        options.setdefault("connect_timeout", CONNECT_PATIENCE)
    elif project.vendor == "mysql":
        options["isolation_level"] = "read committed"
        if project.Database.__name__ in _MYSQLS:
            silences = {"connect_timeout": CONNECT_PATIENCE, "read_timeout": patience, "write_timeout": patience}
            options = silences | options
    made: BaseDatabaseWrapper = type(project)({**settings, "AUTOCOMMIT": True, "OPTIONS": options}, using)
    return made


def connect(connection: BaseDatabaseWrapper) -> None:
    """Connect, and say what is said once a session."""
    connection.ensure_connection()
    if connection.vendor == "mysql":
        with connection.cursor() as cursor:
            cursor.execute(f"SET SESSION innodb_lock_wait_timeout = {LOCK_PATIENCE}")
            if not getattr(connection, "mysql_is_mariadb", False):
                # Or it would tell the disk's use of yesterday.
                cursor.execute("SET SESSION information_schema_stats_expiry = 0")
    elif connection.vendor == "sqlite":
        with connection.cursor() as cursor:
            cursor.execute(f"PRAGMA busy_timeout = {SQLITES_PATIENCE}")


@contextlib.contextmanager
def bounded(connection: BaseDatabaseWrapper, patience: float) -> Generator[None]:
    """For a block, let PostgreSQL be silent for so many seconds, then end its connection. Its drivers wait for ever.

    A server that is stopped still has a kernel that confirms what it gets, so no time-out of TCP's notices it.
    """
    if connection.vendor != "postgresql":
        yield
        return
    done = threading.Event()
    heard = time.monotonic()

    def listen(execute: Callable[..., Any], *arguments: Any) -> Any:
        nonlocal heard
        heard = time.monotonic()
        try:
            return execute(*arguments)
        finally:
            heard = time.monotonic()

    def watch() -> None:
        pause = patience
        while not done.wait(pause):
            pause = heard + patience - time.monotonic()
            if pause <= 0:
                _cut(connection)
                pause = CUT_AGAIN

    threading.Thread(target=watch, name="airweave-django-patience", daemon=True).start()
    try:
        with connection.execute_wrapper(listen):
            yield
    finally:
        done.set()


def _cut(connection: BaseDatabaseWrapper) -> None:
    """Wake up whoever waits for an answer: the connection is as if the server had closed it."""
    driver: Any = connection.connection
    # None has a file while it is being made or closed, which each driver says with an error of its own.
    with contextlib.suppress(Exception), socket.socket(fileno=os.dup(driver.fileno())) as copy:
        copy.shutdown(socket.SHUT_RDWR)


def file_patience(connection: BaseDatabaseWrapper) -> float:
    """Seconds to wait until no other process writes to SQLite's file, as the project has it."""
    return float(connection.settings_dict["OPTIONS"].get("timeout", FILE_PATIENCE))


@contextlib.contextmanager
def by_index(connection: BaseDatabaseWrapper) -> Generator[None]:
    """For a block, let PostgreSQL answer by indexes.

    It expects to find soon in the table what it will not find at all: whether something comes before the first of a
    long line. Then each delivery of that line costs a reading of the whole table.
    """
    if connection.vendor != "postgresql":
        yield
        return
    with transaction.atomic(using=connection.alias), connection.cursor() as cursor:
        cursor.execute(_BY_INDEX_ON_POSTGRES)
        yield


def hang_up(connection: BaseDatabaseWrapper) -> None:
    """Disconnect in whichever thread: Django's `close` may not be called in one that runs an event loop."""
    driver, connection.connection = connection.connection, None
    if driver is not None:
        driver.close()


def now_of(connection: BaseDatabaseWrapper) -> float:
    """Read the clock of a database: the server's, if it has one. Seconds since the epoch."""
    if connection.vendor == "postgresql":
        with connection.cursor() as cursor:
            cursor.execute(_NOW_OF_POSTGRES, [f"{LOCK_PATIENCE}s"])
            return float(cursor.fetchone()[0])
    if connection.vendor == "mysql":
        with connection.cursor() as cursor:
            cursor.execute(_NOW_OF_MYSQL)
            return int(cursor.fetchone()[0]) / 1e6
    return time.time()


def outlives_the_process(using: str) -> bool:
    """Whether a database is on a disk somewhere."""
    project: Any = connections[using]
    return not (project.vendor == "sqlite" and project.is_in_memory_db())


def disk_of(connection: BaseDatabaseWrapper, tables: Sequence[str]) -> int:
    """Say how many bytes tables and their indexes take.

    SQLite tells of the whole database only, MySQL of what its statistics have noticed; others are not asked.
    """
    with connection.cursor() as cursor:
        if connection.vendor == "sqlite":
            cursor.execute(_DISK_OF_SQLITE)
            return int(cursor.fetchone()[0])
        query = {"postgresql": _DISK_OF_POSTGRES, "mysql": _DISK_OF_MYSQL}.get(connection.vendor)
        if query is None:
            return 0
        disk = 0
        for table in tables:
            cursor.execute(query, [table])
            disk += int(cursor.fetchone()[0] or 0)
        return disk
