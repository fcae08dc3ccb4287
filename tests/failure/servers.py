"""Real servers in processes of their own, on one database: started, proven ready, stopped, killed."""

import asyncio
import itertools
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from airweave_webhooks.signing import generate_secret
from airweave_webhooks.stores.base import Key, Record
from airweave_webhooks.testing import Attempt, Message, Sender
from airweave_webhooks.testing.payloads import payload
from failure.backends import Backend
from failure.ledger import Ledger

ENVIRONMENT = {
    **os.environ,
    "PYTHONPATH": os.pathsep.join(filter(None, [str(Path(__file__).parents[1]), os.environ.get("PYTHONPATH")])),
}
"""For processes that import from this package."""
SECRET = generate_secret()
START = 30.0
"""Seconds for a server to answer its first probe."""


async def until(condition: Callable[[], object], what: str, seconds: float = 30.0) -> None:
    """Wait for something that another process does."""
    give_up = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < give_up, f"not within {seconds:g} s: {what}"
        await asyncio.sleep(0.01)


class Port:
    """A port that stays reserved while no server listens on it: nobody else gets it, and connections are refused."""

    def __init__(self) -> None:
        self._socket = socket.socket()
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        self._socket.bind(("127.0.0.1", 0))
        self.number: int = self._socket.getsockname()[1]

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.number}/webhooks/airweave"

    def close(self) -> None:
        self._socket.close()


class Process:
    """One process of the tests' own."""

    def __init__(self, command: Sequence[str], log: Path, environment: Mapping[str, str]) -> None:
        self._log = log
        self.started = time.monotonic()
        with log.open("wb") as output:
            self._process = subprocess.Popen(
                [sys.executable, "-m", *command],
                env={**ENVIRONMENT, **environment},
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
            )
        self.pid = self._process.pid

    def log(self) -> str:
        return self._log.read_text(errors="replace")

    def stop(self) -> None:
        """Stop it where it is: none of its threads runs on."""
        os.kill(self.pid, signal.SIGSTOP)
        _, status = os.waitpid(self.pid, os.WUNTRACED)
        assert os.WIFSTOPPED(status)

    def go_on(self) -> None:
        os.kill(self.pid, signal.SIGCONT)

    def kill(self) -> float:
        """End it with SIGKILL, and return when it was surely dead."""
        self._process.kill()
        assert self._process.wait(10) == -signal.SIGKILL, self.log()
        return time.monotonic()

    def terminate(self) -> None:
        """Ask it to end, as a deployment does."""
        self._process.terminate()

    async def ended(self, seconds: float) -> int:
        """Wait until the process is gone, and return its exit code."""
        await until(lambda: self._process.poll() is not None, "the process has ended", seconds)
        return self._process.wait()

    def put_down(self) -> None:
        """Make sure that it is gone."""
        if self._process.poll() is None:
            self._process.kill()
            self._process.wait(10)

    def peak_memory(self) -> int:
        """The most bytes that it has had in memory. Linux only."""
        status = Path(f"/proc/{self.pid}/status").read_text()
        (line,) = [line for line in status.splitlines() if line.startswith("VmHWM:")]
        return int(line.split()[1]) * 1024

    def processor_time(self) -> float:
        """Seconds that it has kept a processor busy for. Linux only."""
        fields = Path(f"/proc/{self.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    @property
    def exit_code(self) -> int | None:
        """None while it runs."""
        return self._process.poll()


class Server(Process):
    """One server process."""

    def __init__(self, port: Port, log: Path, environment: Mapping[str, str], command: Sequence[str] = ()) -> None:
        self.port = port
        command = command or ["failure.skewed" if "CLOCK" in environment else "failure.app"]
        super().__init__(command, log, {**environment, "PORT": str(port.number)})

    async def ready(self) -> None:
        """Wait until it answers a probe."""
        give_up = time.monotonic() + START
        while not (answer := await self._probe()):
            assert self._process.poll() is None, f"the server did not start:\n{self.log()}"
            assert time.monotonic() < give_up, f"the server is not ready:\n{self.log()}"
            await asyncio.sleep(0.01)
        assert answer.split()[1] == b"200", answer

    async def _probe(self) -> bytes:
        """Ask as a balancer does, with so little that it keeps nobody from starting; empty while nobody answers."""
        try:
            async with asyncio.timeout(5):
                reader, writer = await asyncio.open_connection("127.0.0.1", self.port.number)
                try:
                    writer.write(b"HEAD /webhooks/airweave HTTP/1.1\r\nHost: test\r\nConnection: close\r\n\r\n")
                    return await reader.readline()
                finally:
                    writer.transport.abort()
        except (OSError, TimeoutError):
            return b""


class Answered(NamedTuple):
    """One answer, or the lack of one, as the sender saw it."""

    at: float
    """When it was there, by `time.monotonic`."""
    port: int
    attempt: Attempt


class LoggingSender(Sender):
    """Logs every answer with its time, and bounds what is in flight over all calls."""

    def __init__(self, port: Port, log: list[Answered], concurrency: int, **options: Any) -> None:
        super().__init__(port.url, secrets=SECRET, **options)
        self._port = port.number
        self._log = log
        self._slots = asyncio.Semaphore(concurrency)
        self.in_flight = 0

    async def attempt(self, message: Message, **options: Any) -> Attempt:
        async with self._slots:
            self.in_flight += 1
            try:
                attempt = await super().attempt(message, **options)
            finally:
                self.in_flight -= 1
        self._log.append(Answered(time.monotonic(), self._port, attempt))
        return attempt


class Site:
    """What the servers of one test share, and the test's own logs."""

    def __init__(self, directory: Path, backend: Backend) -> None:
        self._directory = directory
        self.backend = backend
        self._ports: list[Port] = []
        self._processes: list[Process] = []
        self._numbers = itertools.count(1)
        self.ledger = Ledger(directory / "ledger")
        self.answers: list[Answered] = []

    def port(self) -> Port:
        self._ports.append(Port())
        return self._ports[-1]

    async def serve(self, port: Port | None = None, **settings: object) -> Server:
        """Start a server, and wait until it is ready.

        Args:
            port: where, so that it can take the place of one that is gone.
            settings: for the application's environment.
        """
        server = Server(port or self.port(), self._new_log(), self._environment(settings))
        self._processes.append(server)
        await server.ready()
        return server

    def _new_log(self) -> Path:
        return self._directory / f"process-{next(self._numbers)}.log"

    def _environment(self, settings: Mapping[str, object]) -> dict[str, str]:
        return {
            "AIRWEAVE_WEBHOOK_SECRET": SECRET,
            **self.backend.environment,
            "LEDGER": str(self._directory / "ledger"),
            **{name.upper(): str(value) for name, value in settings.items()},
        }

    def sender(self, to: Server | Port, *, concurrency: int = 1000, **options: Any) -> LoggingSender:
        port = to.port if isinstance(to, Server) else to
        return LoggingSender(port, self.answers, concurrency, **options)

    def answered(self, message_id: str) -> list[Answered]:
        """The answers to one message, in the order in which they came."""
        return [answered for answered in self.answers if answered.attempt.message_id == message_id]

    def acknowledged(self) -> dict[str, float]:
        """When each message was first answered with 2xx."""
        first: dict[str, float] = {}
        for at, _, attempt in self.answers:
            if attempt.succeeded:
                first.setdefault(attempt.message_id, at)
        return first

    async def records(self, ids: Sequence[str]) -> list[Record]:
        """What the store knows of messages that it must know."""
        async with self.backend.opened() as store:
            found = [record for record in await store.get(keys_of(ids)) if record is not None]
        assert [record.key.key for record in found] == list(ids)
        return found

    async def record(self, message_id: str) -> Record:
        """What the store knows of one message."""
        (record,) = await self.records([message_id])
        return record

    def close(self) -> None:
        for process in self._processes:
            process.put_down()
            print(f"--- process {process.pid}\n{process.log()[-2000:]}")  # noqa: T201 - shown when the test fails
        for port in self._ports:
            port.close()
        self.ledger.close()


def keys_of(ids: Iterable[str]) -> list[Key]:
    """Under which keys the application keeps its deliveries."""
    return [Key("default", "", message_id) for message_id in ids]


def body(kind: str) -> bytes:
    """A `sync.completed` for the handler of that name."""
    return payload("sync.completed").replace(b'"source_type":"github"', b'"source_type":"%b"' % kind.encode())
