"""`airweave-webhooks deliveries …`: look at what was received, and replay it."""

import asyncio
import shlex
import sys
from pathlib import Path
from typing import Annotated, Final

import typer

from airweave_webhooks.cli import objects, sources, tables, words
from airweave_webhooks.cli.exits import CODES, FAILED, INTERRUPTED, USAGE, endings, fail
from airweave_webhooks.cli.options import (
    WHICH,
    AppDir,
    AsJson,
    Collections,
    Since,
    Sources,
    States,
    Target,
    Tenant,
    Types,
    Until,
    filter_of,
    receiver_of,
    target_and_names,
)
from airweave_webhooks.cli.progress import Progress
from airweave_webhooks.cli.tail import tail
from airweave_webhooks.errors import OperatorError
from airweave_webhooks.housekeeping import SHORTEST_RETENTION_DAYS
from airweave_webhooks.operations import LONGEST_PAGE, Replay, Why

LOOK: Final = "Look"
CHANGE: Final = "Change"

app: Final = typer.Typer(
    help="Look at what a receiver has in its store, and replay it.", epilog=CODES, no_args_is_help=True
)

app.command("tail", rich_help_panel=LOOK)(tail)

_WHY: Final[dict[Why, str]] = {
    "unknown": "no such delivery",
    "ambiguous": "several deliveries are called so: name a --tenant, or use the key",
    "pending": "pending already",
    "leased": "being worked on",
    "queued": "queued already",
    "no_body": "the body is not held, only the sender has it",
}


@app.command("list", rich_help_panel=LOOK)
def list_(
    target: Target = None,
    state: States = None,
    event_type: Types = None,
    collection: Collections = None,
    source: Sources = None,
    tenant: Tenant = None,
    since: Since = None,
    until: Until = None,
    limit: Annotated[int, typer.Option(min=1, max=LONGEST_PAGE, metavar="N", help="Length of a page.")] = 50,
    cursor: Annotated[str | None, typer.Option(metavar="TEXT", help="Where the last page ended.")] = None,
    app_dir: AppDir = None,
    as_json: AsJson = False,
) -> None:
    """List deliveries, the latest first."""
    with endings():
        receiver = receiver_of(target, app_dir)
        which = filter_of(state, event_type, collection, source, tenant, since, until)
        page = asyncio.run(receiver.deliveries.search(size=limit, cursor=cursor, **which))
    if as_json:
        for record in page.records:
            objects.write(objects.as_found(record))
    elif page.records:
        console = tables.console()
        console.print(tables.found(page.records, console.width))
    else:
        typer.echo(f"no such delivery of receiver {receiver.name!r} in {receiver.store!r}", err=True)
    if page.cursor is not None:
        typer.echo(f"next page: {_again(page.cursor)}", err=True)


@app.command(rich_help_panel=LOOK)
def show(
    target: Target = None,
    name: Annotated[str | None, typer.Argument(metavar="ID", help="A message id or a key.", show_default=False)] = None,
    tenant: Tenant = None,
    body: Annotated[bool, typer.Option("--body", help="With its body, which can hold what is confidential.")] = False,
    app_dir: AppDir = None,
    as_json: AsJson = False,
) -> None:
    """Show all that is known about one delivery."""
    with endings():
        target, names = target_and_names(target, [name] if name else [], one=True)
        if len(names) != 1:
            hint = f"; if {target} is its key, write the receiver before it" if target and not names else ""
            raise OperatorError(f"which delivery? Write one ID, a message id or a key{hint}")
        receiver = receiver_of(target, app_dir)
        record = asyncio.run(receiver.deliveries.get(names[0], tenant))
    if record is None:
        fail(f"no delivery {names[0]!r} of receiver {receiver.name!r} in {receiver.store!r}", FAILED)
    if as_json:
        objects.write(objects.as_shown(record, with_body=body))
    else:
        tables.console().print(tables.shown(record, with_body=body))


@app.command(rich_help_panel=CHANGE)
def replay(
    target: Target = None,
    names: Annotated[
        list[str] | None, typer.Argument(metavar="ID", help="Message ids or keys.", show_default=False)
    ] = None,
    all_dead: Annotated[bool, typer.Option("--all-dead", help="All that are dead.", rich_help_panel=WHICH)] = False,
    state: States = None,
    event_type: Types = None,
    collection: Collections = None,
    source: Sources = None,
    tenant: Tenant = None,
    since: Since = None,
    until: Until = None,
    why: Annotated[str, typer.Option(metavar="TEXT", help="For each delivery's history.")] = "",
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only count.")] = False,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
    app_dir: AppDir = None,
    as_json: AsJson = False,
) -> None:
    """Let a worker do deliveries again that are done or dead.

    They are named by ID, by a filter, or as all that are dead. What was done runs again as a whole; of what was dead,
    only handlers that had not processed it.
    """
    which = filter_of(state, event_type, collection, source, tenant, since, until)
    so_far = Progress("replaying")
    with endings():
        target, names = target_and_names(target, names or [])
        receiver = receiver_of(target, app_dir)
    if bool(names) + all_dead + bool(which.keys() - {"tenant"}) > 1 or not (names or all_dead or which):
        fail("say which deliveries: IDs, or --all-dead, or a filter such as --type; one of the three", USAGE)

    def run(*, only_count: bool) -> Replay:
        work = receiver.deliveries.replay(
            names, all_dead=all_dead, why=why, dry_run=only_count, progress=so_far.update, **which
        )
        return asyncio.run(work)

    with endings(so_far.interrupted):
        if dry_run:
            result = run(only_count=True)
        else:
            if not yes:
                _refuse_without_terminal()
                _confirm(run(only_count=True).found)
            with so_far.shown(unless=as_json):
                result = run(only_count=False)
    _report(result, dry_run=dry_run, as_json=as_json)
    if result.replayed and not as_json:
        typer.echo(f"a worker runs them: {_worker(target, app_dir)}", err=True)
    if result.names:
        raise typer.Exit(FAILED)


@app.command(rich_help_panel=CHANGE)
def purge(
    older_than: Annotated[
        int,
        typer.Option(
            min=SHORTEST_RETENTION_DAYS, metavar="DAYS", help="Since it was done; at least 16.", show_default=False
        ),
    ],
    target: Target = None,
    app_dir: AppDir = None,
    as_json: AsJson = False,
) -> None:
    """Remove records of what was done long ago.

    They are those of every receiver that shares the store. Receivers and workers purge by themselves; this does it
    now. What is dead stays.
    """
    so_far = Progress("purging")
    with endings(so_far.interrupted):
        receiver = receiver_of(target, app_dir)
        with so_far.shown(unless=as_json):
            number = asyncio.run(receiver.deliveries.purge(older_than, progress=so_far.update))
    if as_json:
        objects.write({"purged": number})
    else:
        typer.echo(f"{words.deliveries(number)} purged from {receiver.store!r}")


@app.command(rich_help_panel=LOOK)
def stats(target: Target = None, app_dir: AppDir = None, as_json: AsJson = False) -> None:
    """Count deliveries, and say how far the workers are behind."""
    with endings():
        receiver = receiver_of(target, app_dir)
        counted = asyncio.run(receiver.deliveries.stats())
    if as_json:
        objects.write(objects.as_stats(receiver.name, counted))
    else:
        tables.console().print(tables.counted(receiver.name, counted, receiver.store))


def _refuse_without_terminal() -> None:
    if not sys.stdin.isatty():
        fail("this is no terminal to ask on whether to replay: add --yes, or --dry-run to count", USAGE)


def _confirm(number: int) -> None:
    if not number:
        return
    try:
        agreed = typer.confirm(f"Replay {words.deliveries(number)}?", err=True)
    except typer.Abort:
        sys.stderr.write("\n")
        fail("interrupted; nothing was replayed", INTERRUPTED)
    if not agreed:
        fail("nothing was replayed", FAILED)


def _worker(target: str | None, app_dir: Path | None) -> str:
    """The command that runs what was replayed; what is set need not be written."""
    folder = [] if app_dir is None else ["--app-dir", str(app_dir)]
    return sources.typed("worker", target, *folder)


def _report(result: Replay, *, dry_run: bool, as_json: bool) -> None:
    if as_json:
        objects.write(objects.as_replay(result, dry_run=dry_run))
        return
    if dry_run:
        typer.echo(f"{words.deliveries(result.found)} would be replayed")
    else:
        typer.echo(f"{words.deliveries(result.replayed)} replayed")
    for name, why in result.names.items():
        typer.echo(f"not replayed: {words.one_line(name)}: {_WHY[why]}", err=True)
    if not result.names:
        for why, number in result.skipped.items():
            typer.echo(f"not replayed: {words.deliveries(number)}: {_WHY[why]}", err=True)


def _again(cursor: str) -> str:
    """The command for the next page: this one, from `cursor` on."""
    source = sources.current()
    given = iter(source.arguments)
    kept: list[str] = []
    for word in given:
        if word == "--cursor":
            next(given, None)
        elif not word.startswith("--cursor="):
            kept.append(word)
    return shlex.join([*source.program, *kept, "--cursor", cursor])
