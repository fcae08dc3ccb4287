"""Databases of a Django project, each under an alias of its own, made and migrated while the tests run."""

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

import django
import psycopg
import pymysql
from django.core.management import call_command
from django.db import connections
from psycopg.sql import SQL, Identifier

pymysql.install_as_MySQLdb()
os.environ.setdefault("DJANGO_SETTINGS_MODULE", "django_settings")
django.setup()


def sqlite_settings(file: str | Path) -> dict[str, Any]:
    """As in `DATABASES`, for a file."""
    return {"ENGINE": "django.db.backends.sqlite3", "NAME": str(file)}


def postgres_settings(url: str, database: str) -> dict[str, Any]:
    """As in `DATABASES`, for a database of the server at `url`."""
    parts = urlsplit(url)
    return {
        "ENGINE": "django.db.backends.postgresql",
        "NAME": database,
        "USER": unquote(parts.username or ""),
        "PASSWORD": unquote(parts.password or ""),
        "HOST": parts.hostname,
        "PORT": parts.port,
    }


def mariadb_settings(address: dict[str, Any], database: str) -> dict[str, Any]:
    """As in `DATABASES`, for a database of the server at `address`."""
    names = {name.upper(): value for name, value in address.items()}
    return {"ENGINE": "django.db.backends.mysql", "NAME": database, **names}


@contextlib.contextmanager
def postgres_database(url: str) -> Iterator[dict[str, Any]]:
    """Make a database, for a block."""
    name = f"django_{os.urandom(6).hex()}"
    for statement in "CREATE DATABASE {}", "DROP DATABASE {} WITH (FORCE)":
        with psycopg.connect(url, autocommit=True) as connection:
            connection.execute(SQL(statement).format(Identifier(name)))
        if statement.startswith("CREATE"):
            yield postgres_settings(url, name)


@contextlib.contextmanager
def mariadb_database(address: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """Make a database, for a block."""
    name = f"django_{os.urandom(6).hex()}"
    _execute(address, f"CREATE DATABASE {name}")
    yield mariadb_settings(address, name)
    _execute(address, f"DROP DATABASE {name}")


def _execute(address: dict[str, Any], statement: str) -> None:
    with pymysql.connect(**address) as connection, connection.cursor() as cursor:
        cursor.execute(statement)


def make_known(alias: str, settings: dict[str, Any]) -> None:
    """Let Django know a database, for good."""
    connections.settings[alias] = settings
    connections.configure_settings(connections.settings)


@contextlib.contextmanager
def known(alias: str, settings: dict[str, Any]) -> Iterator[str]:
    """Let Django know a database, for a block."""
    make_known(alias, settings)
    try:
        yield alias
    finally:
        if connections[alias].connection is not None:
            connections[alias].close()
        del connections[alias]
        del connections.settings[alias]


def migrate(alias: str) -> None:
    """Make the tables."""
    call_command("migrate", "airweave_webhooks", database=alias, verbosity=0)
    connections[alias].close()


def empty(alias: str) -> None:
    """Remove every row."""
    from airweave_webhooks.integrations.django.models import Delivery, Once, Queue, Worker

    for model in (Delivery, Once, Queue, Worker):
        model._default_manager.using(alias).all().delete()
    connections[alias].close()
