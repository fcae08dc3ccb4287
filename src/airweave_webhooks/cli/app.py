"""The command and its parts."""

import contextlib
import importlib.metadata
import io
import sys
from typing import Annotated, Final

import typer

from airweave_webhooks.cli import capture, deliveries, dev, send, trigger, worker
from airweave_webhooks.cli.exits import endings
from airweave_webhooks.cli.options import settings

app: Final = typer.Typer(
    help="Develop an airweave-webhooks receiver, run its worker, and look after what it has received.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
app.command("dev")(dev.dev)
app.command("trigger")(trigger.trigger)
app.command("capture")(capture.capture)
app.command("send")(send.send)
app.command("worker")(worker.worker)
app.add_typer(deliveries.app, name="deliveries")


def _version(asked: bool) -> None:
    if asked:
        typer.echo(f"airweave-webhooks {importlib.metadata.version('airweave-webhooks')}")
        raise typer.Exit


@app.callback()
def _options(
    _: Annotated[bool, typer.Option("--version", callback=_version, is_eager=True, help="Show the version.")] = False,
) -> None:
    with endings():
        settings()  # `.env` is in the environment before the user's program is imported


def run() -> None:
    """Run the command with the program's arguments, and exit."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            with contextlib.suppress(ValueError):
                stream.reconfigure(errors="replace")  # what a terminal cannot show is no reason to fail
    app(prog_name="airweave-webhooks")
