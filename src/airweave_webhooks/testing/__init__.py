"""Tools to test a receiver with: events, a client, a sender that behaves like Svix. Needs the `testing` extra.

pytest gets the client by itself, as the fixture `airweave_client`.
"""

from importlib.util import find_spec

from airweave_webhooks.errors import ConfigurationError

if find_spec("httpx") is None:
    raise ConfigurationError(
        "airweave_webhooks.testing needs the `httpx` package: pip install 'airweave-webhooks[testing]'"
    )

from airweave_webhooks.testing import events
from airweave_webhooks.testing.attempts import Attempt, Message, Result, Statistics
from airweave_webhooks.testing.client import AsyncClient, Client
from airweave_webhooks.testing.clock import Clock
from airweave_webhooks.testing.journal import Run, Sent
from airweave_webhooks.testing.plain import PlainInbox
from airweave_webhooks.testing.recording import read_recordings, write_recording
from airweave_webhooks.testing.sender import Sender

__all__ = [
    "AsyncClient",
    "Attempt",
    "Client",
    "Clock",
    "Message",
    "PlainInbox",
    "Result",
    "Run",
    "Sender",
    "Sent",
    "Statistics",
    "events",
    "read_recordings",
    "write_recording",
]
