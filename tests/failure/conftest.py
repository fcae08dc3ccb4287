import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from failure.servers import Site

if sys.platform == "win32":
    collect_ignore_glob = ["test_*.py"]  # neither SIGKILL nor fork


@pytest.fixture
def long(request: pytest.FixtureRequest) -> bool:
    """Whether to do it as often as it takes to believe it, and not only as often as every run can afford."""
    return bool(request.config.getoption("--long", default=False))


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site]:
    """A place for servers; whatever still runs is ended after the test."""
    site = Site(tmp_path)
    yield site
    site.close()
