"""What the demo prints."""

import re
from collections import Counter
from collections.abc import Iterator, Sequence
from typing import Final

from rich.console import Console
from rich.table import Table
from rich.text import Text

from demonstration.scenes import Row, Section

# As wide as what stands in them; what it means gets the rest.
SENT: Final = 33
ANSWER: Final = 16
MS: Final = 5

_RECORD: Final = re.compile(r"\d\d:\d\d:\d\d ([A-Z]+) (.*)")
_STYLES: Final = {"WARNING": "yellow", "ERROR": "red", "CRITICAL": "red"}


def show_table(console: Console, sections: Sequence[Section]) -> None:
    """Print every request under its section's title."""
    head = _columns()
    head.add_row("what was sent", "answer", "ms", "what it means", style="underline")
    console.print(head)
    for section in sections:
        console.print(Text(f"\n{section.title}", style="bold"))
        table = _columns()
        for row in section.rows:
            style = "dim" if row.answer == "200 ignored" else ""
            table.add_row(Text(row.sent), _answer(row), _ms(row.seconds), Text(row.problem or row.meaning), style=style)
        console.print(table)


def _columns() -> Table:
    table = Table(box=None, expand=True, show_header=False, padding=(0, 1, 0, 0), pad_edge=False)
    table.add_column(width=SENT)
    table.add_column(width=ANSWER)
    table.add_column(width=MS, justify="right")
    table.add_column(ratio=1)
    return table


def show_log(console: Console, log: str) -> None:
    """Print the server's log, with only the last line of each traceback."""
    console.print(Text("What the operator sees in the log", style="bold"))
    table = Table.grid(padding=(0, 2, 0, 0))
    table.add_column(width=max(map(len, _STYLES)))
    table.add_column(overflow="fold")
    for level, message in records(log):
        table.add_row(Text(level, style=_STYLES.get(level, "")), Text(message))
    console.print(table)


def records(log: str) -> Iterator[tuple[str, str]]:
    """Each record's level and message; a traceback is cut down to its last line, the error."""
    found: list[tuple[str, list[str]]] = []
    for line in log.splitlines():
        if match := _RECORD.fullmatch(line):
            found.append((match[1], [match[2]]))
        elif found and line and not line.startswith(" "):
            found[-1][1][1:] = [line]
        elif not found:
            found.append(("", [line]))
    for level, lines in found:
        yield level, "\n".join(lines)


def show_summary(
    console: Console, sections: Sequence[Section], seconds: float, effects: Counter[tuple[str, str]]
) -> bool:
    """Print what it adds up to, and what is not as it should be.

    Returns:
        Whether everything is.
    """
    rows = [row for section in sections for row in section.rows]
    wrong = [f"{row.sent}: {row.answer}, {row.problem}" for row in rows if row.problem]
    wrong += [f"{handler}() ran {times} times for {id_}" for (id_, handler), times in effects.items() if times > 1]
    if wrong:
        console.print(Text(f"NOT as expected, after {len(rows)} requests:", style="bold red"))
        for line in wrong:
            console.print(Text(f"  {line}", style="red"))
        return False
    console.print(
        Text(
            f"All {len(rows)} answers are the expected ones ({seconds:.1f} s)."
            f" {effects.total()} times a handler ran to its end, never twice for one message.",
            style="bold green",
        )
    )
    return True


def _answer(row: Row) -> Text:
    if row.problem:
        return Text(row.answer, style="bold red")
    return Text(row.answer, style="green" if row.answer.startswith("2") else "yellow")


def _ms(seconds: float) -> str:
    ms = seconds * 1000
    return f"{ms:.1f}" if ms < 100 else f"{ms:.0f}"
