"""A real MariaDB for tests: its programs from wherever they are, or the server that an environment variable names.

Its defaults are the ones of old: texts in latin1, compared without case. Whoever needs others must say so.
"""

import contextlib
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
from urllib.parse import unquote, urlsplit

import pymysql
import pytest

from servers.mariadb_programs import Programs, find_programs

VARIABLE: Final = "AIRWEAVE_WEBHOOKS_TEST_MARIADB"
USER: Final = "tests"
PASSWORD: Final = "geheim/&?%"
START_WITHIN: Final = 60.0
"""Seconds."""
# A server that lives for one run of the tests, on few and slow cores.
SETTINGS: Final = (
    "--skip-name-resolve",
    "--bind-address=127.0.0.1",
    "--max-connections=60",
    "--innodb-buffer-pool-size=64M",
    "--innodb-log-file-size=16M",
    "--performance-schema=OFF",
    "--default-time-zone=+05:45",  # nobody may rely on UTC
    "--character-set-server=latin1",
    "--collation-server=latin1_swedish_ci",
)
_ACCOUNT: Final = (
    f"CREATE OR REPLACE USER '{USER}'@'%' IDENTIFIED BY '{PASSWORD}';\n"
    f"GRANT ALL PRIVILEGES ON *.* TO '{USER}'@'%' WITH GRANT OPTION;\n"
)


class MariaDBServer:
    """A server of our own on a port of the loopback, with its data in `folder`. Logins need a password."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._process: subprocess.Popen[bytes] | None = None
        self._programs = find_programs()
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port: int = free.getsockname()[1]
        (folder / "data").mkdir()
        (folder / "account.sql").write_text(_ACCOUNT)
        self._make_its_tables(self._programs)

    def _make_its_tables(self, programs: Programs) -> None:
        """As `mariadb-install-db` does, which needs programs of the client's packages."""
        script = "CREATE DATABASE mysql;\nUSE mysql;\nSET @auth_root_socket = NULL;\n"  # one a line
        for part in ("system_tables", "performance_tables", "system_tables_data"):
            names = [programs.share / f"{prefix}_{part}.sql" for prefix in ("mariadb", "mysql")]
            script += next(name for name in names if name.exists()).read_text()
        done = subprocess.run(
            [*self._command(), "--bootstrap", "--skip-networking", "--max-allowed-packet=16M"],
            input=script,
            env=programs.environment(),
            capture_output=True,
            text=True,
            check=False,
            timeout=120,
        )
        assert done.returncode == 0, done.stdout + done.stderr

    def _command(self) -> list[str]:
        folder = self._folder
        return [
            str(self._programs.mariadbd),
            "--no-defaults",
            f"--basedir={self._programs.mariadbd.parents[1]}",
            f"--lc-messages-dir={self._programs.share}",
            f"--datadir={folder / 'data'}",
            f"--socket={folder / 'socket'}",
            f"--pid-file={folder / 'pid'}",
            *(["--user=root"] if os.geteuid() == 0 else []),
            *SETTINGS,
        ]

    @property
    def address(self) -> dict[str, Any]:
        """Where it is, and who may do all."""
        return {"host": "127.0.0.1", "port": self.port, "user": USER, "password": PASSWORD}

    def start(self) -> None:
        """Start, on the same port and data each time, and wait until it answers."""
        command = [*self._command(), f"--port={self.port}", f"--init-file={self._folder / 'account.sql'}"]
        with (self._folder / "log").open("ab") as log:
            self._process = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
                env=self._programs.environment(),
            )
        give_up = time.monotonic() + START_WITHIN
        while True:
            try:
                pymysql.connect(**self.address, connect_timeout=5).close()
            except pymysql.OperationalError:
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
        self._end(signal.SIGTERM)

    def kill(self) -> None:
        """Kill at once: as a power cut does, but for the disk."""
        self._end(signal.SIGKILL)

    def freeze(self) -> None:
        """Let it neither answer nor end."""
        assert self._process is not None
        self._process.send_signal(signal.SIGSTOP)

    def thaw(self) -> None:
        """Let it go on."""
        if self._process is not None:
            self._process.send_signal(signal.SIGCONT)

    def _end(self, number: signal.Signals) -> None:
        if self._process is not None:
            self._process.send_signal(number)
            self._process.wait(60)
            self._process = None


@pytest.fixture(scope="session")
def mariadb_server() -> Iterator[MariaDBServer]:
    """A running server of our own, for tests that put up with each other."""
    yield from _running()


@pytest.fixture
def fragile_mariadb() -> Iterator[MariaDBServer]:
    """A running server that the test may stop, kill and freeze."""
    yield from _running()


@pytest.fixture(scope="session")
def mariadb_address(request: pytest.FixtureRequest) -> dict[str, Any]:
    """Host, port, user and password, of a server of our own or of the one that the environment variable names."""
    named = os.environ.get(VARIABLE)
    if named:
        parts = urlsplit(named)
        return {
            "host": parts.hostname,
            "port": parts.port or 3306,
            "user": unquote(parts.username or ""),
            "password": unquote(parts.password or ""),
        }
    server: MariaDBServer = request.getfixturevalue("mariadb_server")
    return server.address


def _running() -> Iterator[MariaDBServer]:
    folder = Path(tempfile.mkdtemp(prefix="airweave-mariadb-"))  # short: a socket's path may not be long
    try:
        server = MariaDBServer(folder)
        try:
            server.start()
            yield server
        finally:
            with contextlib.suppress(ProcessLookupError):
                server.thaw()
                server.stop()
    finally:
        shutil.rmtree(folder)
