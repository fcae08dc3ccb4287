"""`once()` and how a connection can be set up: what commits by itself is refused."""

import asyncio
import subprocess
import sys
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import psycopg
import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from psycopg.rows import class_row
from psycopg.sql import Identifier
from sqlalchemy import Engine, MetaData, create_engine, delete, event, select, text, update
from sqlalchemy.dialects import mysql
from sqlalchemy.ext.asyncio import (
    AsyncConnection,
    AsyncSession,
    async_scoped_session,
    async_sessionmaker,
    create_async_engine,
)
from sqlalchemy.orm import Session, scoped_session, sessionmaker
from sqlalchemy.pool import NullPool

from airweave_webhooks import ConfigurationError, Delivery, Receiver
from airweave_webhooks.integrations import psycopg as with_psycopg
from airweave_webhooks.integrations.sqlalchemy import once, once_table
from conftest import SECRET, sign
from databases import BODY, a_delivery, in_schema, sqlite_url, sync_url

pytestmark = pytest.mark.anyio

COUNT = text("SELECT count(*) FROM airweave_webhook_once")
refused = pytest.raises(ConfigurationError, match="commits each statement")
refused_by_psycopg = pytest.raises(ConfigurationError, match="autocommit=True")


@pytest.fixture
def url(postgres_url: str, schema: str) -> str:
    return in_schema(postgres_url, schema)


@pytest.fixture(params=["postgresql", "sqlite"])
def engine(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Engine]:
    """With the table."""
    url = sync_url(request.getfixturevalue("url")) if request.param == "postgresql" else sqlite_url(tmp_path)
    engine = create_engine(url)
    metadata = MetaData()
    once_table(metadata)
    metadata.create_all(engine)
    yield engine
    engine.dispose()


only_sqlite = pytest.mark.parametrize("engine", ["sqlite"], indirect=True)


def marks(engine: Engine) -> int:
    with create_engine(engine.url, poolclass=NullPool).connect() as connection:
        count: int = connection.execute(COUNT).scalar_one()
    return count


def test_sqlalchemy_in_autocommit(engine: Engine) -> None:
    """Set for the engine, a part of it, a connection or a session."""
    whole = create_engine(engine.url, isolation_level="AUTOCOMMIT")
    part = engine.execution_options(isolation_level="AUTOCOMMIT")
    for each in (whole, part):
        with Session(each) as session, refused:
            once(a_delivery(), session)
        with each.connect() as connection, refused:
            once(a_delivery(), connection)
    with engine.connect() as connection, refused:
        once(a_delivery(), connection.execution_options(isolation_level="AUTOCOMMIT"))
    with Session(engine) as session, refused:
        session.connection(execution_options={"isolation_level": "AUTOCOMMIT"})
        once(a_delivery(), session)
    assert marks(engine) == 0
    with Session(whole) as session:
        session.connection(execution_options={"isolation_level": "SERIALIZABLE"})
        assert once(a_delivery(), session)
        session.rollback()
    assert marks(engine) == 0
    whole.dispose()


async def test_sqlalchemy_async_in_autocommit(engine: Engine) -> None:
    """Likewise."""
    url = engine.url.set(drivername="sqlite+aiosqlite" if engine.dialect.name == "sqlite" else "postgresql+psycopg")
    asynchronous = create_async_engine(url, isolation_level="AUTOCOMMIT")
    async with AsyncSession(asynchronous) as session:
        with refused:
            await once(a_delivery(), session)
    async with asynchronous.connect() as connection:
        with refused:
            await once(a_delivery(), connection)
    await asynchronous.dispose()
    assert marks(engine) == 0


def test_connections_and_scoped_sessions(engine: Engine) -> None:
    """Whatever stands for a transaction in SQLAlchemy."""
    with engine.connect() as connection:
        assert once(a_delivery(), connection)
        connection.rollback()
        assert once(a_delivery(), connection)
        connection.commit()
        assert not once(a_delivery(), connection)
    sessions = scoped_session(sessionmaker(engine))
    assert once(a_delivery("msg_2"), sessions)
    sessions.commit()
    assert not once(a_delivery("msg_2"), sessions)
    sessions.remove()
    assert marks(engine) == 2


async def test_async_connections_and_scoped_sessions(engine: Engine) -> None:
    """Likewise."""
    url = engine.url.set(drivername="sqlite+aiosqlite" if engine.dialect.name == "sqlite" else "postgresql+psycopg")
    asynchronous = create_async_engine(url)
    connection: AsyncConnection
    async with asynchronous.begin() as connection:
        assert await once(a_delivery(), connection)
    sessions = async_scoped_session(async_sessionmaker(asynchronous), scopefunc=asyncio.current_task)
    assert not await once(a_delivery(), sessions)
    assert await once(a_delivery("msg_2"), sessions)
    await sessions.remove()
    await asynchronous.dispose()
    assert marks(engine) == 1


@only_sqlite
def test_sqlite_after_a_select(engine: Engine) -> None:
    """The driver begins a transaction late, when the mark is inserted; a rollback takes it back all the same."""
    with Session(engine) as session:
        assert session.execute(COUNT).scalar_one() == 0
        assert once(a_delivery(), session)
        driver: Any = session.connection().connection.driver_connection
        assert driver.in_transaction
        session.rollback()
    assert marks(engine) == 0


def begin_by_hand(engine: Engine) -> None:
    """As SQLAlchemy's documentation recommends it for SQLite."""
    event.listen(engine, "connect", lambda connection, _: setattr(connection, "isolation_level", None))
    event.listen(engine, "begin", lambda connection: connection.exec_driver_sql("BEGIN"))


@only_sqlite
def test_sqlite_with_begin_by_hand(engine: Engine) -> None:
    """The driver's autocommit is no autocommit where SQLAlchemy says BEGIN; savepoints work there."""
    engine.dispose()
    begin_by_hand(engine)
    with Session(engine) as session:
        assert once(a_delivery(), session)
        session.rollback()
        assert marks(engine) == 0
        with session.begin_nested():
            assert once(a_delivery(), session)
        session.rollback()
        assert marks(engine) == 0
        with session.begin_nested() as nested:
            assert once(a_delivery(), session)
            nested.rollback()
        session.commit()
        assert marks(engine) == 0
        assert once(a_delivery(), session)
        session.commit()
    assert marks(engine) == 1


@only_sqlite
def test_sqlite_in_a_savepoint_of_the_plain_driver(engine: Engine) -> None:
    """The savepoint would be a transaction of its own, committed before the outer one: refused."""
    with Session(engine) as session, session.begin():
        with pytest.raises(ConfigurationError, match="begin_nested"), session.begin_nested():
            once(a_delivery(), session)
        assert once(a_delivery(), session)
        with session.begin_nested():
            session.execute(text("DELETE FROM airweave_webhook_once WHERE false"))
    assert marks(engine) == 1


@pytest.mark.parametrize("engine", ["postgresql"], indirect=True)
def test_postgres_in_a_savepoint(engine: Engine) -> None:
    """The mark shares the savepoint's fate."""
    with Session(engine) as session, session.begin():
        with session.begin_nested() as nested:
            assert once(a_delivery(), session)
            nested.rollback()
        with session.begin_nested():
            assert once(a_delivery(), session)
    assert marks(engine) == 1


def test_another_database_is_refused(engine: Engine) -> None:
    """Where ON CONFLICT DO NOTHING is not spoken, an error says so, rather than something that nobody has tried."""
    with Session(engine) as session:
        connection = session.connection()
        connection.dialect = mysql.dialect()  # there is no MySQL here to connect to
        with pytest.raises(ConfigurationError, match="PostgreSQL and SQLite, and not on mysql"):
            once(a_delivery(), session)


def test_a_table_of_ones_own(engine: Engine) -> None:
    """Another name, another schema; old marks go by their time."""
    schema = "elsewhere" if engine.dialect.name == "postgresql" else None
    table = once_table(MetaData(), name="marks", schema=schema)
    with engine.begin() as connection:
        if schema:
            connection.execute(text(f"CREATE SCHEMA IF NOT EXISTS {schema}"))
        table.create(connection)
    try:
        with Session(engine) as session, session.begin():
            assert once(a_delivery(), session, table=table)
            assert once(a_delivery(), session)  # another database, as far as marks are concerned
        with Session(engine) as session, session.begin():
            assert not once(a_delivery(), session, table=table)
    finally:
        with engine.begin() as connection:
            table.drop(connection)


def test_alembic_sees_the_table(engine: Engine) -> None:
    """`--autogenerate` makes it, and has nothing to say once it is there."""
    metadata = MetaData()
    once_table(metadata)
    with engine.begin() as connection:
        context = MigrationContext.configure(connection, opts={"compare_server_default": True})
        assert compare_metadata(context, metadata) == []
        metadata.drop_all(connection)
        ((what, table),) = compare_metadata(context, metadata)
        assert (what, table.name) == ("add_table", "airweave_webhook_once")


@pytest.fixture
def connection(url: str) -> Iterator[psycopg.Connection[Any]]:
    with psycopg.connect(url) as connection:
        connection.execute(with_psycopg.once_table())
        connection.commit()
        yield connection


def test_the_table_of_psycopg_is_that_of_sqlalchemy(connection: psycopg.Connection[Any], url: str) -> None:
    """One table serves both."""
    metadata = MetaData()
    once_table(metadata)
    engine = create_engine(sync_url(url))
    with engine.begin() as other:
        options = {"compare_server_default": True, "compare_type": True}
        assert compare_metadata(MigrationContext.configure(other, opts=options), metadata) == []
        assert once(a_delivery(), other)
    engine.dispose()
    assert not with_psycopg.once(a_delivery(), connection)


def test_psycopg_in_autocommit(connection: psycopg.Connection[Any]) -> None:
    """Refused, but inside of a block that is a transaction."""
    connection.autocommit = True
    with refused_by_psycopg:
        with_psycopg.once(a_delivery(), connection)
    with connection.transaction():
        assert with_psycopg.once(a_delivery(), connection)
    with connection.transaction(force_rollback=True):
        assert with_psycopg.once(a_delivery("msg_2"), connection)
    with connection.transaction():
        assert with_psycopg.once(a_delivery("msg_2"), connection)


async def test_psycopg_async_in_autocommit(connection: psycopg.Connection[Any], url: str) -> None:
    """Likewise."""
    async with await psycopg.AsyncConnection.connect(url, autocommit=True) as asynchronous:
        with refused_by_psycopg:
            await with_psycopg.once(a_delivery(), asynchronous)
        async with asynchronous.transaction():
            assert await with_psycopg.once(a_delivery(), asynchronous)


def test_psycopg_with_factories_and_pipelines(connection: psycopg.Connection[Any]) -> None:
    """What the user has the connection make of rows, and its cursors' placeholders, do not matter."""
    connection.row_factory = class_row(dict)
    connection.cursor_factory = psycopg.RawCursor
    assert with_psycopg.once(a_delivery(), connection)
    connection.commit()
    with connection.pipeline():
        assert not with_psycopg.once(a_delivery(), connection)
        assert with_psycopg.once(a_delivery("msg_2"), connection)
    connection.rollback()
    connection.autocommit = True
    with connection.pipeline():
        with refused_by_psycopg:
            with_psycopg.once(a_delivery("msg_2"), connection)
        with connection.transaction():
            assert with_psycopg.once(a_delivery("msg_2"), connection)


def test_psycopg_with_a_table_of_ones_own(connection: psycopg.Connection[Any], schema: str) -> None:
    """In any schema, under any name; making it twice changes nothing."""
    table = Identifier(schema, "the marks")
    for _ in range(2):
        connection.execute(with_psycopg.once_table(table))
    assert with_psycopg.once(a_delivery(), connection, table=table)
    assert not with_psycopg.once(a_delivery(), connection, table=table)


async def test_plain_functions(engine: Engine) -> None:
    """A handler in a thread, with a sync session."""
    answers: list[bool] = []

    def count(delivery: Delivery) -> None:
        with Session(engine) as session, session.begin():
            answers.append(once(delivery, session))

    for _ in range(2):  # each with a store of its own, which has forgotten what the other did
        receiver = Receiver(secrets=SECRET)
        receiver.on("sync.completed", id="count")(count)
        async with receiver:
            assert (await receiver.handle(sign(BODY), BODY)).outcome == "processed"
    assert answers == [True, False]


def test_old_marks_are_removed_by_their_time(engine: Engine) -> None:
    """The query of the documentation takes what is old, and only that."""
    table = once_table(MetaData())
    with Session(engine) as session, session.begin():
        assert once(a_delivery("old"), session)
        assert once(a_delivery("new"), session)
        old = datetime.now(UTC) - timedelta(days=90, minutes=1)
        session.execute(update(table).where(table.c.key == "old").values(marked_at=old))
    with engine.begin() as connection:
        connection.execute(delete(table).where(table.c.marked_at < datetime.now(UTC) - timedelta(days=90)))
        assert connection.execute(select(table.c.key)).scalars().all() == ["new"]


@pytest.mark.parametrize(
    ("module", "without", "words"),
    [
        ("sqlalchemy", "sqlalchemy", "needs SQLAlchemy: pip install 'airweave-webhooks[sqlalchemy]'"),
        ("psycopg", "psycopg", "needs psycopg 3: pip install 'airweave-webhooks[postgres]'"),
        ("sqlalchemy", "greenlet", ""),
    ],
)
def test_what_is_not_installed(module: str, without: str, words: str) -> None:
    """The error names the extra; without greenlet, sync sessions work."""
    program = (
        f"import sys; sys.modules[{without!r}] = None; import airweave_webhooks.integrations.{module} as this;"
        "from sqlalchemy import create_engine; from sqlalchemy.orm import Session;"
        "from airweave_webhooks import Delivery;"
        "delivery = Delivery('m', 1, None, [], b'', None, 'r', 'm', handler='h');"
        "session = Session(create_engine('sqlite://')); this.ONCE.create(session.connection());"
        "assert this.once(delivery, session); session.close(); session.bind.dispose()"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=False)
    assert words in done.stderr
    assert bool(done.stderr) is bool(words)
