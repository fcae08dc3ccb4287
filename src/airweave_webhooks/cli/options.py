"""Arguments and options that several commands have."""

from collections.abc import Sequence
from datetime import datetime
from pathlib import Path
from typing import Annotated, Final, TypeAlias, cast

import typer

from airweave_webhooks.cli import sources
from airweave_webhooks.cli.settings import Settings
from airweave_webhooks.cli.words import read_time
from airweave_webhooks.events import EVENT_TYPES
from airweave_webhooks.receiver import Receiver
from airweave_webhooks.selection import Filter
from airweave_webhooks.stores.base import State

WHICH: Final = "Which deliveries"


def _time(text: str) -> datetime:
    try:
        return read_time(text)
    except ValueError as error:
        raise typer.BadParameter(str(error)) from None


def moment(text: str) -> int:
    """Read a time as whole seconds since the epoch, which it can be given in, too."""
    return int(text) if text.isascii() and text.isdigit() and len(text) <= 12 else int(_time(text).timestamp())


Target: TypeAlias = Annotated[
    str | None,
    typer.Argument(
        metavar="MODULE:RECEIVER", help="Where the Receiver is: app:receiver. Can be set.", show_default=False
    ),
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


def settings() -> Settings:
    """What holds unless a flag says otherwise.

    Raises:
        ConfigurationError: a file cannot be read, or holds what cannot be set there.
    """
    return sources.current().settings()


def receiver_of(target: str | None, app_dir: Path | None) -> Receiver:
    """Find the receiver that an argument names, or a setting; or the one that there is.

    Raises:
        OperatorError: nothing names it, or not so.
        ConfigurationError: there is no receiver; says what there is.
    """
    return sources.current().receiver(target, app_dir)


def target_and_names(target: str | None, names: Sequence[str], *, one: bool = False) -> tuple[str | None, list[str]]:
    """Tell the receiver from the names of deliveries, where a command takes both and a receiver can be set.

    The first word is the receiver if it looks like `module:receiver`, dotted identifiers around one colon; but not if
    it begins with an event's name, as a natural key does: `sync.completed:7c1f…`.

    Args:
        target: the first word.
        names: the others.
        one: the command takes exactly one name; so of two words the first can only be the receiver.
    """
    first = target or ""
    name, colon, path = first.partition(":")
    looks_like_one = (
        bool(colon)
        and name not in EVENT_TYPES
        and all(word.isidentifier() for word in (*name.split("."), *path.split(".")))
    )
    is_set = settings().get("receiver") is not None
    if not first or looks_like_one or (one and len(names) == 1) or not (one or is_set):
        return target, list(names)
    return None, [first, *names]


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
