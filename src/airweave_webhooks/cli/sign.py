"""`airweave-webhooks sign`: the three headers of a body."""

import random
import shlex
import time
from typing import TYPE_CHECKING, Annotated

import typer

from airweave_webhooks.cli.exits import USAGE, endings, fail
from airweave_webhooks.cli.options import moment, settings
from airweave_webhooks.errors import MalformedRequest, OperatorError

if TYPE_CHECKING:
    from airweave_webhooks.signing.signatures import Family


def sign(
    file: Annotated[str, typer.Argument(metavar="FILE", help="A body or a recording; - is stdin.", show_default=False)],
    message_id: Annotated[
        str | None, typer.Option("--id", metavar="ID", help="Instead of the recording's, or a new one.")
    ] = None,
    timestamp: Annotated[
        int | None,
        typer.Option(parser=moment, metavar="TIME", help="Seconds since 1970, 15m ago, or ISO; now by default."),
    ] = None,
    family: Annotated[str, typer.Option(metavar="NAME", help="svix-* or webhook-* headers: svix, webhook.")] = "svix",
    curl: Annotated[
        str | None,
        typer.Option(metavar="URL", help="Print the curl command that sends it there.", show_default=False),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object.")] = False,
) -> None:
    """Sign a body, as Airweave signs what it sends.

    With the secret that is set, or with that of the dev that runs. curl takes what is printed:

    sign body.json > headers; curl -H @headers --data-binary @body.json URL
    """
    from airweave_webhooks.cli import objects
    from airweave_webhooks.cli.destinations import secret_in_use
    from airweave_webhooks.cli.files import read_body
    from airweave_webhooks.cli.masks import fingerprint, masked
    from airweave_webhooks.signing import parse_signer, raw_headers, read_envelope, signature_headers
    from airweave_webhooks.testing.sender import message_id as new_id

    with endings():
        names = _family(family)
        if curl is not None and not curl.startswith(("http://", "https://")):
            raise OperatorError(f"--curl {curl}: takes a URL that begins with http:// or https://")
        body = read_body(file)
        secret = secret_in_use(settings())
        texts = secret.value.split()
        message_id = message_id or body.id or new_id(random.SystemRandom())
        timestamp = int(time.time()) if timestamp is None else timestamp
        signers = [parse_signer(text) for text in texts]
        try:
            headers = signature_headers(signers, message_id, timestamp, body.content, names)
            read_envelope(raw_headers(headers))
        except (MalformedRequest, UnicodeEncodeError) as error:
            fail(f"no receiver would take this: {error}", USAGE)
    if curl is not None:
        typer.echo(_command(curl, headers, file, None if body.id is None and file != "-" else body.content))
    elif as_json:
        prints = [fingerprint(text) for text in texts]
        objects.write({"headers": headers, "secrets": prints, "source": secret.source, "bytes": len(body.content)})
    else:
        typer.echo("\n".join(f"{name}: {value}" for name, value in headers.items()))
        if body.id is not None:
            typer.echo(f"{file} is a recording: signed is the body in it; --curl URL shows how to send that", err=True)
        typer.echo(f"signed with {', '.join(map(masked, texts))}, from {secret.source}", err=True)


def _family(name: str) -> "Family":
    match name:
        case "svix" | "webhook":
            return name
        case _:
            raise OperatorError(f"--family {name}: takes svix or webhook")


def _command(url: str, headers: dict[str, str], file: str, content: bytes | None) -> str:
    words = ["curl"]
    for name, value in {"content-type": "application/json", **headers}.items():
        words += ["-H", f"{name}: {value}"]
    if content is None:
        words += ["--data-binary", f"@{file}"]
    else:
        try:
            text = content.decode()
        except UnicodeDecodeError:
            text = "\0"
        if "\0" in text:
            fail("a shell cannot write this body: put it into a file", USAGE)
        words += ["--data-raw", text]
    return shlex.join([*words, url])
