"""The command and its parts."""

import contextlib
import importlib.metadata
import io
import sys
from typing import Annotated, Final

import typer

from airweave_webhooks.cli import deliveries, worker
from airweave_webhooks.cli.doctor.command import doctor
from airweave_webhooks.cli.exits import endings
from airweave_webhooks.cli.options import settings

app: Final = typer.Typer(
    help="Look after what an airweave-webhooks receiver has received.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
app.command("worker")(worker.worker)
app.command("doctor")(doctor)
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
