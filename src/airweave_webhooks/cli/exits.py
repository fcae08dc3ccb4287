"""How a command ends: its exit code, and the one line that says why."""

import contextlib
import sys
from collections.abc import Callable, Generator
from typing import Final, NoReturn

import typer

from airweave_webhooks.cli.words import redacted
from airweave_webhooks.errors import ConfigurationError, OperatorError, Unavailable, WebhookError

FAILED: Final = 1
USAGE: Final = 2
CONFIGURATION: Final = 3
BAD_SIGNATURE: Final = 4
UNREACHABLE: Final = 5
INTERRUPTED: Final = 130

CODES: Final = (
    "Exit codes: 0 done, 1 a delivery or a check failed, 2 written wrongly, 3 set up wrongly, 4 a bad signature,"
    " 5 not to be reached, 130 interrupted."
)


def code_of(error: WebhookError) -> int:
    """The exit code that an error means."""
    match error:
        case OperatorError():
            return USAGE
        case ConfigurationError():
            return CONFIGURATION
        case Unavailable():
            return UNREACHABLE
        case _:
            return FAILED


def fail(message: object, code: int) -> NoReturn:
    """End the command with a message on stderr."""
    sys.stderr.write(f"airweave-webhooks: {redacted(str(message))}\n")
    raise typer.Exit(code)


@contextlib.contextmanager
def endings(interrupted: Callable[[], str] = lambda: "interrupted") -> Generator[None]:
    """Make of the errors of a command, and of Ctrl-C, a message and an exit code.

    Args:
        interrupted: what to say after Ctrl-C.
    """
    try:
        yield
    except WebhookError as error:
        fail(error, code_of(error))
    except KeyboardInterrupt:
        fail(interrupted(), INTERRUPTED)
