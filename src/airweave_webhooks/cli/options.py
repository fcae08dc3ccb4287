"""Arguments and options that several commands have."""

from datetime import datetime
from pathlib import Path
from typing import Annotated, Final, TypeAlias, cast

import typer

from airweave_webhooks.cli.words import read_time
from airweave_webhooks.selection import Filter
from airweave_webhooks.stores.base import State

WHICH: Final = "Which deliveries"


def _time(text: str) -> datetime:
    try:
        return read_time(text)
    except ValueError as error:
        raise typer.BadParameter(str(error)) from None


Target: TypeAlias = Annotated[
    str,
    typer.Argument(metavar="MODULE:RECEIVER", help="Where the Receiver is: app:receiver.", show_default=False),
]
AppDir: TypeAlias = Annotated[
    Path | None,
    typer.Option(
        exists=True, file_okay=False, help="Where MODULE is, if not in the current directory.", show_default=False
    ),
]
AsJson: TypeAlias = Annotated[bool, typer.Option("--json", help="One JSON object a line; times in UTC.")]
States: TypeAlias = Annotated[
    list[str] | None,
    typer.Option("--state", metavar="STATE", help="pending, leased, done or dead. Repeatable.", rich_help_panel=WHICH),
]
Types: TypeAlias = Annotated[
    list[str] | None,
    typer.Option(
        "--type", metavar="NAME", help="Event type or glob, as in 'sync.*'. Repeatable.", rich_help_panel=WHICH
    ),
]
Collections: TypeAlias = Annotated[
    list[str] | None,
    typer.Option("--collection", metavar="ID", help="Readable id of a collection. Repeatable.", rich_help_panel=WHICH),
]
Sources: TypeAlias = Annotated[
    list[str] | None,
    typer.Option("--source", metavar="TYPE", help="Source type, as in github. Repeatable.", rich_help_panel=WHICH),
]
Tenant: TypeAlias = Annotated[
    str | None, typer.Option(metavar="NAME", help="Whose, where a receiver serves tenants.", rich_help_panel=WHICH)
]
Since: TypeAlias = Annotated[
    datetime | None,
    typer.Option(
        parser=_time,
        metavar="TIME",
        help="Received since 15m, 2h, 3d, or an ISO time (UTC).",
        rich_help_panel=WHICH,
    ),
]
Until: TypeAlias = Annotated[
    datetime | None,
    typer.Option(parser=_time, metavar="TIME", help="Received before.", rich_help_panel=WHICH),
]


def filter_of(
    states: list[str] | None,
    types: list[str] | None,
    collections: list[str] | None,
    sources: list[str] | None,
    tenant: str | None,
    since: datetime | None,
    until: datetime | None,
) -> Filter:
    """Make a filter of what was given of it."""
    which: Filter = {}
    if states:
        which["states"] = cast("list[State]", states)  # who searches checks it
    if types:
        which["event_types"] = types
    if collections:
        which["collection"] = collections
    if sources:
        which["source_type"] = sources
    if tenant is not None:
        which["tenant"] = tenant
    if since is not None:
        which["since"] = since
    if until is not None:
        which["until"] = until
    return which
