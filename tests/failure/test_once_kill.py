"""Processes that are killed, and processes that do not know of each other: `once()` gives exactly one effect."""

import asyncio
import os
import random
import signal
import subprocess
import sys
from collections import Counter
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from databases import Database, in_schema, sqlite_url

pytestmark = pytest.mark.anyio

TESTS = Path(__file__).parents[1]
PER_LIFE = 25
LAST_LIFE_WITHIN = 60.0
"""Seconds."""


def start(url: str, store: Path, lines: Path, count: int, **environment: str) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-m", "failure.once_worker", url, f"sqlite:///{store}", str(lines), str(count)]
    return subprocess.Popen(command, cwd=TESTS, env={**os.environ, "PYTHONPATH": str(TESTS), **environment})


async def until_it_works(process: subprocess.Popen[bytes], lines: Path, size: int | None = None) -> None:
    """Wait until it has written more than there was, which is what there is now if nothing else is said."""
    if size is None:
        size = lines.stat().st_size
    async with asyncio.timeout(60):
        while lines.stat().st_size == size and process.poll() is None:
            await asyncio.sleep(0.002)


@pytest.fixture(params=["postgresql", "sqlite"])
async def database(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Database]:
    url = sqlite_url(tmp_path)
    if request.param == "postgresql":
        url = in_schema(request.getfixturevalue("postgres_url"), request.getfixturevalue("schema"))
    database = Database("sqlalchemy", url)
    await database.create_tables()
    yield database
    await database.close()


def driver_url(database: Database) -> str:
    url = database.url.replace("postgresql://", "postgresql+psycopg://", 1)
    return url.replace("sqlite://", "sqlite+aiosqlite://", 1)


@pytest.mark.timeout(600)
async def test_kill_at_random_moments(database: Database, long: bool, tmp_path: Path) -> None:
    """Between mark and commit nothing was done; between commit and settle everything was. Both happen here."""
    kills = 60 if long else 8
    count = kills * PER_LIFE
    store, lines = tmp_path / "store.db", tmp_path / "lines"
    lines.touch()
    for _ in range(kills):
        process = start(driver_url(database), store, lines, count)
        try:
            await until_it_works(process, lines)
            await asyncio.sleep(random.uniform(0, 0.15))
        finally:
            process.send_signal(signal.SIGKILL)
            process.wait()
    last = start(driver_url(database), store, lines, count)
    try:
        assert await asyncio.to_thread(last.wait, LAST_LIFE_WITHIN) == 0
    finally:
        last.kill()
        last.wait()

    told = [line.split(" ") for line in lines.read_text().splitlines()]
    counts = {what: Counter(name for kind, name in told if kind == what) for what in ("first", "again", "done")}
    rolled_back = counts["first"].total() - count
    # Shown when the test fails.
    print(f"{count} deliveries, {kills} kills: {rolled_back} before the commit, {counts['again'].total()} after it")  # noqa: T201
    everything = {f"msg_{number}" for number in range(count)}
    assert Counter(name for name, _ in database.rows()) == Counter(everything)
    assert database.rows("SELECT count(*), count(DISTINCT key) FROM airweave_webhook_once") == [(count, count)]
    assert counts["done"] == Counter(everything)
    assert rolled_back > 0, "no kill hit a transaction"
    assert counts["again"].total() > 0, "no kill hit what was committed and not yet settled"


async def test_processes_that_share_nothing_but_the_database(database: Database, tmp_path: Path) -> None:
    """Each with a store of its own, both are given every delivery at the same time."""
    count = 100
    files = [tmp_path / f"lines-{number}" for number in range(2)]
    for lines in files:
        lines.touch()
    gate = tmp_path / "gate"
    processes = [
        start(driver_url(database), tmp_path / f"{lines.name}.db", lines, count, GATE=str(gate)) for lines in files
    ]
    try:
        for process, lines in zip(processes, files, strict=True):
            await until_it_works(process, lines, size=0)
        gate.touch()
        for process in processes:
            assert await asyncio.to_thread(process.wait, LAST_LIFE_WITHIN) == 0
    finally:
        for process in processes:
            process.kill()
            process.wait()
    everything = {f"msg_{number}" for number in range(count)}
    assert Counter(name for name, _ in database.rows()) == Counter(everything)
    for lines in files:
        text = lines.read_text()
        assert text.count("done ") == count
        assert "first " in text, "one process had done everything before the other one began"
        assert "again " in text
