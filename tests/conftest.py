"""One receiver's secret, a signer that is not ours, and a receiver that records what its handlers saw."""

import time
from datetime import UTC, datetime

import pytest
from hypothesis import settings
from standardwebhooks import Webhook

from airweave_webhooks.testing.clock import Clock
from airweave_webhooks.testing.model import QUICK, THOROUGH
from airweave_webhooks.testing.payloads import payload

pytest_plugins = ["servers.postgres", "servers.redis"]

SECRET = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
OTHER_SECRET = "whsec_" + "b3RoZXJvdGhlcm90aGVyb3RoZXJvdGhlcm90aGVy"


def pytest_addoption(parser: pytest.Parser) -> None:
    """`--long` runs the failure tests with their full numbers."""
    parser.addoption("--long", action="store_true", help="the failure tests in their long form")


def sign(
    body: bytes,
    *,
    message_id: str = "msg_1",
    secret: str = SECRET,
    at: float | None = None,
    family: str = "svix",
) -> dict[str, str]:
    """Signature headers, made by the `standardwebhooks` library."""
    timestamp = int(time.time() if at is None else at)
    signature = Webhook(secret).sign(message_id, datetime.fromtimestamp(timestamp, UTC), body.decode())
    return {
        f"{family}-id": message_id,
        f"{family}-timestamp": str(timestamp),
        f"{family}-signature": signature,
        "content-type": "application/json",
    }


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
