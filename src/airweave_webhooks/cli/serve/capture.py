"""`airweave-webhooks capture`: write what arrives into files, and acknowledge it."""

from pathlib import Path
from typing import Annotated

import typer

from airweave_webhooks.cli.exits import endings, fail
from airweave_webhooks.cli.logs import configure
from airweave_webhooks.cli.options import AsJson, settings
from airweave_webhooks.cli.serve.listening import Host, Port, listen


def capture(
    out: Annotated[Path, typer.Option(metavar="DIR", file_okay=False, help="Where to; is made.", show_default=False)],
    host: Host = None,
    port: Port = None,
    as_json: AsJson = False,
) -> None:
    """Write each verified delivery into a file, and acknowledge it then; Ctrl-C ends it.

    Behind a tunnel, with AIRWEAVE_WEBHOOK_SECRET set, that captures what Airweave sends. Every path is the endpoint.
    """
    from airweave_webhooks.cli.serve import capturing

    configure(as_json=as_json)
    with endings(), listen(settings(), host, port) as listener:
        code = capturing.capture_into(out, listener, settings(), as_json=as_json)
    fail("interrupted", code) if code else None
