"""Which test finds what."""

from collections.abc import Callable
from typing import Final, TypeVar

from airweave_webhooks.stores import MemoryStore

Sabotaged = TypeVar("Sabotaged", bound=type[MemoryStore])

SABOTAGED: Final[dict[type[MemoryStore], str]] = {}


def found_by(test: str) -> Callable[[Sabotaged], Sabotaged]:
    """Say which test must find it; others may, too."""

    def note(store: Sabotaged) -> Sabotaged:
        SABOTAGED[store] = test
        return store

    return note
