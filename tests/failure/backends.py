"""The stores that the failure tests run on: a real file, and real servers."""

import contextlib
import json
import shutil
import sqlite3
import tempfile
import time
from collections.abc import AsyncGenerator
from pathlib import Path
from typing import Any, Final, Protocol

from airweave_webhooks.stores import Store, store_from_url

INBOXES: Final = ["sqlite", "postgres"]
"""Those of them that hold an inbox."""
DJANGO: Final = "django:"
"""What the URL of a Django project's database begins with; its settings follow."""


class DatabaseServer(Protocol):
    """A server of the tests' own."""

    port: int

    @property
    def url(self) -> str:
        """Where it is."""
        ...

    def start(self) -> None:
        """Start it, on the same port and data each time."""
        ...

    def stop(self) -> None:
        """Stop it in order."""
        ...

    def kill(self) -> None:
        """Kill it at once."""
        ...

    def connections(self) -> int:
        """How many connections it has."""
        ...


def make_store(url: str, namespace: str) -> Store:
    """A store at `url`, apart from those of other tests on the same server."""
    if url.startswith("postgres"):
        from airweave_webhooks import PostgresStore

        return PostgresStore(url, schema=namespace)
    if url.startswith("redis"):
        from airweave_webhooks import RedisStore

        return RedisStore(url, prefix=namespace)
    if url.startswith(DJANGO):
        from airweave_webhooks.integrations.django import DjangoStore
        from django_databases import make_known

        make_known(namespace, json.loads(url.removeprefix(DJANGO)))
        return DjangoStore(namespace)
    return store_from_url(url)


class Backend:
    """One test's records.

    Args:
        url: where.
        namespace: what keeps tests apart that share a server.
    """

    def __init__(self, url: str, namespace: str) -> None:
        self.url = url
        self.namespace = namespace

    @property
    def environment(self) -> dict[str, str]:
        """What the application is told."""
        return {"STORE": self.url, "NAMESPACE": self.namespace}

    def store(self) -> Store:
        """A store on these records, not open."""
        return make_store(self.url, self.namespace)

    @contextlib.asynccontextmanager
    async def opened(self) -> AsyncGenerator[Store]:
        """Look at the records."""
        store = self.store()
        await store.open()
        try:
            yield store
        finally:
            await store.close()

    @contextlib.asynccontextmanager
    async def snapshot(self) -> AsyncGenerator[Store]:
        """Look at the records without helping whoever comes next."""
        async with self.opened() as store:
            yield store

    def blocks_others(self) -> bool:
        """Whether the process that was just stopped holds a lock that stops all others, too."""
        return False

    def check(self) -> None:
        """Check that nothing is corrupt."""


class SQLiteFile(Backend):
    """A file."""

    def __init__(self, path: Path) -> None:
        super().__init__(f"sqlite:///{path}", "")
        self.path = path

    @contextlib.asynccontextmanager
    async def snapshot(self) -> AsyncGenerator[Store]:
        """Read a copy, so that its recovery is left to the next server."""
        with tempfile.TemporaryDirectory() as directory:
            for file in self.path.parent.glob(f"{self.path.name}*"):
                shutil.copy(file, directory)
            async with SQLiteFile(Path(directory) / self.path.name).opened() as store:
                yield store

    def blocks_others(self) -> bool:
        connection = sqlite3.connect(self.path, timeout=0, isolation_level=None)
        try:
            connection.execute("BEGIN IMMEDIATE")
            connection.execute("ROLLBACK")
        except sqlite3.OperationalError:
            return True
        finally:
            connection.close()
        return False

    def check(self) -> None:
        connection = sqlite3.connect(self.path, timeout=10)
        try:
            assert connection.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
        finally:
            connection.close()


class DjangoDatabase(Backend):
    """A database of a Django project, with tables.

    Args:
        settings: as in `DATABASES`.
    """

    def __init__(self, settings: dict[str, Any]) -> None:
        super().__init__(DJANGO + json.dumps(settings), fresh_namespace())


class ServerBackend(Backend):
    """A namespace of its own on a real server.

    Args:
        server: started; a test may stop it, kill it and start it again.
    """

    def __init__(self, server: DatabaseServer) -> None:
        super().__init__(server.url, fresh_namespace())
        self.server = server

    def connections(self) -> int:
        """How many connections the server has."""
        return self.server.connections()

    def url_through(self, port: int) -> str:
        """The server's URL by way of a proxy."""
        return self.url.replace(f":{self.server.port}", f":{port}")


def fresh_namespace() -> str:
    """A name that no other test has."""
    return f"failure_{time.time_ns()}"
