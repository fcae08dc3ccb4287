"""The databases and drivers that `once()` works on, each with a table of effects, behind one face for its tests."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any
from urllib.parse import quote

import psycopg
import psycopg.sql
import sqlalchemy
from sqlalchemy.ext.asyncio import AsyncSession, create_async_engine
from sqlalchemy.orm import Session

from airweave_webhooks import Delivery
from airweave_webhooks.events import parse
from airweave_webhooks.integrations import psycopg as with_psycopg
from airweave_webhooks.integrations import sqlalchemy as with_sqlalchemy
from airweave_webhooks.testing.payloads import payload

EFFECTS = "CREATE TABLE effects (id VARCHAR(300) NOT NULL, what VARCHAR(100) NOT NULL)"
BODY = payload("sync.completed")


def a_delivery(key: str = "msg_1", **changed: Any) -> Delivery:
    """As a handler gets it."""
    fields: dict[str, Any] = {"tenant": None, "receiver": "default", "handler": "count", "generation": 0, **changed}
    return Delivery(id=key, sent_at=1_800_000_000, _raw_headers=[], body=BODY, event=parse(BODY), key=key, **fields)


class Transaction:
    """One transaction; a sync driver's calls run in a thread of its own."""

    def __init__(self, once: Callable[..., Any], subject: Any) -> None:
        self.subject = subject
        self._once = once
        is_async = isinstance(subject, AsyncSession | psycopg.AsyncConnection)
        # Of its own: in a shared pool those that wait for a mark would keep out the one that is to commit it.
        self._thread = None if is_async else ThreadPoolExecutor(1)

    async def once(self, delivery: Delivery, **settings: Any) -> bool:
        """Ask for the mark."""
        first = await self._call(lambda: self._once(delivery, self.subject, **settings))
        assert isinstance(first, bool)
        return first

    async def execute(self, statement: str) -> None:
        """Run a statement of the user's."""
        plain = isinstance(self.subject, psycopg.Connection | psycopg.AsyncConnection)
        await self._call(lambda: self.subject.execute(statement if plain else sqlalchemy.text(statement)))

    async def effect(self, delivery: Delivery, what: str = "effect") -> None:
        """Write what must be there once."""
        await self.execute(f"INSERT INTO effects (id, what) VALUES ('{delivery.key}', '{what}')")

    async def end(self, *, commit: bool) -> None:
        """Commit or roll back."""
        await self._call(self.subject.commit if commit else self.subject.rollback)

    async def close(self) -> None:
        """Give the connection back."""
        await self._call(self.subject.close)
        if self._thread is not None:
            self._thread.shutdown()

    async def _call(self, call: Callable[[], Any]) -> Any:
        if self._thread is None:
            return await call()
        return await asyncio.get_running_loop().run_in_executor(self._thread, call)


class Database:
    """One driver on one database."""

    def __init__(self, driver: str, url: str) -> None:
        self.url = url
        self.is_postgres = url.startswith("postgresql")
        self._open: Callable[[], Awaitable[Transaction]]
        self._dispose: Callable[[], Awaitable[None]] | None = None
        if driver == "psycopg":
            self._open = self._open_psycopg
        elif driver == "psycopg async":
            self._open = self._open_async_psycopg
        elif driver in {"sqlalchemy psycopg async", "sqlalchemy aiosqlite"}:
            scheme = "postgresql+psycopg" if self.is_postgres else "sqlite+aiosqlite"
            self.async_engine = create_async_engine(scheme + url[url.index(":") :])
            self._open = self._open_async_session
            self._dispose = self.async_engine.dispose
        else:
            scheme = "postgresql+psycopg" if self.is_postgres else "sqlite"
            self.engine = sqlalchemy.create_engine(scheme + url[url.index(":") :])
            self._open = self._open_session
            self._dispose = self._dispose_engine

    async def _open_psycopg(self) -> Transaction:
        return Transaction(with_psycopg.once, await asyncio.to_thread(psycopg.connect, self.url))

    async def _open_async_psycopg(self) -> Transaction:
        return Transaction(with_psycopg.once, await psycopg.AsyncConnection.connect(self.url))

    async def _open_session(self) -> Transaction:
        return Transaction(with_sqlalchemy.once, Session(self.engine))

    async def _open_async_session(self) -> Transaction:
        return Transaction(with_sqlalchemy.once, AsyncSession(self.async_engine))

    async def _dispose_engine(self) -> None:
        self.engine.dispose()

    @contextlib.asynccontextmanager
    async def transaction(self, *settings: str) -> AsyncIterator[Transaction]:
        """Commit what the block does, or roll it back if it raises. `settings` are statements to begin with."""
        transaction = await self._open()
        try:
            for setting in settings:
                await transaction.execute(setting)
            yield transaction
            await transaction.end(commit=True)
        except BaseException:
            with contextlib.suppress(psycopg.OperationalError):  # as psycopg's own blocks do, when the server is gone
                await transaction.end(commit=False)
            raise
        finally:
            await transaction.close()

    async def create_tables(self) -> None:
        """Make the tables of the marks and of the effects."""
        engine = sqlalchemy.create_engine(sync_url(self.url))
        metadata = sqlalchemy.MetaData()
        with_sqlalchemy.once_table(metadata)
        with engine.begin() as connection:
            metadata.create_all(connection)
            connection.execute(sqlalchemy.text(EFFECTS))
        engine.dispose()

    def rows(self, statement: str = "SELECT id, what FROM effects ORDER BY id, what") -> list[tuple[Any, ...]]:
        """What is committed."""
        engine = sqlalchemy.create_engine(sync_url(self.url))
        with engine.connect() as connection:
            rows = [tuple(row) for row in connection.execute(sqlalchemy.text(statement))]
        engine.dispose()
        return rows

    async def close(self) -> None:
        """Close what is pooled."""
        if self._dispose is not None:
            await self._dispose()


def sync_url(url: str) -> str:
    """The URL for SQLAlchemy's sync engines."""
    return url.replace("postgresql://", "postgresql+psycopg://", 1)


def in_schema(url: str, schema: str) -> str:
    """Create `schema`, and return the URL of connections that live in it."""
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute(psycopg.sql.SQL("CREATE SCHEMA {}").format(psycopg.sql.Identifier(schema)))
    escaped = schema.replace(" ", "\\ ")
    return url + ("&" if "?" in url else "?") + "options=" + quote(f'-csearch_path="{escaped}"')


def sqlite_url(folder: Path) -> str:
    """The URL of a file."""
    return f"sqlite:///{folder / 'effects.sqlite'}"
