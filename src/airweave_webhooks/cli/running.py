"""Running a command to the end of the process, whatever becomes of its streams."""

import errno
import sys
from collections.abc import Callable, Sequence
from typing import Any, NoReturn

from airweave_webhooks.cli import streams
from airweave_webhooks.cli.exits import FAILED, INTERRUPTED


def run(command: Callable[..., Any], program: str, arguments: Sequence[str] | None = None) -> NoReturn:
    """Run a command, and exit.

    Args:
        command: typer's.
        program: what to call it in its help.
        arguments: of the command; the process's by default.
    """
    streams.prepare()
    try:
        try:
            command(args=arguments, prog_name=program)
        finally:
            sys.stdout.flush()
    except OSError as error:
        streams.silence(sys.stdout)
        if error.errno != errno.EPIPE:  # `| head` has read enough
            sys.stderr.write(f"airweave-webhooks: {error}\n")
        sys.exit(FAILED)
    except KeyboardInterrupt:
        sys.stderr.write("airweave-webhooks: interrupted\n")
        sys.exit(INTERRUPTED)
    sys.exit()
