"""What the one word of a receiver's answer means, for people."""

from collections.abc import Mapping
from typing import Final

MEANINGS: Final[Mapping[str, str]] = {
    "accepted": "held in the store",
    "conflict": "this message id came before with another body",
    "duplicate": "it was done before",
    "ignored": "no handler takes it",
    "in_progress": "another attempt is under way",
    "lease_lost": "another process took it over",
    "rejected": "a handler gave it up",
    "retry": "a handler asks for another attempt",
    "still_running": "a handler takes longer than the sender waits; its result counts for the next attempt",
    "unavailable": "the receiver cannot take it now",
    "unknown_commit": "the connection was lost, perhaps during the commit",
}


def style_of(status: int | None) -> str:
    """The colour of an answer."""
    if status is None or status >= 500 or status in {400, 401}:
        return "red"
    return "green" if 200 <= status < 300 else "yellow"
