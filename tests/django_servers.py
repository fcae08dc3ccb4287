"""Django projects under real servers, in processes of their own."""

import contextlib
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import httpx

from conftest import SECRET

PATIENCE = 60.0
# On a loaded machine a client would send on a connection that the server is just about to close.
KEPT = {"gunicorn": ["--keep-alive=60"], "uvicorn": ["--timeout-keep-alive=60"]}
RUNNING = re.compile(r"(?:running on|Listening at:|development server at) (http://[\d.:]+\d)")


class Project:
    """A project, as its folder and the module of its settings say.

    Args:
        folder: where its modules are.
        settings: the module of its settings.
        work: where it is run, and where its log and its files go.
        environment: what else its processes get.
    """

    def __init__(self, folder: Path, settings: str, work: Path, **environment: str) -> None:
        self.folder, self.work = folder, work
        self.environment = {
            **os.environ,
            "AIRWEAVE_WEBHOOK_SECRET": SECRET,
            "DJANGO_SETTINGS_MODULE": settings,
            "FOLDER": str(work),
            "PYTHONPATH": os.pathsep.join([str(folder), *filter(None, [os.environ.get("PYTHONPATH")])]),
            "PYTHONUNBUFFERED": "1",
            **environment,
        }
        self._package = settings.rpartition(".")[0]

    def manage(self, *arguments: str, code: int = 0) -> str:
        """Run a command of Django's to its end, and return what it prints."""
        done = subprocess.run(
            [sys.executable, "-m", "django", *arguments],
            cwd=self.work,
            env=self.environment,
            capture_output=True,
            text=True,
            timeout=PATIENCE,
            check=False,
        )
        assert done.returncode == code, done.stdout + done.stderr
        return done.stdout + done.stderr

    def command(self, server: str, *options: str) -> list[str]:
        match server:
            case "gunicorn":
                fixed = ["--bind=127.0.0.1:0", "--no-control-socket", *KEPT["gunicorn"]]
                return ["gunicorn", f"{self._package}.wsgi", *fixed, *options]
            case "uvicorn":
                return [
                    "uvicorn",
                    f"{self._package}.asgi:application",
                    "--port=0",
                    "--lifespan=off",
                    *KEPT["uvicorn"],
                    *options,
                ]
            case _:
                return ["django", "runserver", "127.0.0.1:0", "--noreload", *options]

    @contextlib.contextmanager
    def served(self, server: str, *options: str) -> Iterator["Served"]:
        """Serve it by `gunicorn`, `uvicorn` or `runserver` until the block ends."""
        path = self.work / "log"
        with path.open("wb") as log:
            process = subprocess.Popen(
                [sys.executable, "-m", *self.command(server, *options)],
                cwd=self.work,
                env=self.environment,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
            )
        served = Served(process, path)
        try:
            served.start()
            yield served
        finally:
            served.end()


class Served:
    """A server that runs."""

    def __init__(self, process: "subprocess.Popen[bytes]", log: Path) -> None:
        self.process = process
        self._log = log
        self.url = ""

    def start(self) -> None:
        """Wait until it listens."""
        give_up = time.monotonic() + PATIENCE
        while not (match := RUNNING.search(self.log)):
            assert self.process.poll() is None, self.log
            assert time.monotonic() < give_up, self.log
            time.sleep(0.05)
        self.url = match[1]

    @property
    def log(self) -> str:
        """What it has printed so far."""
        return self._log.read_text(errors="replace")

    @property
    def port(self) -> int:
        return int(self.url.rpartition(":")[2])

    def client(self) -> httpx.AsyncClient:
        return httpx.AsyncClient(base_url=self.url, trust_env=False, timeout=30)

    def end(self) -> None:
        """End it as a supervisor does."""
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
            try:
                self.process.wait(30)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait(10)
                raise
