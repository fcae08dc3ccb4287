"""Which test finds what."""

from collections.abc import Callable
from typing import Final, TypeVar

from sabotage.plain import PlainStore

Sabotaged = TypeVar("Sabotaged", bound=type[PlainStore])

SABOTAGED: Final[dict[type[PlainStore], str]] = {}


def found_by(test: str) -> Callable[[Sabotaged], Sabotaged]:
    """Say which test must find it; others may, too."""

    def note(store: Sabotaged) -> Sabotaged:
        SABOTAGED[store] = test
        return store

    return note
