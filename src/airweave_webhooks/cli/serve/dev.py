"""`airweave-webhooks dev`: serve a receiver on this machine, and show what happens."""

from typing import Annotated

import typer

from airweave_webhooks.cli.exits import endings, fail
from airweave_webhooks.cli.logs import configure
from airweave_webhooks.cli.options import AppDir, AsJson, Target, receiver_of, settings
from airweave_webhooks.cli.serve.listening import Host, Port, fresh_secret, listen
from airweave_webhooks.cli.sources import COMMAND_LINE


def dev(
    target: Target = None,
    reload: Annotated[bool, typer.Option("--reload", help="Start anew when a Python file changes.")] = False,
    host: Host = None,
    port: Port = None,
    app_dir: AppDir = None,
    as_json: AsJson = False,
) -> None:
    """Serve a receiver on this machine, and show each delivery as it comes; Ctrl-C ends it.

    It has its own store and handlers, and a secret made for this run, which `airweave-webhooks trigger` in another
    terminal finds by itself. Every path is the endpoint.
    """
    from airweave_webhooks.cli.serve import rounds, supervision

    configure(as_json=as_json)
    with endings(), listen(settings(), host, port) as listener:
        name, folder = COMMAND_LINE.name_of(target), COMMAND_LINE.folder_of(app_dir)
        round_ = rounds.Round(name, folder, fresh_secret(), as_json=as_json)
        if reload:
            code = supervision.supervise(round_, listener)
        else:
            code = rounds.run_announced(round_, receiver_of(target, app_dir), listener)
    fail("interrupted", code) if code else None
