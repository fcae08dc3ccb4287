"""`airweave-webhooks verify`: whether a receiver would take a body under given headers, and if not, why."""

import os
import time
from typing import TYPE_CHECKING, Annotated, Any, Final

import typer

from airweave_webhooks.cli.exits import BAD_SIGNATURE, endings
from airweave_webhooks.cli.options import moment, settings
from airweave_webhooks.errors import OperatorError

if TYPE_CHECKING:
    from airweave_webhooks.cli.examining import Examination, Known

RETIRED_VARIABLE: Final = "AIRWEAVE_WEBHOOK_RETIRED_SECRET"
"""Secrets from before a rotation, separated by spaces: they verify nothing, and are recognised."""

HEADERS: Final = "Its headers, one of two ways"


def _seconds(text: str) -> float:
    try:
        number = float(text)
    except ValueError:
        number = -1.0
    if not number >= 0:
        raise typer.BadParameter(f"{text!r} is no number of seconds")
    return number


def verify(
    file: Annotated[str, typer.Argument(metavar="FILE", help="The body to the byte; - is stdin.", show_default=False)],
    headers: Annotated[
        str | None,
        typer.Option(metavar="FILE", help="Lines as of curl -i, or JSON; - is stdin.", rich_help_panel=HEADERS),
    ] = None,
    message_id: Annotated[
        str | None, typer.Option("--id", metavar="TEXT", help="The header svix-id.", rich_help_panel=HEADERS)
    ] = None,
    timestamp: Annotated[
        str | None, typer.Option(metavar="TEXT", help="The header svix-timestamp.", rich_help_panel=HEADERS)
    ] = None,
    signature: Annotated[
        str | None,
        typer.Option(metavar="TEXT", help="The header svix-signature; it is no secret.", rich_help_panel=HEADERS),
    ] = None,
    tolerance: Annotated[
        float, typer.Option(parser=_seconds, metavar="SECONDS", help="How far its time may be from now.")
    ] = 300.0,
    at: Annotated[
        int | None,
        typer.Option(parser=moment, metavar="TIME", help="When it came, if not now: as of sign.", show_default=False),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object.")] = False,
) -> None:
    """Verify a body, and say what is wrong with it and how to mend it.

    Tried is the secret that is set, or that of the dev that runs; AIRWEAVE_WEBHOOK_RETIRED_SECRET can hold those
    from before a rotation, to recognise them.
    """
    from airweave_webhooks.cli import objects, tables
    from airweave_webhooks.cli.destinations import secret_in_use
    from airweave_webhooks.cli.examining import Known, examine
    from airweave_webhooks.cli.files import STDIN, read_body
    from airweave_webhooks.cli.local import known_servers

    with endings():
        if file == headers == STDIN:
            raise OperatorError("only one of body and headers can be stdin")
        given = _headers(headers, message_id, timestamp, signature)
        body = read_body(file).content
        secret = secret_in_use(settings())
        tried = [Known(text, secret.source) for text in secret.value.split()]
        examination = examine(
            given,
            body,
            tried,
            retired=[Known(text, RETIRED_VARIABLE) for text in _retired()],
            others=[Known(text, f"the local server {pid}, {url}") for pid, url, text in known_servers() if text],
            now=time.time() if at is None else at,
            tolerance=tolerance,
        )
    if as_json:
        objects.write(_as_json(examination, tried))
    else:
        tables.console().print(_shown(examination, body, tried))
    if not examination.good:
        raise typer.Exit(BAD_SIGNATURE)


def _headers(
    file: str | None, message_id: str | None, timestamp: str | None, signature: str | None
) -> list[tuple[bytes, bytes]]:
    from airweave_webhooks.cli.files import read_headers
    from airweave_webhooks.signing import raw_headers

    options = {"svix-id": message_id, "svix-timestamp": timestamp, "svix-signature": signature}
    given = {name: value.strip() for name, value in options.items() if value is not None}
    if bool(given) == (file is not None):
        raise OperatorError("say the headers: --headers FILE, or --id, --timestamp and --signature; one of the two")
    return raw_headers(given) if file is None else read_headers(file)


def _retired() -> list[str]:
    settings()  # reads .env
    return os.environ.get(RETIRED_VARIABLE, "").replace(",", " ").split()


def _shown(examination: "Examination", body: bytes, tried: "list[Known]") -> Any:
    from rich.table import Table
    from rich.text import Text

    from airweave_webhooks.cli.words import one_line, size

    table = Table.grid(padding=(0, 2, 0, 0))
    table.add_column(style="dim", no_wrap=True)
    table.add_column(no_wrap=True)
    table.add_column(overflow="fold")
    if examination.envelope is not None:
        table.add_row("message id", "", Text(one_line(examination.envelope.id)))
    table.add_row("body", "", size(len(body)))
    for known in tried:
        table.add_row("tried", "", Text(known.name))
    for check in examination.checks:
        verdict = Text("good", style="green") if check.good else Text("BAD", style="bold red")
        table.add_row(check.what, verdict, Text(check.finding))
        if check.remedy is not None:
            table.add_row("", "", Text(f"Remedy: {check.remedy}"))
    table.add_row("verdict", "", "verified" if examination.good else "not verified: a receiver refuses it")
    return table


def _as_json(examination: "Examination", tried: "list[Known]") -> dict[str, Any]:
    from airweave_webhooks.cli.masks import fingerprint

    envelope = examination.envelope
    return {
        "verified": examination.good,
        "message_id": None if envelope is None else envelope.id,
        "timestamp": None if envelope is None else envelope.timestamp,
        "tried": [{"source": known.source, "fingerprint": fingerprint(known.text)} for known in tried],
        "checks": [{**check._asdict(), "remedy": check.remedy} for check in examination.checks],
    }
