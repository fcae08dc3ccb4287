"""The command `airweave-webhooks` as a process of its own, in a folder with an application and its store."""

import asyncio
import contextlib
import json
import os
import pty
import select
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from airweave_webhooks import SQLiteStore
from conftest import SECRET
from inbox_records import Filler

COMMAND = Path(sys.executable).with_name("airweave-webhooks")

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


class Shop:
    """A folder with an application and its store."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.running = folder / "running"  # where commands say that they run: not where those of the user do
        self.running.mkdir(mode=0o700)
        self.store = SQLiteStore(folder / "shop.db")
        self.write("shop.py", APP)

    def write(self, name: str, text: str) -> None:
        (self.folder / name).write_text(text)

    def fill(self, what: str, *arguments: Any, **changed: Any) -> None:
        async def run() -> None:
            await self.store.open()
            await getattr(Filler(self.store), what)(*arguments, **changed)
            await self.store.close()

        asyncio.run(run())

    def start(self, *arguments: str, stdin: int = subprocess.DEVNULL, **environment: str) -> "subprocess.Popen[str]":
        return subprocess.Popen(
            [str(COMMAND), *arguments],
            cwd=self.folder,
            env={**os.environ, "XDG_RUNTIME_DIR": str(self.running), **environment},
            stdin=stdin,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def run(self, *arguments: str, text: str = "", **environment: str) -> "subprocess.CompletedProcess[str]":
        """Run a command to its end, with `text` as its stdin."""
        process = self.start(*arguments, stdin=subprocess.PIPE if text else subprocess.DEVNULL, **environment)
        out, err = process.communicate(text or None, timeout=60)
        return subprocess.CompletedProcess(arguments, process.returncode, out, err)

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


def on_a_terminal(shop: Shop, answer: str, *arguments: str) -> tuple[int, str]:
    """Run a command on a terminal of its own, and answer what it asks; `^C` interrupts it.

    Returns:
        The exit code, and what was on the terminal.
    """
    ours, theirs = pty.openpty()
    process = subprocess.Popen(
        [str(COMMAND), *arguments],
        cwd=shop.folder,
        env={**os.environ, "XDG_RUNTIME_DIR": str(shop.running), "TERM": "xterm", "COLUMNS": "80"},
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
