"""What a PostgreSQL store says to whom it cannot work with, and how its tables come to be."""

import asyncio
import os
import subprocess
import sys
from collections.abc import Iterator
from urllib.parse import quote, urlsplit, urlunsplit

import psycopg
import pytest
from psycopg import sql

from airweave_webhooks import ConfigurationError, PostgresStore
from airweave_webhooks.errors import StoreUnavailable
from airweave_webhooks.stores import postgres_schema, store_from_url
from airweave_webhooks.testing.contracts import a_claim, opened

pytestmark = pytest.mark.anyio


async def refusal(store: PostgresStore) -> str:
    with pytest.raises(ConfigurationError) as caught:
        await store.open()
    assert store._loops == {}
    return str(caught.value)


def run(url: str, *statements: str) -> None:
    with psycopg.connect(url, autocommit=True) as connection:
        for statement in statements:
            connection.execute(statement.encode())


def as_user(url: str, user: str, password: str) -> str:
    parts = urlsplit(url)
    return urlunsplit(parts._replace(netloc=f"{user}:{quote(password)}@{parts.netloc.rpartition('@')[2]}"))


@pytest.fixture
def role(postgres_url: str, schema: str) -> Iterator[str]:
    """The URL of a role that may do nothing but log in."""
    name, password = f"role_{os.urandom(4).hex()}", "geheim-geheim"
    run(postgres_url, f"CREATE ROLE {name} LOGIN PASSWORD '{password}'")
    yield as_user(postgres_url, name, password)
    run(postgres_url, f'DROP SCHEMA IF EXISTS "{schema}" CASCADE', f"DROP OWNED BY {name}", f"DROP ROLE {name}")


async def test_what_is_no_url_is_refused(postgres_url: str) -> None:
    """The message shows how to write one, and nothing of what was written."""
    for wrong in (
        "postgresql://user:geh@im@host/db",
        "postgresql://user:geh/im@host/db",
        "postgresql://user:12/geheim@host/db",
        "postgresql://user:geheim@host:port/db",
        "postgresql://user:geheim@host/db?geheim",
        "postgresql://user:geheim@host/db?nonsense=geheim",
        "postgresql://user:%zzgeheim@host/db",
        "mysql://user:geheim@host/db",
        "host=localhost password=geheim",
        "",
    ):
        with pytest.raises(ConfigurationError, match="postgresql://user:password@host:5432/database") as caught:
            PostgresStore(wrong)
        assert "geh" not in str(caught.value)
        assert caught.value.__cause__ is None
    with pytest.raises(ConfigurationError, match="AsyncConnectionPool"):
        PostgresStore(7)  # type: ignore[arg-type]


def test_urls() -> None:
    """Both schemes name the store; nothing of the login is shown; two stores on one schema are equal."""
    store = store_from_url("postgres://user:geheim@db.example:5433/app?sslmode=require")
    assert repr(store) == "PostgresStore('postgresql://db.example:5433/app', schema='airweave_webhooks')"
    assert store == PostgresStore("postgresql://other:word@db.example:5433/app")
    assert hash(store) == hash(PostgresStore("postgresql://other:word@db.example:5433/app"))
    assert store != PostgresStore("postgresql://other:word@db.example:5433/app", schema="other")


def test_a_missing_driver_is_named() -> None:
    """The message names the extra."""
    program = (
        "import sys; sys.modules['psycopg'] = None\n"
        "from airweave_webhooks import ConfigurationError, PostgresStore\n"
        "try: PostgresStore('postgresql://h/d')\n"
        "except ConfigurationError as error: print(error)"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=True)
    assert "pip install 'airweave-webhooks[postgres]' 'psycopg[binary]'" in done.stdout


async def test_a_refused_login_is_a_mistake_in_the_setup(postgres_url: str, schema: str) -> None:
    """A wrong password, role or database: the message says which, and not the password."""
    url = as_user(postgres_url, "nobody_like_that", "geheim-geheim")
    said = await refusal(PostgresStore(url, schema=schema))
    assert "nobody_like_that" in said
    assert "geheim" not in said
    parts = urlsplit(postgres_url)
    missing = urlunsplit(parts._replace(path="/no_such_database"))
    said = await refusal(PostgresStore(missing, schema=schema))
    assert 'database "no_such_database" does not exist' in said
    assert "create it, or name another" in said


async def test_a_server_that_is_not_there_is_an_outage(schema: str) -> None:
    """It may come: no mistake in the setup, and said at once."""
    with pytest.raises(StoreUnavailable, match=r"postgresql://127\.0\.0\.1:1/db") as caught:
        await PostgresStore("postgresql://user:geheim@127.0.0.1:1/db", schema=schema).open()
    assert "geheim" not in str(caught.value)


async def test_a_role_that_may_not_create_tables_is_told(role: str, postgres_url: str, schema: str) -> None:
    """Somebody else makes the tables and grants the rights; then it works, without the right to create."""
    assert "permission denied for database" in await refusal(PostgresStore(role, schema=schema))
    assert "open with migrate=False" in await refusal(PostgresStore(role, schema=schema))
    await PostgresStore(postgres_url, schema=schema).migrate()
    assert "permission denied for schema" in await refusal(PostgresStore(role, schema=schema))
    name = urlsplit(role).username
    run(postgres_url, f'GRANT USAGE ON SCHEMA "{schema}" TO {name}')
    assert "permission denied for table migrations" in await refusal(PostgresStore(role, schema=schema))
    run(postgres_url, f'GRANT SELECT ON "{schema}".migrations TO {name}')
    said = await refusal(PostgresStore(role, schema=schema))
    assert f'GRANT SELECT, INSERT, UPDATE, DELETE ON "{schema}".deliveries, "{schema}".workers TO it' in said
    run(postgres_url, f'GRANT SELECT, INSERT, UPDATE, DELETE ON "{schema}".deliveries TO {name}')
    assert f'"{schema}".workers TO it' in await refusal(PostgresStore(role, schema=schema))
    run(postgres_url, f'GRANT SELECT, INSERT, UPDATE, DELETE ON "{schema}".workers TO {name}')
    async with opened(lambda: PostgresStore(role, schema=schema, migrate=False)) as store:
        assert [claimed.verdict for claimed in await store.claim([a_claim()])] == ["claimed"]


async def test_a_role_may_own_the_schema_without_a_right_on_the_database(
    role: str, postgres_url: str, schema: str
) -> None:
    """The administrator makes an empty schema, the store fills it."""
    run(postgres_url, f'CREATE SCHEMA "{schema}" AUTHORIZATION {urlsplit(role).username}')
    async with opened(lambda: PostgresStore(role, schema=schema)) as store:
        assert [claimed.verdict for claimed in await store.claim([a_claim()])] == ["claimed"]


async def test_a_read_only_server_is_named(role: str, schema: str) -> None:
    """As a standby is; there is nothing to be done on it."""
    run(role, f"ALTER ROLE {urlsplit(role).username} SET default_transaction_read_only = on")
    assert "is read-only: connect to the primary server" in await refusal(PostgresStore(role, schema=schema))


async def test_a_server_that_turns_read_only_is_an_outage(role: str, postgres_url: str, schema: str) -> None:
    """As in a failover; its connection is left, so that the next one can find the new primary server."""
    name = urlsplit(role).username
    run(postgres_url, f'CREATE SCHEMA "{schema}" AUTHORIZATION {name}')
    async with opened(lambda: PostgresStore(role, schema=schema)) as store:
        run(
            postgres_url,
            f"ALTER ROLE {name} SET default_transaction_read_only = on",
            f"SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = '{name}'",
        )
        with pytest.raises(StoreUnavailable, match="read-only transaction"):
            await store.claim([a_claim()])
        run(postgres_url, f"ALTER ROLE {name} RESET default_transaction_read_only")
        assert [claimed.verdict for claimed in await store.claim([a_claim()])] == ["claimed"]


async def test_tables_that_are_gone_are_named(postgres_url: str, schema: str) -> None:
    """Somebody dropped them under an open store."""
    async with opened(lambda: PostgresStore(postgres_url, schema=schema)) as store:
        run(postgres_url, f'DROP SCHEMA "{schema}" CASCADE')
        with pytest.raises(ConfigurationError, match="open the store again"):
            await store.claim([a_claim()])


async def test_missing_tables_are_refused_where_nobody_may_make_them(postgres_url: str, schema: str) -> None:
    """With migrate=False the message names both ways to make them."""
    said = await refusal(PostgresStore(postgres_url, schema=schema, migrate=False))
    assert "has version 0 of the tables, and this release needs 1" in said
    assert "await store.migrate()" in said
    assert str(postgres_schema.MIGRATIONS) in said


async def test_the_sql_files_can_be_run_by_hand(postgres_url: str, schema: str) -> None:
    """As the documentation shows; the store finds nothing left to do."""
    with psycopg.connect(postgres_url) as connection:
        connection.execute(sql.SQL("CREATE SCHEMA {}").format(sql.Identifier(schema)))
        connection.execute(sql.SQL("SET search_path TO {}").format(sql.Identifier(schema)))
        for file in sorted(postgres_schema.MIGRATIONS.glob("*.sql")):
            connection.execute(file.read_bytes())
    async with opened(lambda: PostgresStore(postgres_url, schema=schema, migrate=False)) as store:
        assert [claimed.verdict for claimed in await store.claim([a_claim()])] == ["claimed"]


async def test_a_newer_schema_is_refused(postgres_url: str, schema: str) -> None:
    """An older release would misread it."""
    async with opened(lambda: PostgresStore(postgres_url, schema=schema)):
        pass
    run(postgres_url, f'INSERT INTO "{schema}".migrations (version) VALUES (99)')
    said = await refusal(PostgresStore(postgres_url, schema=schema))
    assert "made by a newer version of airweave-webhooks (version 99, this one knows 1)" in said


async def test_another_programs_table_is_left_alone(postgres_url: str, schema: str) -> None:
    """A table of ours by name only is not touched."""
    run(postgres_url, f'CREATE SCHEMA "{schema}"', f'CREATE TABLE "{schema}".deliveries (id integer)')
    assert "a table `deliveries` that is not ours" in await refusal(PostgresStore(postgres_url, schema=schema))


@pytest.mark.parametrize(
    "name", ['"; DROP SCHEMA public; --', "100% {schema} %s", "$outer$ ' \\", "Schnee \N{SNOWMAN}", "x" * 63]
)
async def test_every_name_of_a_schema_is_only_a_name(postgres_url: str, name: str) -> None:
    """Whatever it is made of, and all of its statements work on it."""
    try:
        async with opened(lambda: PostgresStore(postgres_url, schema=name)) as store:
            claim = a_claim()
            assert [claimed.verdict for claimed in await store.claim([claim])] == ["claimed"]
            assert [claimed.verdict for claimed in await store.claim([a_claim()])] == ["held"]
            assert await store.purge(done_for=0, abandoned_for=0, most=5) == 0
        with psycopg.connect(postgres_url) as connection:
            found = connection.execute("SELECT nspname FROM pg_namespace WHERE nspname IN (%s, 'public')", [name])
            assert {row[0] for row in found} == {name, "public"}
    finally:
        with psycopg.connect(postgres_url) as connection:
            connection.execute(sql.SQL("DROP SCHEMA IF EXISTS {} CASCADE").format(sql.Identifier(name)))


@pytest.mark.parametrize("name", ["", "x" * 64, "a\0b", "\ud800"])
def test_what_cannot_name_a_schema_is_refused(name: str) -> None:
    """Before anything is sent."""
    with pytest.raises(ConfigurationError, match="1 to 63 bytes"):
        PostgresStore("postgresql://host/db", schema=name)


async def test_two_schemas_do_not_meet(postgres_url: str, schema: str) -> None:
    """The same message id is another delivery in another schema."""
    other = f"{schema} 2"
    try:
        async with (
            opened(lambda: PostgresStore(postgres_url, schema=schema)) as one,
            opened(lambda: PostgresStore(postgres_url, schema=other)) as two,
        ):
            answers = [(await store.claim([a_claim()]))[0].verdict for store in (one, two, one)]
            assert answers == ["claimed", "claimed", "held"]
    finally:
        run(postgres_url, f'DROP SCHEMA IF EXISTS "{other}" CASCADE')


async def test_the_tables_are_made_once(postgres_url: str, schema: str) -> None:
    """By four processes, of four stores each, at the same time: one makes them, the others find them."""
    program = (
        "import asyncio, sys\n"
        "from airweave_webhooks import PostgresStore\n"
        "async def main():\n"
        "    stores = [PostgresStore(*sys.argv[1:2], schema=sys.argv[2]) for _ in range(4)]\n"
        "    await asyncio.gather(*[store.open() for store in stores])\n"
        "    for store in stores: await store.close()\n"
        "asyncio.run(main())"
    )
    command = [sys.executable, "-W", "error", "-c", program, postgres_url, schema]
    processes = [await asyncio.create_subprocess_exec(*command, stderr=subprocess.PIPE) for _ in range(4)]
    for process in processes:
        _, errors = await asyncio.wait_for(process.communicate(), 60)
        assert process.returncode == 0, errors.decode()
    with psycopg.connect(postgres_url) as connection:
        versions = connection.execute(f'SELECT version FROM "{schema}".migrations'.encode()).fetchall()
    assert versions == [(1,)]
