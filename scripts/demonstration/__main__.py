"""Show a receiver at work, and what it answers to what Airweave would send: see scripts/demo."""

import argparse
import asyncio
import signal
import sys
import time
from pathlib import Path
from typing import Final, NoReturn

from rich.console import Console

from airweave_webhooks.signing import generate_secret
from demonstration.report import records, show_log, show_summary, show_table
from demonstration.scenes import play
from demonstration.server import DemoError, Server, serving

CHECKOUT: Final = Path(__file__).resolve().parents[2]
INTERRUPTED: Final = 128 + signal.SIGINT


def main() -> int:
    options = _options()
    signal.signal(signal.SIGTERM, _terminated)
    # A shell that starts it in the background would have it ignore Ctrl-C.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    console = Console(highlight=False)
    secret = generate_secret()
    console.print("Starting a receiver on a fresh SQLite store; sending to it as Airweave does.\n")
    try:
        with serving(options.folder.resolve(), secret) as server:
            passed = _show(console, server, secret)
            if not options.once:
                _stay(console, server)
    except DemoError as error:
        print(error, file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return INTERRUPTED
    return 0 if passed else 1


def _show(console: Console, server: Server, secret: str) -> bool:
    started = time.perf_counter()
    sections = asyncio.run(play(server, secret))
    seconds = time.perf_counter() - started
    show_table(console, sections)
    console.print()
    show_log(console, server.log)
    console.print()
    return show_summary(console, sections, seconds, server.effects())


def _stay(console: Console, server: Server) -> None:
    """Leave the receiver running until Ctrl-C, and show what its log gets."""
    console.print()
    # Not wrapped, so that they can be copied.
    for line in (
        f"The receiver stays up at {server.url}",
        f"Its store is {server.folder / 'demo.db'}",
        f"Try      curl -i -X POST {server.url}",
        "What its log says then appears here. Ctrl-C stops it.",
    ):
        console.print(line, soft_wrap=True, markup=False)
    shown = len(list(records(server.log)))
    try:
        while True:
            time.sleep(0.3)
            found = list(records(server.log))
            for level, message in found[shown:]:
                console.print(f"{level} {message}", markup=False)
            shown = len(found)
    except KeyboardInterrupt:
        console.print("\nStopped.")


def _terminated(*_: object) -> NoReturn:
    sys.exit(128 + signal.SIGTERM)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="scripts/demo", description=__doc__)
    parser.add_argument("--once", action="store_true", help="end with 0 if every answer was the expected one, else 1")
    parser.add_argument(
        "--folder", type=Path, default=CHECKOUT / ".demo", help="for the store and the log; default: .demo"
    )
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
