"""The command and its parts."""

import importlib.metadata
import sys
from typing import Annotated, Final, NoReturn

import typer

from airweave_webhooks.cli import config, deliveries, events, health, running, sign, verify, worker
from airweave_webhooks.cli.doctor.command import doctor
from airweave_webhooks.cli.exits import CODES, endings
from airweave_webhooks.cli.options import settings
from airweave_webhooks.cli.send import send, trigger
from airweave_webhooks.cli.serve import capture, dev

# Where --help lists a command.
DEVELOP: Final = "Develop"
OPERATE: Final = "Operate"
LOOK_UP: Final = "Look up"

app: Final = typer.Typer(
    help="Develop, operate and look into a receiver of Airweave's webhooks.",
    epilog=CODES,
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
app.command("dev", rich_help_panel=DEVELOP)(dev.dev)
app.command("trigger", rich_help_panel=DEVELOP)(trigger.trigger)
app.command("capture", rich_help_panel=DEVELOP)(capture.capture)
app.command("send", rich_help_panel=DEVELOP)(send.send)
app.command("sign", rich_help_panel=DEVELOP)(sign.sign)
app.command("verify", rich_help_panel=DEVELOP)(verify.verify)
app.command("doctor", rich_help_panel=DEVELOP)(doctor)
app.command("worker", rich_help_panel=OPERATE)(worker.worker)
app.add_typer(deliveries.app, name="deliveries", rich_help_panel=OPERATE)
app.command("health", rich_help_panel=OPERATE)(health.health)
app.command("events", rich_help_panel=LOOK_UP)(events.events)
app.command("config", rich_help_panel=LOOK_UP)(config.config)


def _version(asked: bool) -> None:
    if asked:
        typer.echo(f"airweave-webhooks {importlib.metadata.version('airweave-webhooks')}")
        raise typer.Exit


@app.callback()
def _options(
    _: Annotated[bool, typer.Option("--version", callback=_version, is_eager=True, help="Show the version.")] = False,
) -> None:
    if "--help" in sys.argv:
        return  # whatever is wrong with the settings
    with endings():
        settings()  # `.env` is in the environment before the user's program is imported


def run() -> NoReturn:
    """Run the command with the program's arguments, and exit."""
    running.run(app, "airweave-webhooks")
