"""One run of `dev`, from the import of the user's module to its end: the only one, or one of many with `--reload`."""

import asyncio
import signal
import socket
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from rich.console import Group
from rich.table import Table
from rich.text import Text

from airweave_webhooks.cli.exits import INTERRUPTED
from airweave_webhooks.cli.local import announced, known_servers
from airweave_webhooks.cli.serve import handlers
from airweave_webhooks.cli.serve.journal import Journal
from airweave_webhooks.cli.serve.listening import url_of
from airweave_webhooks.cli.serve.output import Output
from airweave_webhooks.cli.serve.serving import NO_TENANT, as_served, serve
from airweave_webhooks.cli.tables import grid
from airweave_webhooks.cli.words import redacted
from airweave_webhooks.modes import Inbox
from airweave_webhooks.receiver import Receiver


@dataclass(frozen=True, slots=True)
class Round:
    """What `dev` was asked for."""

    target: str
    app_dir: Path | None
    secret: str = field(repr=False)
    as_json: bool
    number: int = 0
    """0 without `--reload`; the first one is 1."""


def run_announced(round_: Round, receiver: Receiver, listener: socket.socket) -> int:
    """Run the only one; other commands find it meanwhile.

    Returns:
        The exit code: 0 after SIGTERM, 130 after Ctrl-C.

    Raises:
        ConfigurationError, StoreUnavailable: the receiver cannot be opened.
    """
    with announced(url_of(listener), round_.secret):
        output = Output(as_json=round_.as_json)
        return INTERRUPTED if run(round_, receiver, listener, output) == signal.SIGINT else 0


def run(
    round_: Round,
    receiver: Receiver,
    listener: socket.socket,
    output: Output,
    *,
    quiet: bool = False,
    ready: Callable[[], object] = lambda: None,
) -> signal.Signals | None:
    """Serve until there is a signal, and return that.

    Args:
        round_: what was asked for.
        receiver: to serve.
        listener: where.
        output: is told what happens.
        quiet: whether not to say what is served.
        ready: is called when it is served.

    Raises:
        ConfigurationError, StoreUnavailable: the receiver cannot be opened.
    """

    def opened() -> None:
        ready()
        if quiet:
            return
        shown = _header(round_, receiver, listener) if round_.number < 2 else "serving again"
        output.say("started", shown, **_facts(round_, receiver, listener))

    def told(by: signal.Signals) -> None:
        if not round_.number:
            output.say("stopping", "finishing what runs; once more ends at once", signal=by.name)

    mode = as_served(receiver.mode)
    with receiver.overridden(secrets=round_.secret, mode=mode, observer=Journal(output.entry)), output.alone():
        return asyncio.run(serve(receiver, listener, opened, told))


def _header(round_: Round, receiver: Receiver, listener: socket.socket) -> Group:
    url = url_of(listener)
    others = any(server.url != url for server in known_servers())
    where = f" --to {url}" if others else ""
    tenants = f"; the last part is the tenant ({NO_TENANT!r} without one)" if receiver.keyring.serves_tenants else ""
    again = f"; starts anew when a Python file below {round_.app_dir or Path.cwd()} changes" if round_.number else ""
    facts = [
        ("serving", f"{round_.target}, called {receiver.name!r}{again}"),
        ("url", f"{url}, on every path{tenants}"),
        ("store", f"{redacted(repr(receiver.store))}, the receiver's own"),
        *_of_inbox(receiver),
        ("secret", "made for this run; trigger finds it"),
    ]
    table = Table.grid(padding=(0, 2, 0, 0))
    table.add_column(overflow="fold")
    table.add_column(overflow="fold")
    for events, takers in handlers.summary(receiver.table.handlers):
        table.add_row(Text(events, style="bold"), Text(takers))
    if not receiver.table.handlers:
        table.add_row(Text("no handlers: every event is acknowledged and ignored", style="yellow"))
    command = f"airweave-webhooks trigger {handlers.example(receiver.table.handlers)}{where}"
    return Group(grid(facts), Text(), table, Text(f"\nin another terminal: {command}\n"))


def _of_inbox(receiver: Receiver) -> list[tuple[str, str]]:
    mode = receiver.mode
    return [("mode", f"inbox; its worker runs here, {mode.concurrency} at once")] if isinstance(mode, Inbox) else []


def _facts(round_: Round, receiver: Receiver, listener: socket.socket) -> dict[str, object]:
    takers = handlers.by_event(receiver.table.handlers)
    return {
        "url": url_of(listener),
        "target": round_.target,
        "receiver": receiver.name,
        "store": redacted(repr(receiver.store)),
        "mode": "inbox" if isinstance(receiver.mode, Inbox) else "inline",
        "handlers": {name: [handler.id for handler in found] for name, found in takers.items()},
    }
