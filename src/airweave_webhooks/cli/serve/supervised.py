"""A round of `dev --reload`: `python -m airweave_webhooks.cli.serve.supervised DESCRIPTOR`, started by `supervision`.

The descriptor is a pipe that says what to do, and whose end is the supervisor's end.
"""

import json
import os
import signal
import socket
import sys
import threading
from pathlib import Path
from typing import TextIO

from airweave_webhooks.cli.loading import load
from airweave_webhooks.cli.logs import configure
from airweave_webhooks.cli.serve.output import Output
from airweave_webhooks.cli.serve.rounds import Round, run
from airweave_webhooks.errors import Retry, WebhookError
from airweave_webhooks.receiver import Receiver


def main() -> None:
    """Run one round, and when its program is broken, one that says so to the sender."""
    signal.signal(signal.SIGINT, _ignore)  # and not SIG_IGN, which the user's own processes would inherit
    signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT})
    orders = os.fdopen(int(sys.argv[1]), encoding="utf-8")
    order = json.loads(orders.readline())
    threading.Thread(target=_end_with, args=[orders], daemon=True).start()
    listener = socket.socket(fileno=order.pop("listener"))
    served = order.pop("served")
    for descriptor in (orders.fileno(), listener.fileno(), served):
        os.set_inheritable(descriptor, False)  # they are nobody else's
    round_ = Round(**order | {"app_dir": order["app_dir"] and Path(order["app_dir"])})
    configure(as_json=round_.as_json)
    output = Output(as_json=round_.as_json)
    try:
        run(round_, load(round_.target, round_.app_dir), listener, output, ready=lambda: os.write(served, b"1"))
    except WebhookError as error:
        output.say("broken", f"{error}\nserving again when it is mended", error=str(error))
        run(round_, _resting(), listener, output, quiet=True)


def _resting() -> Receiver:
    """What answers meanwhile: verified deliveries are to come again."""
    receiver = Receiver(name="dev while the program is broken")

    @receiver.on("*", id="dev")
    def rest() -> None:
        raise Retry("the program is broken", after=5)

    return receiver


def _end_with(orders: TextIO) -> None:
    """End when the supervisor has gone, however it went."""
    orders.read()
    os.kill(os.getpid(), signal.SIGTERM)


def _ignore(*_: object) -> None:
    """The supervisor decides what Ctrl-C means."""


if __name__ == "__main__":
    main()
