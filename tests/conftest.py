"""One receiver's secret, a signer that is not ours, and a receiver that records what its handlers saw."""

from typing import Any

import pytest
from hypothesis import settings

from airweave_webhooks.testing.clock import Clock
from airweave_webhooks.testing.model import QUICK, THOROUGH
from airweave_webhooks.testing.payloads import payload
from signing import OTHER_SECRET, SECRET, sign

pytest_plugins = ["commands", "django_aliases", "django_shop", "servers.mariadb", "servers.postgres", "servers.redis"]

__all__ = ["OTHER_SECRET", "SECRET", "Clock", "sign"]


def pytest_addoption(parser: pytest.Parser) -> None:
    """`--long` runs the failure tests with their full numbers, and what is marked with `long` or `one_case_each`."""
    parser.addoption("--long", action="store_true", help="the failure tests in their long form")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leave to `--long` what belongs to it; begin with what takes longest, so that nobody waits for it in the end."""
    if not config.getoption("--long"):
        config.hook.pytest_deselected(items=[item for item in items if _is_long(item)])
        items[:] = [item for item in items if not _is_long(item)]
    items.sort(key=_takes_minutes, reverse=True)


def _is_long(item: pytest.Item) -> bool:
    return item.get_closest_marker("long") is not None or (
        item.get_closest_marker("one_case_each") is not None and not _is_first_case(item)
    )


def _is_first_case(item: pytest.Item) -> bool:
    callspec: Any = getattr(item, "callspec", None)
    return callspec is None or not any(callspec.indices.values())


def _takes_minutes(item: pytest.Item) -> bool:
    return item.get_closest_marker("timeout") is not None


@pytest.fixture(scope="session")
def anyio_backend() -> str:
    """asyncio only: the drivers and servers that we stand on are."""
    return "asyncio"


@pytest.fixture
def completed() -> bytes:
    """A `sync.completed` body."""
    return payload("sync.completed")


@pytest.fixture(autouse=True)
def no_secret_in_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """A test says which secret it uses."""
    monkeypatch.delenv("AIRWEAVE_WEBHOOK_SECRET", raising=False)


@pytest.fixture(autouse=True)
def one_case_is_measured(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of a test with many cases: measured, a process takes twice as long to start, and the ways are much the same."""
    if not _is_first_case(request.node):
        monkeypatch.delenv("COVERAGE_PROCESS_CONFIG", raising=False)


@pytest.fixture
def clock() -> Clock:
    """A clock that stands still until it is advanced."""
    return Clock(1_800_000_000.0)


@pytest.fixture
def how(request: pytest.FixtureRequest) -> settings:
    """`--long` for many series of steps, other ones each time."""
    return THOROUGH if request.config.getoption("--long") else QUICK
