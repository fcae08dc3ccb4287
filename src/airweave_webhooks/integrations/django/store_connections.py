"""The store's own connections to the project's database, and the database's clock."""

import time
from collections.abc import Sequence
from typing import Any, Final

from django.db import connections
from django.db.backends.base.base import BaseDatabaseWrapper

LOCK_PATIENCE: Final = 5
"""Seconds to wait for another transaction's lock, on PostgreSQL and MySQL: those of the store last milliseconds."""

# Settings for the transaction that it begins, and the server's clock. A stricter durability of the project's stays.
_NOW_OF_POSTGRES: Final = """
    SELECT extract(epoch FROM clock_timestamp())::float8, set_config('lock_timeout', %s, true),
        set_config('synchronous_commit', coalesce(nullif(current_setting('synchronous_commit'), 'off'), 'on'), true)
"""
# Not `unix_timestamp(now(6))`: in the hour that a time zone has twice, that is the wrong one.
_NOW_OF_MYSQL: Final = "SELECT timestampdiff(MICROSECOND, '1970-01-01', utc_timestamp(6))"

_DISK_OF_POSTGRES: Final = "SELECT pg_total_relation_size(%s::regclass)"
_DISK_OF_MYSQL: Final = """
    SELECT sum(data_length + index_length) FROM information_schema.tables
    WHERE table_schema = database() AND table_name = %s
"""
_DISK_OF_SQLITE: Final = """
    SELECT (page_count - freelist_count) * page_size
    FROM pragma_page_count, pragma_freelist_count, pragma_page_size
"""


def connection_for(using: str, *, reading: bool) -> BaseDatabaseWrapper:
    """Make a connection that belongs to nobody else. It connects when it is first used.

    Args:
        using: the database's alias.
        reading: whether it only reads.
    """
    project = connections[using]
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
    elif project.vendor == "mysql":
        options["isolation_level"] = "read committed"
    return type(project)({**settings, "OPTIONS": options}, using)


def connect(connection: BaseDatabaseWrapper) -> None:
    """Connect, and say what is said once a session."""
    connection.ensure_connection()
    if connection.vendor == "mysql":
        with connection.cursor() as cursor:
            cursor.execute(f"SET SESSION innodb_lock_wait_timeout = {LOCK_PATIENCE}")
            if not getattr(connection, "mysql_is_mariadb", False):
                # Or it would tell the disk's use of yesterday.
                cursor.execute("SET SESSION information_schema_stats_expiry = 0")


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
