"""`airweave-webhooks deliveries tail`: a line for each delivery that comes, and for each change."""

import asyncio
import sys
import time
from typing import TYPE_CHECKING, Annotated, Final

import typer
from rich.text import Text

from airweave_webhooks.cli import objects, tables
from airweave_webhooks.cli.exits import endings
from airweave_webhooks.cli.options import (
    AppDir,
    AsJson,
    Collections,
    Sources,
    States,
    Target,
    Tenant,
    Types,
    filter_of,
    receiver_of,
)
from airweave_webhooks.cli.words import iso, one_line, redacted
from airweave_webhooks.errors import StoreUnavailable
from airweave_webhooks.selection import Filter, expand, search_of, several
from airweave_webhooks.stores.base import Record
from airweave_webhooks.stores.inbox import InboxStore, Search

if TYPE_CHECKING:
    from rich.console import Console

    from airweave_webhooks.cli.following import Follower
    from airweave_webhooks.receiver import Receiver

LONGEST_PAUSE: Final = 10.0
"""Seconds between two looks at a store that is away."""


def _seconds(text: str) -> float:
    try:
        number = float(text)
    except ValueError:
        number = 0.0
    if not 0.05 <= number <= 3600:
        raise typer.BadParameter(f"{text!r} is no number of seconds from 0.05 to 3600")
    return number


def tail(
    target: Target = None,
    last: Annotated[int, typer.Option(min=0, max=1000, metavar="N", help="Show so many of the latest first.")] = 10,
    every: Annotated[
        float, typer.Option(parser=_seconds, metavar="SECONDS", help="How often to look; at least 0.05.")
    ] = 0.5,
    state: States = None,
    event_type: Types = None,
    collection: Collections = None,
    source: Sources = None,
    tenant: Tenant = None,
    app_dir: AppDir = None,
    as_json: AsJson = False,
) -> None:
    """Follow deliveries as they come and are settled, until Ctrl-C.

    Each change is a line. What changes twice between two looks is one line.
    """
    with endings():
        receiver = receiver_of(target, app_dir)
        which = filter_of(state, event_type, collection, source, tenant, None, None)
        _ = receiver.deliveries  # says what is wrong with a store that holds none
        asyncio.run(_follow(receiver, which, last, every, _Printer(as_json=as_json)))


class _Printer:
    """Prints changes as lines, at once."""

    def __init__(self, *, as_json: bool) -> None:
        self._as_json = as_json
        self._console: Console = tables.console()

    def show(self, record: Record) -> None:
        if self._as_json:
            objects.write(objects.as_found(record))
        else:
            self._console.print(line(record, self._console.width, time.time(), clock=self._console.is_terminal))
        sys.stdout.flush()

    def note(self, text: str) -> None:
        sys.stderr.write(f"{redacted(text)}\n")
        sys.stderr.flush()


async def _follow(receiver: "Receiver", which: Filter, last: int, every: float, printer: _Printer) -> None:
    from airweave_webhooks.cli.following import Follower

    store = receiver.store
    assert isinstance(store, InboxStore), "receiver.deliveries has looked"  # noqa: S101
    await store.open()
    try:
        follower = Follower(store, await _search(store, receiver.name, which))
        for record in await follower.start(last):
            printer.show(record)
        printer.note(f"following receiver {receiver.name!r} in {store!r}; Ctrl-C ends it")
        pause = every
        while True:
            await asyncio.sleep(pause)
            pause = await _look(follower, pause, every, printer)
    finally:
        await store.close()


async def _look(follower: "Follower", pause: float, every: float, printer: _Printer) -> float:
    """Look once, and say how long to wait for the next time."""
    try:
        changed = await follower.look()
    except StoreUnavailable as error:
        if pause == every:
            printer.note(f"the store cannot be reached, trying again: {error}")
        return min(max(2 * pause, every + 0.1), max(LONGEST_PAUSE, 2 * every))
    if pause != every:
        printer.note("the store can be reached again")
    for record in changed:
        printer.show(record)
    if follower.left_out:
        printer.note("more came at once than can be followed: some are left out")
    return every


async def _search(store: InboxStore, receiver: str, which: Filter) -> Search:
    """Make a search that costs the same each time: what globs mean is found out once."""
    patterns = several(which, "event_types")
    stored = [tally.event_type for tally in await store.tally(receiver)] if patterns else []
    return search_of(receiver, which, expand(patterns, stored))


def line(record: Record, width: int, now: float, *, clock: bool) -> Text:
    """Say one change in one line of at most `width` columns.

    Args:
        record: as it is now.
        width: of the terminal.
        now: seconds since the epoch.
        clock: the local time of day is enough.
    """
    is_new = not record.attempts and not record.generation
    settled = record.settled_at if record.state in {"done", "dead"} else None
    when = settled or (record.received_at if is_new else now)
    said = time.strftime("%H:%M:%S", time.localtime(when)) if clock else iso(when)
    text = Text(no_wrap=True, overflow="ellipsis")
    text.append(f"{said} ", style="dim")
    text.append(f"{record.state:<7} ", style=tables.STYLES[record.state])
    text.append(f"{one_line(record.message_id):<31} ")
    text.append(_fitting(record.facts.event_type, 30 if width >= tables.WIDE else None))
    if width >= tables.WIDE:
        text.append(f" {_fitting(record.facts.collection or '', 16)}")
    attempts = f"try {record.attempts}" if record.attempts > 1 else None
    error = None if record.reason == "replayed" else record.error  # that was before
    for part, style in ((record.reason, ""), (attempts, ""), (error, "red")):
        if part:
            text.append(f" {one_line(part)}", style=style)
    if clock:
        text.truncate(width, overflow="ellipsis")
    return text


def _fitting(text: str, width: int | None) -> str:
    text = one_line(text)
    if width is None:
        return text
    return f"{text[: width - 1]}…" if len(text) > width else f"{text:<{width}}"
