"""The processes of the inbox's failure tests: `python -m failure.inbox_app ROLE`, set up by the environment.

`web` stores deliveries, `worker` works on them, `both` does both; `inline` stores nothing that it has not done.
"""

import asyncio
import contextlib
import os
import random
import resource
import signal
import socket
import sys
import threading
import time
from pathlib import Path

import uvicorn

from airweave_webhooks import Delivery, Inbox, Inline, Receiver, SQLiteStore
from failure.backends import DJANGO, make_store
from failure.crashes import deadly_app, die_at, prepare
from failure.ledger import Ledger

if "EFFECTS" in os.environ:  # takes as long as the rest, and the other processes have no use for it
    from sqlalchemy import text
    from sqlalchemy.ext.asyncio import AsyncSession, create_async_engine

    from airweave_webhooks.integrations.sqlalchemy import once

SETTINGS = {
    "LEASE": 0.5,
    "SHUTDOWN_GRACE": 10.0,
    "WORK": 0.01,
    "CONCURRENCY": 8,
    "MAX_ATTEMPTS": 20,
    "PATIENCE": 5.0,
    "MOST_BYTES": 0,
}
"""What the environment can set. `WORK` is the seconds that a handler takes on each side of its effect, `MOST_BYTES`
the length that no file may pass (0: any) until the process gets SIGUSR1."""

_set = {name: float(os.environ.get(name, default)) for name, default in SETTINGS.items()}
_role = sys.argv[1]
_work = _set["WORK"]
_gate = os.environ.get("GATE")
_ledger = Ledger(Path(os.environ["LEDGER"]))
_store = make_store(os.environ["STORE"], os.environ["NAMESPACE"])
if isinstance(_store, SQLiteStore):
    _store = SQLiteStore(_store.path, patience=_set["PATIENCE"])
prepare(_store, _ledger)

_inbox = Inbox(
    worker=_role == "both",
    lease=_set["LEASE"],
    shutdown_grace=_set["SHUTDOWN_GRACE"],
    concurrency=int(_set["CONCURRENCY"]),
    max_attempts=int(_set["MAX_ATTEMPTS"]),
    first_pause=0.05,
    longest_pause=0.2,
    poll=0.05,
)
receiver = Receiver(store=_store, mode=Inline(lease=_set["LEASE"]) if _role == "inline" else _inbox)

if os.environ["STORE"].startswith(DJANGO):
    from failure.django_counting import counting

    receiver.include(counting(os.environ["NAMESPACE"], _ledger))


@receiver.on("sync.completed", source_type="awaiting")
async def awaiting(delivery: Delivery) -> None:
    """Leave room for a kill on both sides of the effect."""
    _ledger.write("start", delivery.id)
    await asyncio.sleep(_work)
    _ledger.write("effect", delivery.id)
    die_at("after effect")
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


@receiver.on("sync.completed", source_type="quick")
async def quick(delivery: Delivery) -> None:
    """Take no time at all."""
    _ledger.write("effect", delivery.id)


@receiver.on("sync.completed", source_type="counted")
async def counted(delivery: Delivery) -> None:
    """Count itself in a database, exactly once."""
    _ledger.write("start", delivery.id)
    engine = create_async_engine(os.environ["EFFECTS"])
    async with AsyncSession(engine) as session, session.begin():
        if await once(delivery, session):
            await session.execute(text("INSERT INTO effects VALUES (:id, 'effect')"), {"id": delivery.id})
            die_at("before commit")
    die_at("after commit")
    await engine.dispose()
    _ledger.write("done", delivery.id)


if _role != "inline":  # which keeps no order

    @receiver.on("sync.*", order_by="sync_job_id", source_type="ordered")
    async def ordered(delivery: Delivery) -> None:
        """Take a random time, one at a time of a job."""
        _ledger.write("start", delivery.id)
        await asyncio.sleep(random.uniform(0, 2 * _work))
        _ledger.write("effect", delivery.id)
        await asyncio.sleep(random.uniform(0, 2 * _work))
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


@receiver.on("sync.completed", source_type="poison")
async def poison(delivery: Delivery) -> None:
    """Fail always."""
    _ledger.write("start", delivery.id)
    raise ZeroDivisionError("always")


@receiver.on("sync.completed", source_type="sluggish")
async def sluggish(delivery: Delivery) -> None:
    """Block the whole event loop for several leases."""
    _ledger.write("start", delivery.id)
    time.sleep(3 * _set["LEASE"])
    _ledger.write("effect", delivery.id)


@receiver.on("sync.completed", source_type="killer")
async def killer(delivery: Delivery) -> None:
    """End the process from outside, as the kernel does when memory is short."""
    _ledger.write("start", delivery.id)
    os.kill(os.getpid(), signal.SIGKILL)


@receiver.on("sync.completed", source_type="quitter")
def quitter(delivery: Delivery) -> None:
    """End the process from inside, as a crash in a library does."""
    _ledger.write("start", delivery.id)
    os._exit(3)


def limit_files() -> None:
    """Let writes fail beyond a length, until a signal lifts the limit."""
    _, hard = resource.getrlimit(resource.RLIMIT_FSIZE)

    def lift(*_: object) -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (hard, hard))

    # Python ignores the signal of a write that is too long, so that it fails with an error.
    signal.signal(signal.SIGUSR1, lift)
    resource.setrlimit(resource.RLIMIT_FSIZE, (int(_set["MOST_BYTES"]), hard))


async def work() -> None:
    """Work until SIGTERM."""
    stop = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stop.set)
    await receiver.work(stop=stop)


def serve() -> None:
    """Serve until SIGTERM."""
    # The server raises the signal that ended it once more; unhandled, that would end the process in any case.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    with socket.socket() as listener, contextlib.suppress(KeyboardInterrupt):
        # The test keeps the port bound, and so reserved, while no server listens on it.
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        listener.bind(("127.0.0.1", int(os.environ["PORT"])))
        app = deadly_app(receiver)
        config = uvicorn.Config(app, lifespan="on", ws="none", access_log=False, log_level="warning")
        uvicorn.Server(config).run(sockets=[listener])


if __name__ == "__main__":
    if _set["MOST_BYTES"]:
        limit_files()
    if _role == "worker":
        asyncio.run(work())
    else:
        serve()
