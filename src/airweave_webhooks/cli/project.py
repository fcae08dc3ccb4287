"""The commands that work on one receiver, for a program that has it: nobody types `module:receiver`."""

from collections.abc import Sequence
from typing import Final, NoReturn

import typer
import typer.main
from typer.core import TyperArgument, TyperGroup

from airweave_webhooks.cli import config, deliveries, health, running, sources, worker
from airweave_webhooks.cli.doctor.command import doctor
from airweave_webhooks.cli.exits import CODES

_app: Final = typer.Typer(
    help="Operate and look into this project's receiver of Airweave's webhooks.",
    epilog=CODES,
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
_app.command("worker")(worker.worker)
_app.add_typer(deliveries.app, name="deliveries")
_app.command("doctor")(doctor)
_app.command("health")(health.health)
_app.command("config")(config.config)

_NAMING: Final = ("target", "app_dir")
"""Parameters that say where a receiver is."""


def run(source: sources.Source, words: Sequence[str]) -> NoReturn:
    """Run one command, and exit.

    Args:
        source: has the receiver.
        words: the command's name, its arguments and its options.
    """
    sources.use(source)
    command = typer.main.get_command(_app)
    assert isinstance(command, TyperGroup), "it has commands"  # noqa: S101
    _take_out_naming(command)
    running.run(command, " ".join(source.program), list(words))


def _take_out_naming(group: TyperGroup) -> None:
    for name, command in group.commands.items():
        if isinstance(command, TyperGroup):
            _take_out_naming(command)
        elif name == "doctor":  # which also looks at a URL
            command.params = [parameter for parameter in command.params if parameter.name != "app_dir"]
            for parameter in command.params:
                if isinstance(parameter, TyperArgument):
                    parameter.metavar = "URL"
                    parameter.help = "An endpoint that is served, to be looked at from outside."
        else:
            command.params = [parameter for parameter in command.params if parameter.name not in _NAMING]
