"""The pytest plugin: a receiver, signed deliveries for it, and the time and the store that it sees.

It imports nothing of `airweave_webhooks` until a test asks for one of its fixtures: in other runs it costs nothing.
"""

from __future__ import annotations

import inspect
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Callable, Generator

    from airweave_webhooks import Receiver
    from airweave_webhooks.testing import AsyncClient, Client, Clock, Message, PlainInbox

OPTION = "airweave_receiver"


def pytest_addoption(parser: pytest.Parser) -> None:
    """Declare the ini option."""
    parser.addini(OPTION, "module:receiver, the airweave-webhooks Receiver that is tested, as in app:receiver")


@pytest.fixture
def airweave_clock() -> Clock:
    """What time it is for the receiver, its store and its sender; it stands still until `advance()`."""
    from airweave_webhooks.testing import Clock

    return Clock()


@pytest.fixture
def airweave_store(airweave_clock: Clock) -> PlainInbox:
    """The store of the receiver in the test: in memory, and empty at the start."""
    from airweave_webhooks.testing import PlainInbox

    return PlainInbox(clock=airweave_clock)


@pytest.fixture
def airweave_receiver(
    pytestconfig: pytest.Config, airweave_clock: Clock, airweave_store: PlainInbox
) -> Generator[Receiver]:
    """The receiver that the ini option `airweave_receiver` names, with the test's store, clock and secret.

    Override this fixture to test another one.
    """
    from airweave_webhooks.cli.loading import load
    from airweave_webhooks.errors import WebhookError
    from airweave_webhooks.testing.bench import on_the_bench

    target = pytestconfig.getini(OPTION)
    if not target:
        pytest.fail(
            f'which receiver is tested? Set {OPTION} = "app:receiver" in [tool.pytest.ini_options] of pyproject.toml'
            f" (in pytest.ini: {OPTION} = app:receiver), or override the fixture airweave_receiver in conftest.py",
            pytrace=False,
        )
    try:
        receiver = load(target, pytestconfig.rootpath)
    except WebhookError as error:
        pytest.fail(f"{OPTION} = {target}: {error}", pytrace=False)
    with on_the_bench(receiver, airweave_store, airweave_clock):
        yield receiver


@pytest.fixture
def airweave_client(
    request: pytest.FixtureRequest, airweave_receiver: Receiver, airweave_clock: Clock, airweave_store: PlainInbox
) -> Generator[Client | AsyncClient]:
    """Signs deliveries and posts them to the receiver: a `Client`; in a test that is a coroutine, an `AsyncClient`."""
    from airweave_webhooks.testing import AsyncClient, Client

    kind = AsyncClient if inspect.iscoroutinefunction(request.function) else Client
    with kind(airweave_receiver, clock=airweave_clock, store=airweave_store) as client:
        yield client


@pytest.fixture
def airweave_recorded(request: pytest.FixtureRequest) -> Callable[[str], list[Message]]:
    """Read deliveries from a file or a folder, beside the test, to send them: `airweave_recorded("deliveries")`."""
    from airweave_webhooks.testing import read_recordings

    folder = Path(str(request.path)).parent
    return lambda name: read_recordings(folder / name)
