"""The server that the failure tests start, stop and kill: `python -m failure.app`, set up by its environment."""

import asyncio
import os
import signal
import socket
import sys
import threading
import time
from pathlib import Path
from types import FrameType

import uvicorn

from airweave_webhooks import Delivery, Inline, Receiver
from failure.backends import make_store
from failure.ledger import Ledger

if "EFFECTS" in os.environ:  # takes half as long as the rest, and the other processes have no use for it
    import psycopg

    from airweave_webhooks.integrations.psycopg import once

SETTINGS = {"ANSWER_WITHIN": 12.0, "LEASE": 1.0, "SHUTDOWN_GRACE": 10.0, "WORK": 0.01}
"""What the environment can set, in seconds. `WORK` is what a handler takes on each side of its effect."""

_set = {name: float(os.environ.get(name, default)) for name, default in SETTINGS.items()}
_work = _set["WORK"]
_gate = os.environ.get("GATE")
_ledger = Ledger(Path(os.environ["LEDGER"]))

receiver = Receiver(
    store=make_store(os.environ["STORE"], os.environ["NAMESPACE"]),
    tolerance=10_000 if "CLOCK" in os.environ else 300,
    mode=Inline(answer_within=_set["ANSWER_WITHIN"], lease=_set["LEASE"], shutdown_grace=_set["SHUTDOWN_GRACE"]),
)


@receiver.on("sync.completed", source_type="awaiting")
async def awaiting(delivery: Delivery) -> None:
    """Leave room for a kill on both sides of the effect."""
    _ledger.write("start", delivery.id)
    await asyncio.sleep(_work)
    _ledger.write("effect", delivery.id)
    await asyncio.sleep(_work)
    _ledger.write("done", delivery.id)


@receiver.on("sync.completed", source_type="threaded")
def threaded(delivery: Delivery) -> None:
    """Do the same in a thread."""
    _ledger.write("start", delivery.id)
    time.sleep(_work)
    _ledger.write("effect", delivery.id)
    time.sleep(_work)
    _ledger.write("done", delivery.id)


@receiver.on("sync.completed", source_type="blocking")
async def blocking(delivery: Delivery) -> None:
    """Stop the whole event loop meanwhile."""
    threaded(delivery)


@receiver.on("sync.completed", source_type="counted")
async def counted(delivery: Delivery) -> None:
    """Count itself in a database, exactly once."""
    table = os.environ["EFFECTS_TABLE"]
    _ledger.write("start", delivery.id)
    async with await psycopg.AsyncConnection.connect(os.environ["EFFECTS"]) as connection:
        if await once(delivery, connection):
            await connection.execute(f"INSERT INTO {table} VALUES (%s)", [delivery.id])
        await asyncio.sleep(_work)
    _ledger.write("effect", delivery.id)
    await asyncio.sleep(_work)
    _ledger.write("done", delivery.id)


@receiver.on("sync.completed", source_type="gated")
async def gated(delivery: Delivery) -> None:
    """Stay after the effect until the test lets go, in the process that was given a gate."""
    _ledger.write("start", delivery.id)
    _ledger.write("effect", delivery.id)
    while _gate and not Path(_gate).exists():
        await asyncio.sleep(0.01)
    _ledger.write("done", delivery.id)


@receiver.on("sync.completed", source_type="stuck")
def stuck(delivery: Delivery) -> None:
    """Never return, in the process that was given a gate."""
    _ledger.write("start", delivery.id)
    if _gate:
        threading.Event().wait()
    _ledger.write("effect", delivery.id)
    _ledger.write("done", delivery.id)


def end(_signal: int, _frame: FrameType | None) -> None:
    """Leave as a program does that comes to its end, with all that the interpreter waits for."""
    sys.exit(0)


def main() -> None:
    # The server raises the signal that ended it once more; unhandled, that would end the process in any case.
    signal.signal(signal.SIGTERM, end)
    with socket.socket() as listener:
        # The test keeps the port bound, and so reserved, while no server listens on it.
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        listener.bind(("127.0.0.1", int(os.environ["PORT"])))
        config = uvicorn.Config(receiver, lifespan="on", ws="none", access_log=False, log_level="warning")
        uvicorn.Server(config).run(sockets=[listener])


if __name__ == "__main__":
    main()
