"""`airweave-webhooks events`: the catalogue of Airweave's events."""

import itertools
import json
from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated, Any

import typer

from airweave_webhooks.cli.exits import endings

if TYPE_CHECKING:
    from rich.console import Group
    from rich.table import Table

    from airweave_webhooks.cli.catalogue import EventType, Field


def events(
    names: Annotated[
        list[str] | None,
        typer.Argument(metavar="NAME", help="Event type, class, or glob as in 'sync.*'.", show_default=False),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object a line, with all that is known.")] = False,
) -> None:
    """List Airweave's events; with NAME, their fields, and a body."""
    from airweave_webhooks.cli import objects, tables
    from airweave_webhooks.cli.catalogue import event_types

    with endings():
        found = event_types(names or [])
    if as_json:
        for event in found:
            objects.write(_as_json(event))
        return
    console = tables.console()
    if names:
        for event in found:
            console.print(_shown(event))
        return
    console.print(_listed(found))
    typer.echo(
        "\nDOCS: whether Airweave's documentation knows the event; all of them are sent."
        "\nWhat is none of them comes as an UnknownEvent."
        "\nMore about one: airweave-webhooks events NAME",
        err=True,
    )


def _listed(found: Sequence["EventType"]) -> "Table":
    from rich.text import Text

    from airweave_webhooks.cli import tables

    table = tables.columns()
    table.add_column("EVENT", no_wrap=True)
    table.add_column("MEANING", ratio=1)
    table.add_column("DOCS", no_wrap=True)
    for domain, group in itertools.groupby(found, lambda event: event.cls.domain):
        if domain != found[0].cls.domain:
            table.add_row()
        for event in group:
            documented = Text("yes", style="green") if event.cls.documented else Text("no", style="yellow")
            table.add_row(Text(event.name), Text(event.brief), documented)
    return table


def _shown(event: "EventType") -> "Group":
    from rich.console import Group
    from rich.text import Text

    from airweave_webhooks.cli import tables

    base = next(each.__name__ for each in event.cls.__mro__[1:] if not each.__name__.startswith("_"))
    facts = [
        ("class", f"{event.cls.__name__}({base})"),
        ("in Airweave's docs", "yes" if event.cls.documented else "no: it is sent all the same"),
        ("natural key", event.natural_key or "none: it has no identity"),
    ]
    table = tables.columns()
    table.add_column("FIELD", no_wrap=True)
    table.add_column("TYPE", no_wrap=True)
    table.add_column("", no_wrap=True)
    table.add_column("MEANING", ratio=1)
    for field in event.fields:
        required = Text("") if field.required else Text("optional", style="dim")
        table.add_row(Text(field.name), Text(field.type, style="cyan"), required, Text(_meaning(field)))
    return Group(
        Text(event.name, style="bold"),
        Text(f"{event.meaning}\n"),
        tables.grid(facts),
        Text(),
        table,
        tables.title("Example"),
        Text(json.dumps(_example(event), indent=2, ensure_ascii=False) + "\n"),
    )


def _meaning(field: "Field") -> str:
    return " ".join([field.meaning, *(f"Also comes as {name}." for name in field.also)]).strip()


def _example(event: "EventType") -> Any:
    from airweave_webhooks.testing.payloads import payload

    return json.loads(payload(event.name))


def _as_json(event: "EventType") -> dict[str, Any]:
    return {
        "event_type": event.name,
        "domain": event.cls.domain,
        "class": event.cls.__name__,
        "meaning": event.meaning,
        "documented": event.cls.documented,
        "natural_key": event.natural_key,
        "fields": [field._asdict() for field in event.fields],
        "example": _example(event),
    }
