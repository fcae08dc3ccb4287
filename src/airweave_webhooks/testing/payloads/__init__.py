"""A body for every event type, byte for byte as Airweave sends it."""

from importlib import resources

__all__ = ["LEGACY", "payload", "payload_names"]

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


def payload_names() -> list[str]:
    """Every name that `payload` knows, sorted."""
    files = resources.files(__name__).iterdir()
    return sorted(file.name.removesuffix(".json") for file in files if file.name.endswith(".json"))
