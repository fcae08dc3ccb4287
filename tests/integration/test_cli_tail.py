"""`airweave-webhooks deliveries tail`, as a process of its own that follows a store while others write to it."""

import contextlib
import json
import os
import pty
import queue
import re
import signal
import subprocess
import threading
import time
from collections.abc import Iterator
from typing import Any

import pytest

from commands import COMMAND, Shop

LONGEST = 30.0
"""Seconds that a line may take, on a machine with much else to do."""


class Tail:
    """A process that follows, and the lines that it has printed."""

    def __init__(self, process: "subprocess.Popen[str]") -> None:
        self.process = process
        self._lines: queue.Queue[str] = queue.Queue()
        self._notes: queue.Queue[str] = queue.Queue()
        for stream, lines in ((process.stdout, self._lines), (process.stderr, self._notes)):
            threading.Thread(target=self._read, args=(stream, lines), daemon=True).start()
        while not self.note().startswith("following receiver"):
            pass

    @staticmethod
    def _read(stream: Any, lines: "queue.Queue[str]") -> None:
        for line in stream:
            lines.put(line.rstrip("\n"))

    def line(self) -> str:
        return self._lines.get(timeout=LONGEST)

    def note(self) -> str:
        return self._notes.get(timeout=LONGEST)

    def change(self) -> tuple[str, str]:
        """The next one: which delivery is in which state."""
        found = json.loads(self.line())
        return found["message_id"], found["state"]

    def end(self, number: signal.Signals = signal.SIGINT) -> int:
        self.process.send_signal(number)
        return self.process.wait(LONGEST)


@contextlib.contextmanager
def following(shop: Shop, *options: str) -> Iterator[Tail]:
    process = shop.start("deliveries", "tail", "shop:receiver", "--every", "0.05", *options)
    try:
        yield Tail(process)
    finally:
        process.kill()
        process.wait(LONGEST)
        for stream in (process.stdout, process.stderr):
            assert stream is not None
            stream.close()


def test_what_comes_and_what_is_settled(shop: Shop) -> None:
    """A line each, as it happens; Ctrl-C ends it with 130."""
    with following(shop, "--json") as tail:
        shop.fill("pending", "msg_1")
        assert tail.change() == ("msg_1", "pending")
        worker = shop.start("worker", "shop:receiver")
        try:
            while (change := tail.change()) != ("msg_1", "done"):
                assert change == ("msg_1", "leased")
        finally:
            worker.terminate()
            worker.communicate(timeout=LONGEST)
        shop.deliveries("replay", "msg_1", "--yes")
        assert tail.change() == ("msg_1", "pending")
        assert tail.end() == 130
        assert tail.note() == "airweave-webhooks: interrupted"


def test_the_latest_come_first(filled: Shop) -> None:
    """As many as are asked for; where there is no terminal, times are in UTC and nothing is cut."""
    with following(filled, "--last", "3") as tail:
        lines = [tail.line() for _ in range(3)]
    assert [line.split()[1:4] for line in lines] == [
        ["done", "msg_inline", "collection.created"],
        ["pending", "msg_pending", "sync.completed"],
        ["leased", "msg_leased", "sync.running"],
    ]
    for line in lines:
        assert re.match(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z ", line)


def test_only_what_is_asked_for(filled: Shop) -> None:
    with following(filled, "--json", "--state", "dead", "--type", "sync.*", "--last", "5") as tail:
        assert tail.change() == ("msg_dead", "dead")
        filled.fill("many", 1, event_type="collection.created", source_type="x")
        filled.fill("pending", "msg_pending2")
        filled.fill("many", 2, event_type="sync.failed")
        assert tail.change() == ("msg_00001", "dead")


def test_a_reader_that_goes_away(filled: Shop) -> None:
    """As `head` does: it ends, and says nothing of it."""
    read, write = os.pipe()
    process = subprocess.Popen(
        [str(COMMAND), "deliveries", "tail", "shop:receiver", "--every", "0.05", "--last", "1"],
        cwd=filled.folder,
        stdout=write,
        stderr=subprocess.PIPE,
        text=True,
    )
    os.close(write)
    assert os.read(read, 1)
    os.close(read)
    filled.fill("pending", "msg_new")
    _, err = process.communicate(timeout=LONGEST)
    assert process.returncode == 1
    assert "Traceback" not in err


@pytest.mark.parametrize("width", [80, 120])
def test_on_a_terminal(shop: Shop, width: int) -> None:
    """A line is as wide as it is, in colour, and with the time of day."""
    shop.fill("dead", "msg_2f8a6d0f5b3c4e7a9d1b2c3e4f5", error="\x1b[2J postgresql://me:hunter2@host/db " + "x" * 200)
    ours, theirs = pty.openpty()
    process = subprocess.Popen(
        [str(COMMAND), "deliveries", "tail", "shop:receiver"],
        cwd=shop.folder,
        env={**os.environ, "TERM": "xterm", "COLUMNS": str(width)},
        stdin=theirs,
        stdout=theirs,
        stderr=theirs,
    )
    os.close(theirs)
    shown = b""
    give_up = time.monotonic() + LONGEST
    while b"Ctrl-C ends it" not in shown and time.monotonic() < give_up:
        shown += os.read(ours, 4096)
    process.send_signal(signal.SIGINT)
    assert process.wait(LONGEST) == 130
    os.close(ours)
    (line,) = [line for line in shown.decode().splitlines() if "msg_2f8a6d0f5b3c4e7a9d1b2c3e4f5" in line]
    plain = re.sub(r"\x1b\[[0-9;]*m", "", line)
    assert len(plain) <= width
    assert re.match(r"\d\d:\d\d:\d\d dead    msg_2f8a6d0f5b3c4e7a9d1b2c3e4f5 sync\.completed", plain)
    assert "\x1b" not in plain
    assert "\x1b[31m" in line
    assert "hunter2" not in line


def test_an_outage(shop: Shop) -> None:
    """It is told of once, and what came meanwhile is shown when it is over."""
    shop.write(
        "shop.py",
        (shop.folder / "shop.py").read_text() + "from pathlib import Path\nfrom airweave_webhooks import SQLiteStore\n"
        "from airweave_webhooks.errors import StoreUnavailable\n"
        "class Shaky(SQLiteStore):\n    async def search(self, *arguments, **more):\n"
        "        if Path('away').exists():\n"
        "            raise StoreUnavailable('postgresql://me:hunter2@host is away')\n"
        "        return await super().search(*arguments, **more)\n"
        "receiver.store = Shaky('shop.db')\n",
    )
    with following(shop, "--json") as tail:
        (shop.folder / "away").touch()
        assert tail.note() == "the store cannot be reached, trying again: postgresql://…@host is away"
        shop.fill("pending", "msg_1")
        (shop.folder / "away").unlink()
        assert tail.note() == "the store can be reached again"
        assert tail.change() == ("msg_1", "pending")
