"""`airweave-webhooks trigger`: send an event as Airweave does, or as somebody does who must not get through."""

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final, TypeAlias

import typer

from airweave_webhooks.cli.destinations import destination
from airweave_webhooks.cli.exits import endings
from airweave_webhooks.cli.options import AsJson, settings
from airweave_webhooks.errors import OperatorError

if TYPE_CHECKING:
    from airweave_webhooks.testing import Message, Sender

MOST: Final = 100_000
"""Messages of one command."""
TRICKS: Final = "What a receiver must stand"

To: TypeAlias = Annotated[
    str | None,
    typer.Option(metavar="URL", help="The receiver's URL; else what is set, or what runs here.", show_default=False),
]
Rate: TypeAlias = Annotated[
    float | None,
    typer.Option(
        min=0.001, max=10_000, metavar="R", help="Messages a second; else one after the other.", show_default=False
    ),
]


def trigger(
    event: Annotated[
        str | None, typer.Argument(metavar="EVENT", help="An event type: sync.completed.", show_default=False)
    ] = None,
    changes: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="KEY=VALUE", help="Set a field, JSON or text. Repeatable.", show_default=False),
    ] = None,
    file: Annotated[
        Path | None,
        typer.Option(exists=True, metavar="FILE", help="Send what is in it, known or not.", show_default=False),
    ] = None,
    repeat: Annotated[int, typer.Option(min=1, max=MOST, metavar="N", help="So many new messages.")] = 1,
    rate: Rate = None,
    duplicate: Annotated[bool, typer.Option("--duplicate", help="Each twice.", rich_help_panel=TRICKS)] = False,
    concurrent: Annotated[
        int, typer.Option(min=1, max=200, metavar="N", help="Each N times at once.", rich_help_panel=TRICKS)
    ] = 1,
    tamper: Annotated[
        bool, typer.Option("--tamper", help="Change the body after signing.", rich_help_panel=TRICKS)
    ] = False,
    stale: Annotated[bool, typer.Option("--stale", help="Sign an hour ago.", rich_help_panel=TRICKS)] = False,
    to: To = None,
    as_json: AsJson = False,
) -> None:
    """Sign an event and send it as Airweave does, one attempt a message, and say what the receiver answers.

    With what a receiver must stand, the right answer is another one: what was changed or is stale must be refused.
    """
    from airweave_webhooks.cli.send import campaign
    from airweave_webhooks.cli.send.expectations import How
    from airweave_webhooks.cli.send.payloads import Catalogued, FromFile, read_changes

    with endings():
        if duplicate and concurrent > 1:
            raise OperatorError("--duplicate sends one after the other, --concurrent at once: take one of them")
        wanted = read_changes(changes or ())
        if file is not None:
            source: Catalogued | FromFile = FromFile(file, event, wanted)
        elif event is not None:
            source = Catalogued(event, wanted)
        else:
            raise OperatorError("which event? As in: airweave-webhooks trigger sync.completed; or --file FILE")

        def messages(sender: "Sender") -> "Iterator[Message]":
            return (sender.message(source.body()) for _ in range(repeat))

        how = How(duplicate, concurrent, tamper, stale)
        campaign.run(destination(settings(), to), messages, repeat, how, rate=rate, as_json=as_json)
