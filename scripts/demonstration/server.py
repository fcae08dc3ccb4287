"""The receiver's process: `serving` starts and ends it, and what is in it is `main`."""

import fcntl
import logging
import os
import signal
import socket
import subprocess
import sys
import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import httpx
import uvicorn

from demonstration.app import EFFECTS, PATH, app

START: Final = 30  # seconds for the first answer
STOP: Final = 15  # seconds from SIGTERM to SIGKILL

LOG: Final = "server.log"
EFFECTS_LOG: Final = "effects.log"
OURS: Final = ("demo.db", "demo.db-shm", "demo.db-wal", LOG, EFFECTS_LOG)


class DemoError(Exception):
    """The demo cannot run; the message says why."""


@dataclass(frozen=True, slots=True)
class Server:
    url: str
    folder: Path

    @property
    def log(self) -> str:
        """What the operator sees."""
        return (self.folder / LOG).read_text(errors="replace")

    def effects(self) -> Counter[tuple[str, str]]:
        """How often each handler ran to its end for each message id, as they wrote down themselves."""
        file = self.folder / EFFECTS_LOG
        lines = file.read_text().splitlines() if file.exists() else []
        return Counter((line.split()[0], line.split()[1]) for line in lines)

    def handlers(self, message_id: str) -> list[str]:
        """The handlers that ran to their end for a message."""
        return [handler for id_, handler in self.effects().elements() if id_ == message_id]


@contextmanager
def serving(folder: Path, secret: str) -> Iterator[Server]:
    """Serve from a fresh store in `folder`, on a free port, until the block ends.

    The socket listens before the process exists: no port to guess, no polling, a connection just waits.

    Raises:
        DemoError: another demo uses the folder, or the server does not start.
    """
    folder.mkdir(parents=True, exist_ok=True)
    lock = os.open(folder, os.O_RDONLY)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        os.close(lock)
        raise DemoError(f"another demo is running on {folder}: end it first") from None
    for name in OURS:
        (folder / name).unlink(missing_ok=True)
    with socket.create_server(("127.0.0.1", 0)) as listener, (folder / LOG).open("wb") as log:
        port: int = listener.getsockname()[1]
        process = subprocess.Popen(
            [sys.executable, "-m", "demonstration.server", str(listener.fileno())],
            pass_fds=[listener.fileno()],
            cwd=folder,
            env={**os.environ, "AIRWEAVE_WEBHOOK_SECRET": secret, "PYTHONPATH": str(Path(__file__).parents[1])},
            stdin=subprocess.PIPE,
            stdout=log,
            stderr=log,
            process_group=0,  # a terminal's Ctrl-C is for us, and we end the server
        )
    try:
        server = Server(f"http://127.0.0.1:{port}{PATH}", folder)
        try:
            httpx.get(server.url, timeout=START, trust_env=False)
        except httpx.TransportError as error:
            raise DemoError(f"the server does not answer ({error!r}); its log:\n{server.log}") from None
        yield server
    finally:
        _end(process)
        os.close(lock)


def _end(process: "subprocess.Popen[bytes]") -> None:
    process.terminate()
    try:
        process.wait(STOP)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
    assert process.stdin is not None
    process.stdin.close()


def main() -> int:
    """Serve on the listening socket that was passed on, until SIGTERM or until the demo is gone."""
    logging.basicConfig(level=logging.WARNING, format="%(asctime)s %(levelname)s %(message)s", datefmt="%H:%M:%S")
    effects = logging.getLogger(EFFECTS)
    effects.setLevel(logging.INFO)
    effects.propagate = False
    effects.addHandler(logging.FileHandler(EFFECTS_LOG))
    threading.Thread(target=_end_with_the_demo, daemon=True).start()
    server = uvicorn.Server(uvicorn.Config(app, lifespan="on", access_log=False, log_config=None))
    server.run(sockets=[socket.socket(fileno=int(sys.argv[1]))])
    return 0 if server.started else 1


def _end_with_the_demo() -> None:
    """Standard input is a pipe from the demo: it ends when the demo does, even by a SIGKILL."""
    os.read(0, 1)
    os.kill(os.getpid(), signal.SIGTERM)


if __name__ == "__main__":
    sys.exit(main())
