"""One contender's server: started, proven ready, its CPU time read, and ended again."""

import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from benchmark.apps import SECRET_VARIABLE
from benchmark.load import SECRET, BenchError, Cores, Pool, PoolDryError, pinned

START: Final = 20  # seconds for the first answer
STOP: Final = 10  # seconds from SIGTERM to SIGKILL

_TICKS: Final = os.sysconf("SC_CLK_TCK")


@dataclass(frozen=True, slots=True)
class Server:
    pid: int
    port: int

    def cpu_seconds(self) -> float:
        """User and system time of all the process' threads so far."""
        # The second field, the command, may hold spaces; what follows its parenthesis starts at field 3.
        fields = Path(f"/proc/{self.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[14 - 3]) + int(fields[15 - 3])) / _TICKS


@contextmanager
def served(name: str, pool: Pool, directory: Path, cores: Cores, databases: Mapping[str, str]) -> Iterator[Server]:
    """Serve a contender from a fresh process until the block ends; the pool's first request proves it ready.

    The socket listens before the process exists: no port to guess, no polling, a connection just waits.
    """
    log = directory / "server.log"
    with socket.create_server(("127.0.0.1", 0)) as listener, log.open("wb") as output:
        port: int = listener.getsockname()[1]
        process = subprocess.Popen(
            pinned(cores.server, sys.executable, "-m", "benchmark.apps", name, str(listener.fileno())),
            pass_fds=[listener.fileno()],
            cwd=directory,
            env={**os.environ, **databases, "BENCH_NAMESPACE": f"bench_{time.time_ns()}", SECRET_VARIABLE: SECRET},
            stdout=output,
            stderr=subprocess.STDOUT,
        )
    try:
        _prove_ready(port, pool.first())
        yield Server(process.pid, port)
    except PoolDryError:
        raise
    except (BenchError, OSError) as error:
        raise BenchError(f"{name}: {error}\n{log.read_text(errors='replace')[-4000:]}") from error
    finally:
        _end(process)


def _prove_ready(port: int, request: bytes) -> None:
    with socket.create_connection(("127.0.0.1", port), timeout=START) as connection:
        connection.sendall(request)
        answer = connection.recv(65536)
    if not answer.startswith(b"HTTP/1.1 200 "):
        raise BenchError(f"the first request was answered {answer[:300]!r}")


def _end(process: subprocess.Popen[bytes]) -> None:
    process.terminate()
    try:
        process.wait(STOP)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
