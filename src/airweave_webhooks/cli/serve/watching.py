"""Whether the user's Python files have changed: by looking, which works on every file system."""

import os
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Final, TypeAlias

LOOK_EVERY: Final = 0.25
"""Seconds; longer where looking takes long."""
MOST_OF_THE_TIME: Final = 0.05
"""What looking may cost of a processor."""
_SKIPPED: Final = frozenset({"__pycache__", "node_modules", "site-packages"})

Seen: TypeAlias = Mapping[str, tuple[int, int, int]]


class Watch:
    """Sees changes of the Python files below a folder, but those of hidden folders and virtual environments.

    Args:
        folder: is looked through with all that is below it.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._pause = LOOK_EVERY
        self._seen = self._look()

    def changes(self) -> list[Path]:
        """Wait a moment, look, and return the files that were changed, made or removed since the last time.

        Returns:
            Their paths in the folder, when they have come to rest: an editor may still write.
        """
        time.sleep(self._pause)
        before, now = self._seen, self._look()
        while now != self._seen:
            self._seen = now
            time.sleep(LOOK_EVERY / 5)
            now = self._look()
        changed = sorted(name for name in before.keys() | now.keys() if before.get(name) != now.get(name))
        return [Path(name).relative_to(self._folder) for name in changed]

    def _look(self) -> Seen:
        started = time.thread_time()
        seen: dict[str, tuple[int, int, int]] = {}
        for folder, folders, files in os.walk(self._folder):
            if "pyvenv.cfg" in files:
                folders.clear()
                continue
            folders[:] = [name for name in folders if name not in _SKIPPED and not name.startswith(".")]
            for name in files:
                if name.endswith(".py"):
                    path = os.path.join(folder, name)  # noqa: PTH118 - three times as quick
                    try:
                        found = os.stat(path)  # noqa: PTH116 - likewise
                    except OSError:
                        continue  # it has gone meanwhile
                    seen[path] = (found.st_mtime_ns, found.st_size, found.st_ino)
        self._pause = max(LOOK_EVERY, (time.thread_time() - started) / MOST_OF_THE_TIME)
        return seen
