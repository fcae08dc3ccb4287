"""The load: distinct requests, signed beforehand, and sent by wrk."""

import base64
import hmac
import json
import shutil
import subprocess
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Final, NamedTuple

from benchmark.apps import PATH

KEY: Final = bytes(range(32))
SECRET: Final = "whsec_" + base64.b64encode(KEY).decode()
CONNECTIONS: Final = 32
TOLERANCE: Final = 300  # seconds that a signature stays fresh
RATE: Final = 40_000  # requests per second to be ready for, at first

_BODY: Final = (
    b'{"event_type":"sync.completed","timestamp":"2026-04-14T09:26:53.589793Z",'
    b'"organization_id":"5f0c2c5e-6f0b-4f0e-9d3b-1c5d8a7e4b21","sync_id":"0b8f3f52-94a7-4d0c-8f6e-2a9d5c7b1e30",'
    b'"sync_job_id":"%08x-7d41-4c6a-b1f2-93e8a0d5c764","collection_id":"c3a9e7d1-58b2-4f64-a0c7-6e1f9b3d2850",'
    b'"source_connection_id":"e6d4b2a0-1f3e-4c5d-9b7a-8c6e4f2d0b19","source_type":"github",'
    b'"collection_name":"Engineering","collection_readable_id":"engineering-x7k2p9","entities_inserted":128,'
    b'"entities_updated":16,"entities_deleted":2,"entities_skipped":1024,"chunks_written":512,"error":null}'
)
_REQUEST: Final = (
    b"POST %s HTTP/1.1\r\nhost: 127.0.0.1\r\nuser-agent: Svix-Webhooks/1.100.0\r\naccept: */*\r\n"
    b"content-type: application/json\r\ncontent-length: %d\r\n"
    b"svix-id: %s\r\nsvix-timestamp: %s\r\nsvix-signature: v1,%s\r\n\r\n%s"
)


class BenchError(Exception):
    """The run means nothing: a contender refused a request, or did not start."""


class Cores(NamedTuple):
    """Where the two processes are pinned, if there is more than one core."""

    server: int | None
    wrk: int | None


class PoolDryError(BenchError):
    """A contender is faster than was thought."""


@dataclass(frozen=True, slots=True)
class Pool:
    """A file of signed requests, all of one size in bytes."""

    file: Path
    size: int
    count: int

    def first(self) -> bytes:
        with self.file.open("rb") as file:
            return file.read(self.size)


@dataclass(frozen=True, slots=True)
class Load:
    """What wrk saw."""

    requests: int
    seconds: float
    p50_ms: float
    p99_ms: float


def body(number: int) -> bytes:
    """An event of its own, of some 600 bytes."""
    return _BODY % number


def signed(number: int, timestamp: bytes) -> bytes:
    """Build one whole HTTP request: an id, a job and so a body and a signature of its own."""
    message_id = b"msg_2r%025d" % number
    event = body(number)
    signature = base64.b64encode(hmac.digest(KEY, b"%s.%s.%s" % (message_id, timestamp, event), "sha256"))
    return _REQUEST % (PATH.encode(), len(event), message_id, timestamp, signature, event)


def fill(file: Path, count: int) -> Pool:
    """Sign a round's requests. Contenders share them: each is a fresh server that has seen none."""
    timestamp = b"%d" % time.time()
    with file.open("wb") as out:
        out.writelines(signed(number, timestamp) for number in range(count))
    return Pool(file, file.stat().st_size // count, count)


def pinned(core: int | None, *command: str) -> list[str]:
    return list(command) if core is None else ["taskset", "--cpu-list", str(core), *command]


def require_tools(cores: Cores) -> None:
    if shutil.which("wrk") is None:
        raise BenchError("wrk sends the load and is missing: apt-get install wrk")
    if cores.server is not None and shutil.which("taskset") is None:
        raise BenchError("taskset pins the processes and is missing: apt-get install util-linux")


def send(pool: Pool, first: int, end: int, *, port: int, seconds: int, cores: Cores) -> Load:
    """Send requests from `first` on, before `end`, for so many seconds; each has to be new, and successful.

    Raises:
        PoolDryError: all were sent before the time was over.
        BenchError: wrk failed, an answer was neither `processed` nor `accepted`, or a connection broke.
    """
    script = str(Path(__file__).with_name("distinct.lua"))
    wrk = ["wrk", "-t1", f"-c{CONNECTIONS}", f"-d{seconds}s", "-s", script, f"http://127.0.0.1:{port}{PATH}"]
    arguments = ["--", str(pool.file), str(pool.size), str(first), str(end - first)]
    ended = subprocess.run(
        pinned(cores.wrk, *wrk, *arguments), capture_output=True, text=True, timeout=seconds + 30, check=False
    )
    try:
        seen = json.loads(ended.stdout.splitlines()[-1])
    except (IndexError, ValueError) as error:
        raise BenchError(f"wrk gave no result: {ended.stdout}{ended.stderr}") from error
    if seen["refused"] or seen["socket_errors"]:
        raise BenchError(
            f"{seen['refused']} of {seen['requests']} answers were neither `processed` nor `accepted` (the first: "
            f"{seen['first_refused'] or 'none'}), and there were {seen['socket_errors']} socket errors"
        )
    if seen["exhausted"]:
        raise PoolDryError(f"all of {end - first} requests were sent in less than {seconds} s")
    return Load(seen["requests"], seen["seconds"], seen["p50_ms"], seen["p99_ms"])
