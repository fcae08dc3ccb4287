"""The log of a worker: lines for people, or a JSON object a line."""

import json
import logging
import sys

from rich.console import Console
from rich.logging import RichHandler

from airweave_webhooks.cli.words import iso, redacted


class _Redacting(logging.Formatter):
    """Errors come from anywhere, and tell what they were given."""

    def formatTime(self, record: logging.LogRecord, datefmt: str | None = None) -> str:  # noqa: ARG002, N802 - the base class's
        return iso(record.created) or ""

    def format(self, record: logging.LogRecord) -> str:
        return redacted(super().format(record))


class _AsJson(_Redacting):
    def format(self, record: logging.LogRecord) -> str:
        line = {
            "time": iso(record.created),
            "level": record.levelname,
            "logger": record.name,
            "message": redacted(record.getMessage()),
        }
        if record.exc_info:
            line["exception"] = redacted(self.formatException(record.exc_info))
        return json.dumps(line)


def configure(*, as_json: bool) -> None:
    """Send what is logged to stderr. Of an application that sets up its own logging, that counts."""
    console = Console(stderr=True)
    handler: logging.Handler
    if as_json:
        handler = logging.StreamHandler(sys.stderr)
        handler.setFormatter(_AsJson())
    elif console.is_terminal:
        handler = RichHandler(console=console, show_path=False, log_time_format="%X", highlighter=None)
        handler.setFormatter(_Redacting("%(message)s"))
    else:
        handler = logging.StreamHandler(sys.stderr)
        handler.setFormatter(_Redacting("%(asctime)s %(levelname)s %(message)s"))
    logging.basicConfig(level=logging.INFO, handlers=[handler])
