"""One receiver's secret, a signer that is not ours, and a receiver that records what its handlers saw."""

import pytest
from hypothesis import settings

from airweave_webhooks.testing.clock import Clock
from airweave_webhooks.testing.model import QUICK, THOROUGH
from airweave_webhooks.testing.payloads import payload
from signing import OTHER_SECRET, SECRET, sign

pytest_plugins = ["commands", "django_aliases", "servers.mariadb", "servers.postgres", "servers.redis"]

__all__ = ["OTHER_SECRET", "SECRET", "Clock", "sign"]


def pytest_addoption(parser: pytest.Parser) -> None:
    """`--long` runs the failure tests with their full numbers."""
    parser.addoption("--long", action="store_true", help="the failure tests in their long form")


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


@pytest.fixture
def clock() -> Clock:
    """A clock that stands still until it is advanced."""
    return Clock(1_800_000_000.0)


@pytest.fixture
def how(request: pytest.FixtureRequest) -> settings:
    """`--long` for many series of steps, other ones each time."""
    return THOROUGH if request.config.getoption("--long") else QUICK
