"""A body for every event type, byte for byte as Airweave sends it."""

import json
import uuid
from collections.abc import Mapping
from datetime import UTC, datetime
from importlib import resources
from typing import Any, Final

__all__ = ["LEGACY", "fresh_payload", "payload", "payload_names"]

LEGACY = "legacy.sync.completed"
"""The older shape of a sync event, with `job_id` and without `sync_id`."""


def payload(name: str) -> bytes:
    """The sample body of an event type, or `LEGACY`.

    Raises:
        KeyError: there is none.
    """
    file = resources.files(__name__) / f"{name}.json"
    if not file.is_file():
        raise KeyError(name)
    return file.read_bytes().strip()


# What an event of a domain is about: another one is another event.
_IDENTITY: Final[Mapping[str, str]] = {
    "access_control": "sync_job_id",
    "collection": "collection_id",
    "entity": "sync_job_id",
    "legacy": "job_id",
    "organization": "organization_id",
    "search": "request_id",
    "source_connection": "source_connection_id",
    "sync": "sync_job_id",
}


def fresh_payload(name: str | None) -> dict[str, Any]:
    """The sample payload with an identity of its own, and of now.

    Args:
        name: as for `payload`; None for what all events have.

    Raises:
        KeyError: there is none.
    """
    found: dict[str, Any] = json.loads(payload(name or "query.processed"))
    if name is None:
        found = {field: found[field] for field in ("event_type", "timestamp", "organization_id")}
    found["timestamp"] = datetime.now(UTC).isoformat().replace("+00:00", "Z")
    identity = _IDENTITY.get((name or "").partition(".")[0])
    return found if identity is None else found | {identity: str(uuid.uuid4())}


def payload_names() -> list[str]:
    """Every name that `payload` knows, sorted."""
    files = resources.files(__name__).iterdir()
    return sorted(file.name.removesuffix(".json") for file in files if file.name.endswith(".json"))
