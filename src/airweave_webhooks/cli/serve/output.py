"""Where `dev` and `capture` write what happens: for people, or as JSON objects."""

import contextlib
import os
import signal
import sys
import time
from collections.abc import Generator
from typing import Any

from rich.console import RenderableType
from rich.text import Text

from airweave_webhooks.cli import objects, streams, tables
from airweave_webhooks.cli.serve.entries import as_object, lines
from airweave_webhooks.cli.serve.journal import Entry
from airweave_webhooks.cli.words import iso, redacted
from airweave_webhooks.telemetry import logger


class Output:
    """Writes to the stdout that there is when it is made.

    Args:
        as_json: objects, one a line, instead of lines for people.
    """

    def __init__(self, *, as_json: bool) -> None:
        self._as_json = as_json
        self._stdout = sys.stdout
        self._console = tables.console()
        self._console.file = sys.stdout

    @property
    def width(self) -> int:
        """Columns there are."""
        return self._console.width

    def entry(self, entry: Entry) -> None:
        """Write what the journal says."""
        if self._as_json:
            self._write_object(as_object(entry))
        else:
            self._write(*lines(entry, self.width))

    def say(self, kind: str, text: RenderableType, **facts: Any) -> None:
        """Write what happened to the command itself.

        Args:
            kind: for programs.
            text: for people.
            facts: for programs.
        """
        if self._as_json:
            self._write_object({"kind": kind, "time": iso(time.time()), **facts})
        else:
            self._write(Text(redacted(text)) if isinstance(text, str) else text)

    @contextlib.contextmanager
    def alone(self) -> Generator[None]:
        """Inside the block: nobody else writes objects, and the log leaves out what is written here."""
        logger.addFilter(_not_observed)
        try:
            with contextlib.redirect_stdout(sys.stderr) if self._as_json else contextlib.nullcontext():
                yield
        finally:
            logger.removeFilter(_not_observed)

    def _write_object(self, thing: dict[str, Any]) -> None:
        with self._while_somebody_reads():
            objects.write(thing, self._stdout)
            self._stdout.flush()

    def _write(self, *parts: RenderableType) -> None:
        with self._while_somebody_reads():
            for part in parts:
                self._console.print(part, soft_wrap=isinstance(part, Text))
            self._stdout.flush()

    @contextlib.contextmanager
    def _while_somebody_reads(self) -> Generator[None]:
        """`| head` has read enough: that ends the command in peace."""
        try:
            yield
        except BrokenPipeError:
            streams.silence(self._stdout)
            os.kill(os.getpid(), signal.SIGTERM)


def _not_observed(record: object) -> bool:
    return not getattr(record, "observed", False)
