"""Several processes that write to one SQLite file as fast as they can."""

import sqlite3
import subprocess
import sys
import time
from pathlib import Path

import pytest

from failure.servers import ENVIRONMENT

SECONDS = 3.0


@pytest.mark.parametrize("processes", [*(pytest.param(number, marks=pytest.mark.long) for number in (2, 3)), 4])
def test_no_process_starves_and_no_record_is_lost(tmp_path: Path, processes: int) -> None:
    """Each gets at least a fifth of its fair share, none meets an error, and every record is in the file."""
    path = tmp_path / "deliveries.db"
    writers = [
        subprocess.Popen(
            [sys.executable, "-m", "failure.writer", str(path), f"writer-{number}"],
            env=ENVIRONMENT,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for number in range(processes)
    ]
    try:
        for writer in writers:
            assert writer.stdout is not None
            ready = writer.stdout.readline()
            assert ready == "ready\n" or pytest.fail(writer.communicate(timeout=30)[1])
        end = time.monotonic() + SECONDS
        for writer in writers:
            assert writer.stdin is not None
            writer.stdin.write(f"{end}\n")
            writer.stdin.flush()
        ended = [writer.communicate(timeout=60) for writer in writers]
    finally:
        for writer in writers:
            writer.kill()
            writer.communicate()
    assert [(errors, writer.returncode) for writer, (_, errors) in zip(writers, ended, strict=True)] == [
        ("", 0)
    ] * processes
    written = [int(output) for output, _ in ended]
    print(f"{processes} processes wrote {written}")  # noqa: T201 - shown when the test fails
    assert min(written) >= sum(written) / processes / 5
    connection = sqlite3.connect(path)
    try:
        assert connection.execute("SELECT state, count(*) FROM deliveries GROUP BY 1").fetchall() == [
            ("done", sum(written))
        ]
        assert connection.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
    finally:
        connection.close()
