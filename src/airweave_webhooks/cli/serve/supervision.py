"""`dev --reload`: a process of its own runs the user's program, and is started anew when a file changes.

This one keeps the address, so that a request which comes in between waits and is not refused.
"""

import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Generator
from dataclasses import asdict, replace
from functools import partial
from pathlib import Path
from types import FrameType
from typing import Any, Final

from airweave_webhooks.cli.exits import INTERRUPTED
from airweave_webhooks.cli.loading import split
from airweave_webhooks.cli.local import announced
from airweave_webhooks.cli.serve.listening import url_of
from airweave_webhooks.cli.serve.output import Output
from airweave_webhooks.cli.serve.rounds import Round
from airweave_webhooks.cli.serve.serving import GRACE
from airweave_webhooks.cli.serve.watching import Watch
from airweave_webhooks.errors import ConfigurationError

PATIENCE: Final = 2 * GRACE + 2
"""Seconds that a round gets to end, before it is ended."""


class _Terminated(BaseException):
    """SIGTERM came."""


def supervise(round_: Round, listener: socket.socket) -> int:
    """Run one round after the other until there is a signal.

    Returns:
        The exit code: 0 after SIGTERM, 130 after Ctrl-C.

    Raises:
        OperatorError: the target is not written as `module:receiver`.
        ConfigurationError: the system cannot do it.
    """
    split(round_.target)
    if os.name != "posix":
        raise ConfigurationError("--reload hands its address from process to process, which only POSIX systems can do")
    output = Output(as_json=round_.as_json)
    watch = Watch((round_.app_dir or Path.cwd()).resolve())
    signal.signal(signal.SIGTERM, _on_sigterm)
    with announced(url_of(listener), round_.secret):
        try:
            while True:
                round_ = replace(round_, number=round_.number + 1)
                with _started(round_, listener) as (process, has_served):
                    _wait(process, has_served, watch, output)
        except KeyboardInterrupt:
            return INTERRUPTED
        except _Terminated:
            return 0


def _wait(process: "subprocess.Popen[bytes]", has_served: Callable[[], bool], watch: Watch, output: Output) -> None:
    """Wait for a reason to start anew. A program that ended before it served would end again: it waits for a change."""
    while not (changed := watch.changes()):
        code = process.poll()
        if code is None:
            continue
        how = f"by {signal.Signals(-code).name}" if code < 0 else f"with {code}"
        waits = not has_served()
        then = "waiting for a change of a file" if waits else "starting anew"
        output.say("ended", f"the program's process was ended {how}: {then}", code=code, waits=waits)
        if not waits:
            return
        while not (changed := watch.changes()):
            pass
        break
    names = [str(path) for path in changed]
    shown = ", ".join(names[:3]) + (f" and {len(names) - 3} more" if len(names) > 3 else "")
    output.say("reloading", f"{shown} changed: starting anew", files=names)


@contextlib.contextmanager
def _started(round_: Round, listener: socket.socket) -> "Generator[tuple[subprocess.Popen[bytes], Callable[[], bool]]]":
    """A round in a process of its own, which ends with the block, and with this process; and whether it has served."""
    theirs, ours = os.pipe()
    said, served = os.pipe()
    os.set_blocking(said, False)
    order = asdict(round_) | {
        "app_dir": round_.app_dir and str(round_.app_dir),
        "listener": listener.fileno(),
        "served": served,
    }
    # No bytecode: that of a file which is changed twice in one second to the same length would be taken for current.
    command = [sys.executable, "-B", "-P", "-m", "airweave_webhooks.cli.serve.supervised", str(theirs)]
    # Ctrl-C reaches all processes of a terminal. The round is to be ended by us, and only hears us when it is ready.
    masked = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        process = subprocess.Popen(command, pass_fds=(theirs, served, listener.fileno()))  # noqa: S603 - it is ours
    finally:
        os.close(theirs)
        os.close(served)
        signal.pthread_sigmask(signal.SIG_SETMASK, masked)
    try:
        # The secret is neither in its arguments nor in its environment, which its children would inherit.
        with contextlib.suppress(BrokenPipeError):
            os.write(ours, json.dumps(order).encode() + b"\n")
        yield process, partial(_has_said, said)
    finally:
        try:
            process.terminate()
            process.wait(PATIENCE)
        except (subprocess.TimeoutExpired, KeyboardInterrupt):
            process.kill()
            process.wait()
        finally:
            os.close(ours)
            os.close(said)


def _has_said(descriptor: int) -> bool:
    try:
        return bool(os.read(descriptor, 1))
    except BlockingIOError:  # nothing yet
        return False


def _on_sigterm(_number: int, _frame: FrameType | None) -> Any:
    raise _Terminated
