"""The store is away from the worker for seconds: it says so, waits without keeping a processor busy, and goes on."""

import asyncio
import contextlib
import sqlite3
from collections.abc import AsyncGenerator

import pytest

from failure.backends import INBOXES, Backend, ServerBackend, SQLiteFile
from failure.inboxes import InboxSite, accept
from failure.servers import body, until

pytestmark = [pytest.mark.anyio, pytest.mark.parametrize("backend", INBOXES, indirect=True)]

PATIENCE = 1.0
"""Seconds."""
WORK = 0.5
"""Seconds on each side of the effect."""
MOST_BUSY = 0.3
"""Part of a processor."""
BACK_WITHIN = 6.0
"""Seconds. The longest pause of a worker that waits is 5."""


@contextlib.asynccontextmanager
async def outage(backend: Backend) -> AsyncGenerator[None]:
    """For a block, no process can write."""
    if isinstance(backend, SQLiteFile):
        with contextlib.closing(sqlite3.connect(backend.path, timeout=10, isolation_level=None)) as connection:
            connection.execute("BEGIN EXCLUSIVE")
            yield
            connection.execute("ROLLBACK")
        return
    assert isinstance(backend, ServerBackend)
    await asyncio.to_thread(backend.server.kill)
    try:
        yield
    finally:
        await asyncio.to_thread(backend.server.start)


@pytest.mark.parametrize("role", ["worker", "both"])
async def test_the_store_goes_and_comes_back(inbox_site: InboxSite, role: str, long: bool) -> None:
    """What ran meanwhile is settled afterwards or repeated; nothing is lost, and nobody has to restart anything."""
    seconds = 30.0 if long else 3.0
    web = await inbox_site.receive("both" if role == "both" else "web", patience=PATIENCE, work=WORK)
    worker = await inbox_site.worker(patience=PATIENCE, work=WORK) if role == "worker" else web
    async with inbox_site.sender(web) as sender, asyncio.timeout(100):
        # Fewer than it works on at once: it also looks for more.
        messages = await accept(sender, [body("awaiting")] * 4)
        await until(lambda: inbox_site.ledger.entries("start"), "the worker works")
        async with outage(inbox_site.backend):
            await asyncio.sleep(0.5)
            before = worker.processor_time()
            refused = await sender.attempt(sender.message(body("awaiting")))
            await asyncio.sleep(seconds)
            busy = (worker.processor_time() - before) / seconds
            assert (refused.status, refused.outcome) == (503, "unavailable")
            assert refused.retry_after is not None
        back = asyncio.get_running_loop().time()
        (first,) = await accept(sender, [body("awaiting")])
        await until(lambda: inbox_site.ledger.entries("effect", first.id), "it goes on", BACK_WITHIN)
        took = asyncio.get_running_loop().time() - back
        messages += [first, *await accept(sender, [body("awaiting")] * 20)]
        states = await inbox_site.finished()
    log = worker.log()
    print(f"busy for {busy:.1%}, back after {took:.2f} s, {log.count('waits')} pauses")  # noqa: T201 - likewise
    assert busy < MOST_BUSY
    assert "the worker of receiver default waits" in log
    assert len(log.splitlines()) < 100
    assert "Traceback" not in log
    # What was refused may be stored all the same, when the refusal came from a lack of an answer.
    assert set(states) == {("done", "processed")}
    assert {message.id for message in messages} <= set(inbox_site.ledger.by_id("effect"))
    inbox_site.backend.check()
