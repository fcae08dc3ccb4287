"""`airweave-webhooks send`: send recorded deliveries again."""

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from airweave_webhooks.cli.destinations import destination
from airweave_webhooks.cli.exits import endings
from airweave_webhooks.cli.options import AsJson, settings
from airweave_webhooks.cli.send.trigger import Rate, To
from airweave_webhooks.errors import OperatorError

if TYPE_CHECKING:
    from airweave_webhooks.testing import Message, Sender


def send(
    paths: Annotated[
        list[Path],
        typer.Argument(metavar="DIR_OR_FILE", exists=True, help="Recorded deliveries, or bare payloads."),
    ],
    new_ids: Annotated[
        bool, typer.Option("--new-ids", help="As new messages: what was done before is done again.")
    ] = False,
    rate: Rate = None,
    to: To = None,
    as_json: AsJson = False,
) -> None:
    """Send recorded deliveries in their order, signed anew, and say what the receiver answers."""
    from airweave_webhooks.cli.send import campaign
    from airweave_webhooks.cli.send.expectations import How
    from airweave_webhooks.testing.recording import read_recordings

    with endings():
        recorded = [message for path in paths for message in read_recordings(path)]
        for id_ in [] if new_ids else [message.id for message in recorded]:
            if not id_.isascii() or not id_.isprintable():
                raise OperatorError(f"the id {id_!r} is not ASCII, and no receiver would take it: see --new-ids")

        def messages(sender: "Sender") -> "Iterator[Message]":
            return (sender.message(message.body, id=None if new_ids else message.id) for message in recorded)

        tally = campaign.run(destination(settings(), to), messages, len(recorded), How(), rate=rate, as_json=as_json)
    if duplicates := tally.answers[200, "duplicate"]:
        were = f"{duplicates:,} were duplicates" if duplicates > 1 else "it was a duplicate"
        typer.echo(f"{were}: the receiver has done it before; --new-ids sends as new messages", err=True)
