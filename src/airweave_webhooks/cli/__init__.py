"""The command `airweave-webhooks`. It needs the extra `cli`."""

import importlib.util
import sys
from typing import Final

__all__ = ["main", "require_extra"]

_NEEDED: Final = ("dotenv", "httpx", "platformdirs", "rich", "typer", "uvicorn")
"""What the extra brings: a program may have some of it without the extra."""


def require_extra(extras: str = "cli") -> None:
    """Exit with a sentence how to get the extra, where it is missing.

    Args:
        extras: to install; `cli`, and what else is needed there.
    """
    if any(importlib.util.find_spec(name) is None for name in _NEEDED):
        sys.stderr.write(f"The command needs the extra 'cli': pip install 'airweave-webhooks[{extras}]'\n")
        sys.exit(3)


def main() -> None:
    """Run the command with the program's arguments, and exit."""
    require_extra()
    try:
        from airweave_webhooks.cli.app import run

        run()
    except KeyboardInterrupt:
        sys.stderr.write("airweave-webhooks: interrupted\n")
        sys.exit(130)
