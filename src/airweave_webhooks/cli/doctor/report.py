"""What was found, for people and for scripts."""

import sys
from collections import Counter
from collections.abc import Mapping
from contextlib import AbstractContextManager, nullcontext
from typing import Any, Final

from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from airweave_webhooks.cli import objects, tables
from airweave_webhooks.cli.doctor.findings import LEVELS, Finding, Level, Verdict
from airweave_webhooks.cli.words import one_line

NAME_WIDTH: Final = 12
"""Of the longest name."""

_STYLES: Final[Mapping[Level, str]] = {"ok": "green", "warning": "yellow", "problem": "red", "skipped": "dim"}
_MARKS: Final[Mapping[Level, str]] = {
    "ok": "\N{CHECK MARK}",
    "warning": "!",
    "problem": "\N{BALLOT X}",
    "skipped": "\N{EN DASH}",
}
_PLAIN_MARKS: Final[Mapping[Level, str]] = {"ok": "+", "warning": "!", "problem": "x", "skipped": "-"}


class Report:
    """Prints findings as they come.

    Args:
        as_json: an object a line, instead of text.
    """

    def __init__(self, *, as_json: bool) -> None:
        self.levels: Counter[Level] = Counter()
        self.stuck = False
        """Whether something that was looked at has not ended."""
        self._as_json = as_json
        self._console = tables.console()
        self._progress = tables.console(stderr=True)
        self._group = ""
        self._skipped: list[Finding] = []
        self._marks = _MARKS if _can_show("".join(_MARKS.values())) else _PLAIN_MARKS

    def showing(self, name: str) -> AbstractContextManager[object]:
        """Say on a terminal which check runs, for the length of a block."""
        if self._as_json or not self._progress.is_terminal:
            return nullcontext()
        spinner = "dots" if self._marks is _MARKS else "line"
        return self._progress.status(f"looking at: {name}", spinner=spinner)

    def add(self, finding: Finding) -> None:
        """Print a finding; what is skipped for one reason is printed in one go."""
        self.levels[finding.verdict.level] += 1
        if self._as_json:
            objects.write(as_json(finding))
            sys.stdout.flush()
            return
        if self._skipped and self._skipped[-1].verdict != finding.verdict:
            self._print_skipped()
        if finding.verdict.level == "skipped":
            self._skipped.append(finding)
        else:
            self._print(finding.group, finding.name, finding.verdict)

    def end(self) -> None:
        """Print what is left, and how many there were of each level."""
        self._print_skipped()
        if self._as_json:
            return
        counts = Text("\n")
        for place, level in enumerate(LEVELS):
            number = self.levels[level]
            counts.append(", " if place else "")
            plural = "s" if number != 1 and level in {"warning", "problem"} else ""
            counts.append(f"{number} {level}{plural}", style=_STYLES[level] if number else "")
        self._console.print(counts)

    def hint(self, text: str) -> None:
        """Say what else could be done."""
        if not self._as_json:
            self._progress.print(Text(one_line(text)))

    def _print_skipped(self) -> None:
        if not self._skipped:
            return
        first, names = self._skipped[0], [finding.name for finding in self._skipped]
        verdict = first.verdict
        if len(names) > 1:
            verdict = verdict._replace(seen=f"{verdict.seen} (so also no {', '.join(names[1:])})")
        self._skipped = []
        self._print(first.group, first.name, verdict)

    def _print(self, group: str, name: str, verdict: Verdict) -> None:
        if group != self._group:
            self._console.print(Text(f"{chr(10) if self._group else ''}{group}", style="bold"))
            self._group = group
        grid = Table.grid(padding=(0, 1, 0, 0))
        grid.add_column(width=1)
        grid.add_column(width=NAME_WIDTH)
        grid.add_column(overflow="fold")
        style = _STYLES[verdict.level]
        seen = Text(one_line(verdict.seen), style="dim" if verdict.level == "skipped" else "")
        grid.add_row(Text(self._marks[verdict.level], style=style), Text(name, style=style), seen)
        if verdict.remedy:
            grid.add_row("", "", Padding(Text(one_line(verdict.remedy), style="italic"), (0, 0, 0, 2)))
        self._console.print(grid)
        if verdict.details:
            self._console.print(Padding(_details(verdict.details), (0, 0, 0, 4)))


def _details(details: Mapping[str, str]) -> Table:
    table = Table.grid(padding=(0, 2, 0, 0))
    table.add_column(style="dim", no_wrap=True)
    table.add_column(overflow="fold")
    for name, text in details.items():
        table.add_row(Text(name), Text(one_line(text)))
    return table


def as_json(finding: Finding) -> dict[str, Any]:
    """Make an object of a finding."""
    group, name, (level, seen, remedy, details) = finding
    return {
        "group": group,
        "name": name,
        "level": level,
        "seen": one_line(seen),
        "remedy": one_line(remedy) or None,
        "details": {key: one_line(text) for key, text in details.items()},
    }


def _can_show(text: str) -> bool:
    try:
        text.encode(sys.stdout.encoding or "ascii")
    except UnicodeEncodeError:
        return False
    return True
