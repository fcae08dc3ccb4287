"""A disk that fills up while deliveries come: nothing acknowledged is lost, and it goes on when there is space."""

import asyncio
import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

from airweave_webhooks.testing import Attempt
from failure.backends import SQLiteFile
from failure.inboxes import InboxSite
from failure.servers import Process, body

pytestmark = pytest.mark.anyio

MOST_BYTES = 1_000_000
MORE = 64
"""Times as much."""
MOST_DELIVERIES = 20_000


def _mounted(folder: Path, size: int, *options: str) -> bool:
    options = ("size=" + str(size), *options)
    command = ["mount", "-t", "tmpfs", "-o", ",".join(options), "tmpfs", str(folder)]
    return subprocess.run(command, check=False, capture_output=True).returncode == 0


def _unmount(folder: Path) -> None:
    # Lazily: what a process still holds open goes when it ends.
    subprocess.run(["umount", "-l", str(folder)], check=True)


def _may_mount() -> bool:
    if sys.platform != "linux" or os.geteuid() != 0:
        return False
    with tempfile.TemporaryDirectory() as folder:
        if not _mounted(Path(folder), MOST_BYTES):
            return False
        _unmount(Path(folder))
    return True


class Disk(NamedTuple):
    """Where there is little space."""

    folder: Path
    settings: dict[str, object]
    """For the processes on it."""
    said: str
    """What the log says when there is none."""
    grow: Callable[[Process], object]
    """Make space, for this process."""


def _lift(process: Process) -> None:
    os.kill(process.pid, signal.SIGUSR1)


@pytest.fixture(params=["limit", "small disk"] if _may_mount() else ["limit"])
def disk(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Disk]:
    """A limit on the length of files, which anybody can set; a file system of its own, where that is allowed."""
    folder = tmp_path / "disk"
    folder.mkdir()
    if request.param == "limit":
        said = "nothing can be written to"
        yield Disk(folder, {"most_bytes": MOST_BYTES}, said, _lift)
        return
    assert _mounted(folder, MOST_BYTES)
    try:
        grow = lambda _: _mounted(folder, MORE * MOST_BYTES, "remount") or pytest.fail("no space")
        yield Disk(folder, {}, "no space left for", grow)
    finally:
        _unmount(folder)


@pytest.fixture
def backend(disk: Disk) -> SQLiteFile:
    """A file where there is little space."""
    return SQLiteFile(disk.folder / "deliveries.db")


@pytest.mark.parametrize("roles", [("both",), ("web", "worker")], ids="-".join)
async def test_a_full_disk(inbox_site: InboxSite, disk: Disk, roles: tuple[str, ...]) -> None:
    """2xx or 503 and nothing else; when there is space again it goes on by itself, with all that was acknowledged."""
    server = await inbox_site.receive(roles[0], None, **disk.settings)
    processes: list[Process] = [server]
    if len(roles) == 2:
        processes.append(await inbox_site.worker(**disk.settings))
    async with inbox_site.sender(server) as sender, asyncio.timeout(100):

        async def send(count: int) -> list[Attempt]:
            return await asyncio.gather(*(sender.attempt(sender.message(body("quick"))) for _ in range(count)))

        for _ in range(MOST_DELIVERIES // 50):
            if not any(attempt.succeeded for attempt in await send(50)):
                break
        else:
            pytest.fail("the disk was never full")
        await asyncio.sleep(1.0)
        refused = await send(20)
        assert {attempt.status for attempt in refused} == {503}
        assert {answered.attempt.status for answered in inbox_site.answers} == {200, 503}
        assert all(a.attempt.retry_after for a in inbox_site.answers if a.attempt.status == 503)
        for process in processes:
            assert process.exit_code is None
            # A worker that had done everything before the disk was full has nothing to write, and nothing to say.
            assert process is not server or disk.said in process.log()
            assert "Traceback" not in process.log()
            disk.grow(process)

        accepted = await send(50)
        assert {(attempt.status, attempt.outcome) for attempt in accepted} == {(200, "accepted")}
        acknowledged = inbox_site.acknowledged()
        states = await inbox_site.finished()
    # A delivery whose answer was lost to the lack of space may be stored all the same.
    effects = inbox_site.ledger.by_id("effect")
    print(f"{len(acknowledged)} acknowledged, {len(inbox_site.answers)} sent, {states}")  # noqa: T201 - likewise
    assert set(acknowledged) <= set(effects), "lost"
    assert set(states) == {("done", "processed")}
    inbox_site.backend.check()


async def test_a_kill_on_a_full_disk(inbox_site: InboxSite, disk: Disk) -> None:
    """The next process starts although there is no space, and does all that was acknowledged when there is some."""
    server = await inbox_site.receive("web", None, **disk.settings)
    async with inbox_site.sender(server) as sender, asyncio.timeout(100):
        for _ in range(MOST_DELIVERIES // 50):
            attempts = await asyncio.gather(*(sender.attempt(sender.message(body("quick"))) for _ in range(50)))
            if not any(attempt.succeeded for attempt in attempts):
                break
        server.kill()
        successor = await inbox_site.worker(**disk.settings)
        await asyncio.sleep(1.0)
        disk.grow(successor)
        await inbox_site.finished()
        assert successor.exit_code is None
    acknowledged = inbox_site.acknowledged()
    assert acknowledged
    assert set(acknowledged) <= set(inbox_site.ledger.by_id("effect"))
    inbox_site.backend.check()
