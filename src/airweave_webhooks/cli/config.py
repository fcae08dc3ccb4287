"""`airweave-webhooks config`: what is set, and where."""

import difflib
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Annotated, Any, Final

import typer

from airweave_webhooks.cli import sources
from airweave_webhooks.cli.destinations import url_of
from airweave_webhooks.cli.exits import CONFIGURATION, endings, fail
from airweave_webhooks.cli.local import LocalServer, known_servers, local_servers
from airweave_webhooks.cli.masks import fingerprint, masked
from airweave_webhooks.cli.options import receiver_of, settings
from airweave_webhooks.cli.serve.listening import port_of
from airweave_webhooks.cli.settings import NAMES, PREFIX, Settings, variable
from airweave_webhooks.cli.words import redacted
from airweave_webhooks.errors import ConfigurationError
from airweave_webhooks.keyring import SECRET_VARIABLE
from airweave_webhooks.receiver import Receiver
from airweave_webhooks.signing import parse_key

EXPLANATION: Final = (
    "In brackets: the first 8 digits of the secret's SHA-256. Two that are the same are the same secret; nobody can"
    " make the secret of it."
)


def config(
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object.")] = False,
) -> None:
    """Show what is set, where, and what runs on this machine.

    Secrets are shown as fingerprints.
    """
    from airweave_webhooks.cli import objects

    with endings():
        known = settings()
    servers = known_servers()
    problems = _problems_of_the_secret(known)
    if sources.current().named:
        problems += [*_problems_of_places(known), *_unknown_variables()]
        receiver = None
    else:
        with endings():
            receiver = _facts_of(receiver_of(None, None))
    if as_json:
        objects.write(_as_json(known, servers, problems) | ({"receiver": receiver} if receiver else {}))
    else:
        _show(known, servers, receiver or {})
    if problems:
        fail("\n".join(problems), CONFIGURATION)


def _problems_of_the_secret(known: Settings) -> list[str]:
    problems: list[str] = []
    for text in known.secrets:
        try:
            parse_key(text)
        except ConfigurationError as error:
            problems.append(f"{SECRET_VARIABLE} {masked(text)}: {error}")
    return problems


def _problems_of_places(known: Settings) -> Iterator[str]:
    """What the commands say that send, and those that serve."""
    for find in (local_servers, lambda: port_of(known), lambda: known.get("url") and url_of(known)):
        try:
            find()
        except ConfigurationError as error:
            yield str(error)


def _unknown_variables() -> list[str]:
    """What somebody set who misspelt it."""
    known = [*map(variable, NAMES), SECRET_VARIABLE]
    names = [name for name in os.environ if name.startswith(PREFIX) and name not in known]
    return [
        f"the variable {name} means nothing; did you mean {difflib.get_close_matches(name, known, 1, 0.0)[0]}?"
        for name in sorted(names)
    ]


def _facts_of(receiver: Receiver) -> dict[str, str]:
    """What came of the settings, where there is one receiver."""
    handlers = ", ".join(handler.id for handler in receiver.table.handlers)
    return {
        "name": receiver.name,
        "store": redacted(repr(receiver.store)),
        "mode": type(receiver.mode).__name__.lower(),
        "handlers": handlers or "none",
    }


def _show(known: Settings, servers: list[LocalServer], receiver: Mapping[str, str]) -> None:
    from rich.text import Text

    from airweave_webhooks.cli import tables
    from airweave_webhooks.cli.words import one_line

    project = known.project
    console = tables.console()
    console.print(tables.grid([("project", str(project)), ("files", sources.current().files(known)), ("", "")]))
    table = tables.columns(expand=False, gap=2)
    for name in ("SETTING", "VALUE", "FROM"):
        table.add_column(name, overflow="fold")
    for name in sources.current().names:
        found = known.values.get(name)
        value, source = ("not set", variable(name)) if found is None else found
        style = "dim" if found is None else ""
        table.add_row(name, Text(one_line(value), style=style), Text(_short(source, project), style="dim"))
    shown = ", ".join(map(masked, known.secrets))
    source = SECRET_VARIABLE if known.secret is None else known.secret.source
    table.add_row(
        "secret", Text(shown or "not set", style="" if shown else "dim"), Text(_short(source, project), "dim")
    )
    console.print(table)
    if receiver:
        console.print(tables.title("The receiver"))
        console.print(tables.grid(receiver.items()))
    console.print(tables.title("Running on this machine"))
    if servers:
        console.print(tables.grid([(str(one.pid), f"{one.url}  {_secret_of(one)}") for one in servers]))
    else:
        console.print("nothing")
    if shown or servers:
        console.print(Text(f"\n{EXPLANATION}", style="dim"))


def _secret_of(server: LocalServer) -> str:
    return "the secret that is set" if server.secret is None else masked(server.secret)


def _short(source: str, project: Path) -> str:
    return source.removeprefix(f"{project}{os.sep}")


def _as_json(known: Settings, servers: list[LocalServer], problems: list[str]) -> dict[str, Any]:
    values = {
        name: {"value": redacted(found.value), "source": found.source} if (found := known.values.get(name)) else None
        for name in sources.current().names
    }
    secret = known.secret and {"fingerprints": [*map(fingerprint, known.secrets)], "source": known.secret.source}
    return {
        "project": str(known.project),
        "settings": values,
        "secret": secret,
        "servers": [
            {"pid": one.pid, "url": one.url, "fingerprint": one.secret and fingerprint(one.secret)} for one in servers
        ],
        "problems": [*map(redacted, problems)],
    }
