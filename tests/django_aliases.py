"""Databases of a Django project as fixtures, each an alias that Django knows. Django is imported when one is used."""

import contextlib
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from servers.mariadb import MariaDBServer
    from servers.postgres import PostgresServer

ALIASES = ["sqlite", "postgres", "mariadb"]


@pytest.fixture(scope="session")
def migrated_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A SQLite file with tables, to be copied: to make them takes longer than most tests do."""
    from django_databases import known, migrate, sqlite_settings

    file = tmp_path_factory.mktemp("django") / "django.sqlite"
    with known("migrated", sqlite_settings(file)):
        migrate("migrated")
    return file


@pytest.fixture(scope="session")
def postgres_with_tables(postgres_url: str) -> Iterator[str]:
    """A database of a server, for one test after the other."""
    from django_databases import known, migrate, postgres_database

    with postgres_database(postgres_url) as settings, known("postgres", settings) as alias:
        migrate(alias)
        yield alias


@pytest.fixture(scope="session")
def mariadb_with_tables(mariadb_address: dict[str, Any]) -> Iterator[str]:
    """A database of a server, for one test after the other."""
    from django_databases import known, mariadb_database, migrate

    with mariadb_database(mariadb_address) as settings, known("mariadb", settings) as alias:
        migrate(alias)
        yield alias


@pytest.fixture
def django_sqlite(tmp_path: Path, migrated_file: Path) -> Iterator[str]:
    """The alias of a file with empty tables."""
    from django_databases import known, sqlite_settings

    with known("sqlite", sqlite_settings(shutil.copy(migrated_file, tmp_path))) as alias:
        yield alias


@pytest.fixture
def django_postgres(postgres_with_tables: str) -> Iterator[str]:
    """The alias of a PostgreSQL database with empty tables."""
    from django_databases import empty

    yield postgres_with_tables
    empty(postgres_with_tables)


@pytest.fixture
def django_mariadb(mariadb_with_tables: str) -> Iterator[str]:
    """The alias of a MariaDB database with empty tables."""
    from django_databases import empty

    yield mariadb_with_tables
    empty(mariadb_with_tables)


@pytest.fixture(params=ALIASES)
def django_alias(request: pytest.FixtureRequest) -> str:
    """Each of them, one after the other."""
    alias: str = request.getfixturevalue(f"django_{request.param}")
    return alias


@pytest.fixture(params=["postgres", "mariadb"])
def fragile(request: pytest.FixtureRequest) -> "Iterator[PostgresServer | MariaDBServer]":
    """A server that the test may stop and freeze, with a migrated database that Django calls `fragile`."""
    from django_databases import known, mariadb_database, migrate, postgres_database

    with contextlib.ExitStack() as until_the_end:
        if request.param == "postgres":
            server = request.getfixturevalue("fragile_server")
            settings = until_the_end.enter_context(postgres_database(server.url))
        else:
            server = request.getfixturevalue("fragile_mariadb")
            settings = until_the_end.enter_context(mariadb_database(server.address))
        until_the_end.enter_context(known("fragile", settings))
        migrate("fragile")
        yield server
