"""What `trigger` and `send` say about the answers: lines for few, a table for many, or JSON objects."""

import sys
from typing import Any, Final

import typer
from rich.table import Table
from rich.text import Text

from airweave_webhooks.cli import objects, tables
from airweave_webhooks.cli.exits import BAD_SIGNATURE, FAILED, INTERRUPTED, UNREACHABLE, fail
from airweave_webhooks.cli.send.expectations import How, Target
from airweave_webhooks.cli.send.outcomes import MEANINGS, style_of
from airweave_webhooks.cli.send.sending import Judged, Tally
from airweave_webhooks.cli.words import iso, milliseconds, one_line, redacted
from airweave_webhooks.testing import Statistics

FEW: Final = 4
"""Attempts that get a line each."""
SHOWN_PROBLEMS: Final = 5


class Report:
    """Says what comes back.

    Args:
        tally: what has come back.
        how: each message is sent.
        target: where.
        as_json: objects, one an attempt and one for all, instead of text.

    Attributes:
        in_lines: whether each attempt gets a line.
    """

    def __init__(self, tally: Tally, how: How, target: Target, *, as_json: bool) -> None:
        self._tally = tally
        self._how = how
        self._target = target
        self._as_json = as_json
        self.in_lines: bool = tally.total * how.attempts <= FEW

    def attempt(self, judged: Judged) -> None:
        """Say what one attempt came to."""
        if self._as_json:
            objects.write(_as_attempt(judged))
            sys.stdout.flush()
        elif self.in_lines:
            tables.console().print(_line(judged), soft_wrap=True)

    def whole(self, statistics: Statistics) -> None:
        """Say what all came to."""
        latency = statistics.as_dict()["latency"]
        if self._as_json:
            objects.write(self._as_summary(latency))
        elif not self.in_lines and self._tally.answers:
            console = tables.console()
            console.print(self._first_line(), soft_wrap=True)
            console.print(_answers(self._tally))
            if latency["max"] is not None:
                console.print(Text(), _latency(latency))

    def end(self, interrupted: str | None = None) -> None:
        """Say what is wrong, if anything is, and end with the exit code that it means.

        Args:
            interrupted: what to say instead of a verdict, if it was ended before its time.
        """
        for problem, number in self._tally.problems.most_common(SHOWN_PROBLEMS):
            times = f"{number:,} times: " if number > 1 else ""
            sys.stderr.write(f"airweave-webhooks: {times}{redacted(problem)}\n")
        if interrupted is not None:
            fail(interrupted, INTERRUPTED)
        if not self._tally.problems:
            if self._how.must and not self._as_json:
                typer.echo(f"as it must be: {self._how.must} ({self._how.said})")
            return
        if self._tally.messages < self._tally.total:
            left = self._tally.total - self._tally.messages
            sys.stderr.write(f"airweave-webhooks: {left:,} more were not sent\n")
        if not self._tally.reached:
            raise typer.Exit(UNREACHABLE)
        only_refused = self._tally.wrong.keys() == {401}
        raise typer.Exit(BAD_SIGNATURE if only_refused else FAILED)

    def _first_line(self) -> Text:
        tally = self._tally
        number = f"{tally.messages:,} {'message' if tally.messages == 1 else 'messages'}"
        rate = f", {tally.messages / tally.seconds:,.0f} a second" if tally.seconds and tally.messages > 1 else ""
        how = f", {self._how.said}" if self._how.said else ""
        line = f"{number} to {redacted(self._target.url)} in {milliseconds(tally.seconds)}{rate}{how}"
        return Text(f"{line}\nsigned with the secret of {redacted(self._target.source)}\n")

    def _as_summary(self, latency: dict[str, float | None]) -> dict[str, Any]:
        tally = self._tally
        return {
            "kind": "summary",
            "url": redacted(self._target.url),
            "messages": tally.messages,
            "of": tally.total,
            "attempts": sum(tally.answers.values()),
            "as_expected": sum(tally.answers.values()) - sum(tally.problems.values()),
            "answers": [
                {"status": status, "outcome": word or None, "attempts": number}
                for (status, word), number in tally.answers.most_common()
            ],
            "problems": {redacted(problem): number for problem, number in tally.problems.items()},
            "seconds": round(tally.seconds, 6),
            "latency_seconds": latency,
        }


def _line(judged: Judged) -> Text:
    attempt, event_type, problem = judged
    status = "no answer" if attempt.status is None else f"{attempt.status} {one_line(attempt.outcome)}".rstrip()
    meaning = MEANINGS.get(attempt.outcome or "") if problem is None else None
    parts = [
        (f"{status}", "green" if problem is None else style_of(attempt.status)),
        (one_line(event_type), "bold"),
        (milliseconds(attempt.seconds), ""),
        (attempt.message_id, "dim"),
        *([(meaning, "dim")] if meaning else []),
    ]
    return Text("  ").join(Text(text, style=style) for text, style in parts)


def _answers(tally: Tally) -> Table:
    table = Table(box=None, padding=(0, 3, 0, 0), pad_edge=False, header_style="dim")
    table.add_column("ANSWER")
    table.add_column("TIMES", justify="right")
    table.add_column("")
    for (status, word), number in sorted(tally.answers.items(), key=lambda one: (one[0][0] or 999, one[0][1])):
        name = f"no answer: {word}" if status is None else f"{status} {one_line(word)}".rstrip()
        table.add_row(Text(name, style=style_of(status)), f"{number:,}", Text(MEANINGS.get(word, ""), style="dim"))
    return table


def _latency(latency: dict[str, float | None]) -> Table:
    table = Table(box=None, padding=(0, 3, 0, 0), pad_edge=False, header_style="dim")
    table.add_column("LATENCY", style="dim")
    for name in latency:
        table.add_column(name, justify="right")
    table.add_row("", *(milliseconds(value or 0.0) for value in latency.values()))
    return table


def _as_attempt(judged: Judged) -> dict[str, Any]:
    attempt, event_type, problem = judged
    return {
        "kind": "attempt",
        "message_id": attempt.message_id,
        "event_type": event_type,
        "sent_at": iso(attempt.sent_at),
        "status": attempt.status,
        "outcome": attempt.outcome,
        "error": attempt.error,
        "retry_after": attempt.retry_after,
        "milliseconds": round(attempt.seconds * 1000, 3),
        "problem": None if problem is None else redacted(problem),
    }
