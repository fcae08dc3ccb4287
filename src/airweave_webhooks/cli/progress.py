"""How far a command is: as a bar on a terminal, and for what is said when it is interrupted."""

import contextlib
from collections.abc import Generator

from rich.progress import BarColumn, MofNCompleteColumn, TaskID, TextColumn, TimeRemainingColumn
from rich.progress import Progress as Bar

from airweave_webhooks.cli import tables, words


class Progress:
    """Counts deliveries.

    Args:
        what: is done with them: `replaying`.
    """

    def __init__(self, what: str) -> None:
        self._what = what
        self._done = 0
        self._bar: Bar | None = None
        self._task: TaskID | None = None

    @contextlib.contextmanager
    def shown(self, *, unless: bool) -> Generator[None]:
        """Show a bar while the block runs, on a terminal and `unless` there is a reason not to."""
        console = tables.console(stderr=True)
        if unless or not console.is_terminal:
            yield
            return
        columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
        with Bar(*columns, console=console, transient=True) as self._bar:
            self._task = self._bar.add_task(self._what, total=None)
            yield

    def update(self, done: int, total: int | None = None) -> None:
        """Say how many are done, and of how many."""
        self._done = done
        if self._bar is not None and self._task is not None:
            self._bar.update(self._task, completed=done, total=total)

    def interrupted(self) -> str:
        """What to say after Ctrl-C."""
        return f"interrupted after {self._what} {words.deliveries(self._done)}"
