"""The command `airweave-webhooks`. It needs the extra `cli`."""

import importlib.util
import sys
from typing import Final

__all__ = ["main"]

_NEEDED: Final = ("dotenv", "httpx", "platformdirs", "rich", "typer", "uvicorn")
"""What the extra brings: a program may have some of it without the extra."""


def main() -> None:
    """Run the command with the program's arguments, and exit."""
    if any(importlib.util.find_spec(name) is None for name in _NEEDED):
        sys.stderr.write("The command needs the extra 'cli': pip install 'airweave-webhooks[cli]'\n")
        sys.exit(3)
    try:
        from airweave_webhooks.cli.app import run

        run()
    except KeyboardInterrupt:
        sys.stderr.write("airweave-webhooks: interrupted\n")
        sys.exit(130)
