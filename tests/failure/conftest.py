import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from failure.backends import Backend, ServerBackend, SQLiteFile
from failure.inboxes import InboxSite
from failure.servers import Site

if sys.platform == "win32":
    collect_ignore_glob = ["test_*.py"]  # neither SIGKILL nor fork
elif sys.platform != "linux":
    collect_ignore_glob = ["test_inbox_backlog.py", "test_inbox_outage.py"]  # memory and time are read from /proc


@pytest.fixture
def long(request: pytest.FixtureRequest) -> bool:
    """Whether to do it as often as it takes to believe it, and not only as often as every run can afford."""
    return bool(request.config.getoption("--long", default=False))


@pytest.fixture(params=["sqlite", "postgres", "redis"])
def backend(request: pytest.FixtureRequest, tmp_path: Path) -> Backend:
    """Each store that survives a process, empty."""
    match request.param:
        case "postgres":
            return ServerBackend(request.getfixturevalue("postgres_server"))
        case "redis":
            return ServerBackend(request.getfixturevalue("redis_server"))
        case _:
            return SQLiteFile(tmp_path / "deliveries.db")


@pytest.fixture
def site(tmp_path: Path, backend: Backend) -> Iterator[Site]:
    """A place for servers; whatever still runs is ended after the test."""
    site = Site(tmp_path, backend)
    yield site
    site.close()


@pytest.fixture
def inbox_site(tmp_path: Path, backend: Backend) -> Iterator[InboxSite]:
    """A place for servers and workers; whatever still runs is ended after the test."""
    site = InboxSite(tmp_path, backend)
    yield site
    site.close()
