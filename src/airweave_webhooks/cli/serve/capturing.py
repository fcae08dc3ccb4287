"""A receiver whose only handler writes deliveries into files."""

import asyncio
import os
import shlex
import signal
import socket
import time
from pathlib import Path

from rich.console import Group
from rich.text import Text

from airweave_webhooks.cli.exits import INTERRUPTED
from airweave_webhooks.cli.local import announced
from airweave_webhooks.cli.serve.journal import Answered, Entry, Journal
from airweave_webhooks.cli.serve.listening import fresh_secret, url_of
from airweave_webhooks.cli.serve.output import Output
from airweave_webhooks.cli.serve.serving import as_served, serve
from airweave_webhooks.cli.settings import Settings
from airweave_webhooks.cli.tables import grid
from airweave_webhooks.cli.words import deliveries
from airweave_webhooks.delivery import Delivery
from airweave_webhooks.errors import ConfigurationError
from airweave_webhooks.receiver import Receiver
from airweave_webhooks.testing import Message
from airweave_webhooks.testing.recording import write_recording


class Capture:
    """Writes into a folder.

    Args:
        folder: is made if it is missing.
        secrets: to verify with.

    Raises:
        ConfigurationError: nothing can be written there.
        SecretError: a secret cannot be used.
    """

    def __init__(self, folder: Path, secrets: list[str]) -> None:
        self._folder = folder
        self.written: int = 0
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise ConfigurationError(f"--out {folder}: {error.strerror}") from None
        if not os.access(folder, os.W_OK | os.X_OK):
            raise ConfigurationError(f"--out {folder}: you may not write there")
        self.receiver: Receiver = Receiver(name="capture", secrets=secrets)
        self.receiver.on("*", id="capture")(self._write)

    def _write(self, delivery: Delivery) -> None:
        # When it came, and not the second in which it was signed: so the files are in the order of their coming.
        write_recording(Message(delivery.id, delivery.body, time.time()), self._folder)
        self.written += 1


def capture_into(folder: Path, listener: socket.socket, settings: Settings, *, as_json: bool) -> int:
    """Capture until there is a signal.

    Args:
        folder: where to.
        listener: where from.
        settings: what is set; without a secret, one is made for this run.
        as_json: objects instead of lines for people.

    Returns:
        The exit code: 0 after SIGTERM, 130 after Ctrl-C.

    Raises:
        ConfigurationError: nothing can be written there, or a secret cannot be used.
    """
    made = fresh_secret() if settings.secret is None else None
    capture = Capture(folder, [made] if made else settings.secrets)
    receiver = capture.receiver
    output = Output(as_json=as_json)
    source = "made for this run; trigger finds it" if settings.secret is None else f"from {settings.secret.source}"
    url = url_of(listener)

    def opened() -> None:
        output.say("started", _header(folder, url, source), url=url, out=str(folder), secret_from=source)

    def told(by: signal.Signals) -> None:
        output.say("stopping", "finishing what runs; once more ends at once", signal=by.name)

    def entry(entry: Entry) -> None:
        # There is one handler, and it says nothing that the answer does not say.
        shown = entry._replace(runs=()) if isinstance(entry, Answered) and entry.reply.status == 200 else entry
        output.entry(shown)

    mode = as_served(receiver.mode)
    with announced(url, made), receiver.overridden(mode=mode, observer=Journal(entry)), output.alone():
        by = asyncio.run(serve(receiver, listener, opened, told))
    captured = f"{deliveries(capture.written)} in {folder}"
    again = f"; to send them: airweave-webhooks send {shlex.quote(str(folder))}" if capture.written else ""
    output.say("captured", f"{captured}{again}", deliveries=capture.written, out=str(folder))
    return INTERRUPTED if by == signal.SIGINT else 0


def _header(folder: Path, url: str, source: str) -> Group:
    facts = [
        ("capturing", f"every verified delivery into {folder}"),
        ("url", f"{url}, on every path"),
        ("secret", source),
    ]
    return Group(grid(facts), Text())
