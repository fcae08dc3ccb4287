"""stdin, stdout and stderr, however the command was started."""

import io
import os
import sys
from pathlib import Path
from typing import IO


def prepare() -> None:
    """Make of streams that are closed such as hold, and keep, nothing."""
    for name, mode in (("stdin", "r"), ("stdout", "w"), ("stderr", "w")):
        stream = getattr(sys, name)
        if stream is None:
            setattr(sys, name, Path(os.devnull).open(mode, encoding="utf-8"))  # noqa: SIM115 - open to the end
        elif mode == "w" and isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="replace")  # what a terminal cannot show is no reason to fail


def silence(stream: IO[str]) -> None:
    """Send to nowhere what a stream still holds, and what else is written: it is read, or can be kept, no more."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, stream.fileno())
    os.close(nowhere)
