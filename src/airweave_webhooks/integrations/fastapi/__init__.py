"""FastAPI: a receiver as a router, verified deliveries as a dependency, and the events in OpenAPI."""

from importlib.util import find_spec

from airweave_webhooks.errors import ConfigurationError

if find_spec("fastapi") is None:
    raise ConfigurationError("receiver_router needs FastAPI: pip install 'airweave-webhooks[fastapi]'")

from airweave_webhooks.integrations.fastapi.documenting import document_webhooks
from airweave_webhooks.integrations.fastapi.receiving import receiver_router
from airweave_webhooks.integrations.fastapi.refusing import DeliveryRefused
from airweave_webhooks.integrations.fastapi.responses import REFUSALS
from airweave_webhooks.integrations.fastapi.verifying import verified

__all__ = ["REFUSALS", "DeliveryRefused", "document_webhooks", "receiver_router", "verified"]
