"""What a record tells of its past, as one text that any database can append to: a JSON array a line."""

import json
from collections.abc import Iterator, Sequence
from typing import Final, NamedTuple

LONGEST_HISTORY: Final = 4000
"""Characters. Of a longer one the end is kept; what was the first line then is no longer whole, and not read."""
LONGEST_TEXT: Final = 1000
"""Characters of one note."""


class Note(NamedTuple):
    """One thing that happened to a delivery."""

    at: float
    """Seconds since the epoch, by the store's clock."""
    attempt: int
    """How many attempts there had been."""
    who: str
    """The host and process that held the lease, or the operator."""
    what: str
    """`failed`, `retry`, `rejected`, `exhausted`, `lease_lost`, `replayed`, …"""
    text: str
    """The error, or the operator's reason."""


def tail(what: str, text: str) -> str:
    """The end of a note's line: what does not depend on the record."""
    return f"{json.dumps(what)},{json.dumps(text[:LONGEST_TEXT])}]\n"


def appended(history: str, at: float, attempt: int, who: str, end: str) -> str:
    """Add a note to a history.

    Args:
        history: as it was.
        at: seconds since the epoch.
        attempt: how many there had been.
        who: see `Note`.
        end: from `tail`.
    """
    return f"{history}[{at:.3f},{attempt},{json.dumps(who, ensure_ascii=False)},{end}"[-LONGEST_HISTORY:]


def notes_of(history: str) -> Sequence[Note]:
    """Read a history."""
    return tuple(_read(history))


def _read(history: str) -> Iterator[Note]:
    for line in history.split("\n"):
        try:
            yield Note(*json.loads(line))
        except (ValueError, TypeError):  # cut off at its beginning
            continue
