"""What really happened: an append-only file outside of the store, which the store's own view is judged by."""

import os
import time
from pathlib import Path
from typing import Literal, NamedTuple, TypeAlias

What: TypeAlias = Literal["taken", "start", "effect", "done"]


class Entry(NamedTuple):
    """One line that a handler wrote."""

    at: float
    """By `time.monotonic`, which on one machine all processes read from the same clock."""
    what: What
    id: str
    pid: int


class Ledger:
    """One line per step of a handler. A line is one `write` on a descriptor opened to append: it is whole or absent."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._descriptor = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o600)

    def close(self) -> None:
        os.close(self._descriptor)

    def write(self, what: What, message_id: str, *, at: float | None = None) -> None:
        line = f"{time.monotonic() if at is None else at:.9f} {what} {message_id} {os.getpid()}\n".encode()
        assert os.write(self._descriptor, line) == len(line)

    def entries(self, what: What | None = None, message_id: str | None = None) -> list[Entry]:
        """Read what was written, in the order of the file."""
        entries = []
        for line in self._path.read_text().splitlines():
            at, kind, name, pid = line.split(" ")
            assert kind in {"taken", "start", "effect", "done"}
            if what in {None, kind} and message_id in {None, name}:
                entries.append(Entry(float(at), kind, name, int(pid)))  # type: ignore[arg-type]
        return entries

    def by_id(self, what: What) -> dict[str, list[Entry]]:
        """Group one kind of line by message."""
        grouped: dict[str, list[Entry]] = {}
        for entry in self.entries(what):
            grouped.setdefault(entry.id, []).append(entry)
        return grouped
