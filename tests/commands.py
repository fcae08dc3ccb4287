"""The command `airweave-webhooks` as a process of its own, in a folder with an application and its store."""

import asyncio
import contextlib
import json
import os
import pty
import queue
import re
import select
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any

import pytest

from airweave_webhooks import SQLiteStore
from conftest import SECRET
from inbox_records import Filler

COMMAND = Path(sys.executable).with_name("airweave-webhooks")
PATIENCE = 30.0


class Folder:
    """A folder that commands run in; what they announce to each other stays in it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def write(self, name: str, text: str) -> None:
        (self.folder / name).write_text(text)

    def environment(self, **changed: str) -> dict[str, str]:
        return {**os.environ, "XDG_RUNTIME_DIR": str(self.folder / "run"), **changed}

    def start(self, *arguments: str, stdin: int = subprocess.DEVNULL, **environment: str) -> "subprocess.Popen[str]":
        return subprocess.Popen(
            [str(COMMAND), *arguments],
            cwd=self.folder,
            env=self.environment(**environment),
            stdin=stdin,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def run(self, *arguments: str, text: str = "", **environment: str) -> "subprocess.CompletedProcess[str]":
        """Run a command to its end, with `text` as its stdin."""
        stdin = subprocess.PIPE if text else subprocess.DEVNULL
        process = self.start(*arguments, stdin=stdin, **environment)
        out, err = process.communicate(text or None, timeout=60)
        return subprocess.CompletedProcess(arguments, process.returncode, out, err)

    def objects_of(self, *arguments: str, code: int = 0) -> list[dict[str, Any]]:
        """What a command prints as JSON, when it ends as it should."""
        done = self.run(*arguments, "--json")
        assert done.returncode == code, done.stderr
        return [json.loads(line) for line in done.stdout.splitlines()]

    @contextlib.contextmanager
    def serving(self, *arguments: str, **environment: str) -> "Iterator[Serving]":
        """A command that serves, until the block ends."""
        serving = Serving(self.start(*arguments, stdin=subprocess.DEVNULL, **environment))
        try:
            yield serving
        finally:
            serving.kill()

    def on_a_terminal(self, answer: str, *arguments: str, columns: int = 80) -> tuple[int, str]:
        """Run a command on a terminal of its own, and answer what it asks; `^C` interrupts it.

        Returns:
            The exit code, and what was on the terminal.
        """
        ours, theirs = pty.openpty()
        process = subprocess.Popen(
            [str(COMMAND), *arguments],
            cwd=self.folder,
            env=self.environment(TERM="xterm", COLUMNS=str(columns)),
            stdin=theirs,
            stdout=theirs,
            stderr=theirs,
        )
        os.close(theirs)
        shown = b""
        with contextlib.suppress(OSError):  # the end
            while chunk := os.read(ours, 4096):
                shown += chunk
                if b"[y/N]:" in shown and answer:
                    if answer != "^C":
                        os.write(ours, answer.encode() + b"\n")
                    else:
                        process.send_signal(signal.SIGINT)
                        while not select.select([ours], [], [], 1)[0]:  # it came between the question and the reading
                            process.send_signal(signal.SIGINT)
                    answer = ""
        os.close(ours)
        return process.wait(30), shown.decode()


class Serving:
    """A command that serves, and what it has printed so far."""

    def __init__(self, process: "subprocess.Popen[str]") -> None:
        self.process = process
        self.lines: list[str] = []
        self.errors: list[str] = []
        self._new: queue.Queue[str | None] = queue.Queue()
        assert process.stdout is not None
        assert process.stderr is not None
        self._readers = [
            threading.Thread(target=self._read_out, args=[process.stdout], daemon=True),
            threading.Thread(target=self._read_errors, args=[process.stderr], daemon=True),
        ]
        for reader in self._readers:
            reader.start()

    def _read_out(self, stream: IO[str]) -> None:
        for line in stream:
            self._new.put(line.rstrip("\n"))
        self._new.put(None)

    def _read_errors(self, stream: IO[str]) -> None:
        self.errors.extend(line.rstrip("\n") for line in stream)

    def line(self, pattern: str) -> str:
        """Wait for a line that has `pattern` in it, and return that; the lines before it are read with it."""
        until = time.monotonic() + PATIENCE
        while True:
            try:
                found = self._new.get(timeout=max(0.0, until - time.monotonic()))
            except queue.Empty:
                found = None
            assert found is not None, f"no line with {pattern!r}: {self.lines} {self.errors}"
            self.lines.append(found)
            if re.search(pattern, found):
                return found

    def event(self, kind: str) -> dict[str, Any]:
        """Wait for an object of this kind."""
        found: dict[str, Any] = json.loads(self.line(f'"kind": "{kind}"'))
        return found

    @property
    def url(self) -> str:
        """Where it serves; waits until it does."""
        found: str = self.event("started")["url"]
        return found

    def end(self, number: signal.Signals = signal.SIGINT) -> int:
        """Send a signal, and wait for the end."""
        self.process.send_signal(number)
        return self.ended()

    def ended(self) -> int:
        """Wait for the end, and read what is left."""
        code = self.process.wait(PATIENCE)
        for reader in self._readers:
            reader.join(PATIENCE)
        while not self._new.empty():
            if (line := self._new.get()) is not None:
                self.lines.append(line)
        return code

    def kill(self) -> None:
        """End it, if it has not ended; what it started ends with it."""
        self.process.kill()
        self.ended()
        assert self.process.stdout is not None
        assert self.process.stderr is not None
        self.process.stdout.close()
        self.process.stderr.close()


APP = f"""
from airweave_webhooks import Inbox, Receiver, SyncEvent

print("imported")
SECRET = "{SECRET}"
receiver = Receiver(name="shop", store="sqlite:///shop.db", secrets=SECRET, mode=Inbox(worker=False, first_pause=0.01))


@receiver.on("sync.*")
def refresh(event: SyncEvent) -> None:
    with open("effects", "a") as effects:
        effects.write(event.event_type + "\\n")


class Application:
    receiver = receiver


app = Application()
"""


class Shop(Folder):
    """A folder with an application and its store."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self.running = folder / "run"
        self.running.mkdir(mode=0o700)
        self.store = SQLiteStore(folder / "shop.db")
        self.write("shop.py", APP)

    def fill(self, what: str, *arguments: Any, **changed: Any) -> None:
        async def run() -> None:
            await self.store.open()
            await getattr(Filler(self.store), what)(*arguments, **changed)
            await self.store.close()

        asyncio.run(run())

    def deliveries(self, verb: str, *arguments: str, code: int = 0, **environment: str) -> str:
        """What a verb prints, when it ends as it should."""
        done = self.run("deliveries", verb, "shop:receiver", *arguments, **environment)
        assert done.returncode == code, done.stderr
        return done.stdout if code == 0 else done.stderr

    def objects(self, verb: str, *arguments: str) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self.deliveries(verb, *arguments, "--json").splitlines()]


@pytest.fixture
def shop(tmp_path: Path) -> Shop:
    return Shop(tmp_path)


@pytest.fixture
def filled(shop: Shop) -> Shop:
    shop.fill("one_of_each")
    return shop
