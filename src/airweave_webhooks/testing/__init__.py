"""Tools to test a receiver with: a sender that behaves like Svix. Needs the `testing` extra."""

from importlib.util import find_spec

from airweave_webhooks.errors import ConfigurationError

if find_spec("httpx") is None:
    raise ConfigurationError(
        "airweave_webhooks.testing needs the `httpx` package: pip install 'airweave-webhooks[testing]'"
    )

from airweave_webhooks.testing.attempts import Attempt, Message, Result, Statistics
from airweave_webhooks.testing.sender import Sender

__all__ = ["Attempt", "Message", "Result", "Sender", "Statistics"]
