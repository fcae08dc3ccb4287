"""A process that forks while it has the database open, as servers do that load the application before they fork."""

import contextlib
import os
import signal
import sqlite3
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from failure.forking import CHILDREN, EACH
from failure.ledger import Ledger
from failure.servers import ENVIRONMENT


def run(tmp_path: Path, mode: str) -> str:
    command = [sys.executable, "-m", "failure.forking", str(tmp_path / "deliveries.db"), str(tmp_path / "ledger"), mode]
    parent = subprocess.Popen(
        command,
        env=ENVIRONMENT,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    try:
        output, errors = parent.communicate(timeout=90)
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(parent.pid, signal.SIGKILL)  # the children too, should it have left some
        parent.communicate()
    assert parent.returncode == 0, errors
    return output


@pytest.mark.parametrize("last", ["parent", "child"])
def test_parent_and_child_both_go_on(tmp_path: Path, last: str) -> None:
    """After a fork both work on the same records, and neither loses anything when the other closes the database."""
    run(tmp_path, last)
    names = ["before", "parent", "shared", "child", "child-later"]
    assert_done_once(tmp_path, [*names, "parent-later"] if last == "parent" else names)


def test_a_fork_with_two_receivers_on_one_file(tmp_path: Path) -> None:
    """Each of several receivers that share a file is ready for a fork, and not only the first."""
    run(tmp_path, "pair")
    assert_done_once(tmp_path, ["before", "parent", "shared", "child", "child-later"])


def test_a_fork_in_the_midst_of_transactions(tmp_path: Path) -> None:
    """A child does not inherit the lock that its parent holds at that moment."""
    written = int(run(tmp_path, "busy"))
    numbers = range(CHILDREN)
    names = [name for number in numbers for name in (f"parent-{number}", f"child-{number}", f"child-{number}-later")]
    assert_done_once(tmp_path, [*names, "shared"])
    assert query(tmp_path, "SELECT state, count(*) FROM deliveries WHERE receiver = 'busy'") == [("done", written)]


def assert_done_once(tmp_path: Path, names: list[str]) -> None:
    expected = sorted(f"{name}-{number}" for name in names for number in range(EACH))
    with contextlib.closing(Ledger(tmp_path / "ledger")) as ledger:
        assert sorted(entry.id for entry in ledger.entries("effect")) == expected
    done = query(tmp_path, "SELECT key FROM deliveries WHERE receiver = 'default' AND state = 'done'")
    assert sorted(key for (key,) in done) == expected
    assert query(tmp_path, "PRAGMA integrity_check") == [("ok",)]


def query(tmp_path: Path, statement: str) -> list[tuple[Any, ...]]:
    """Look into the database behind the store's back."""
    with contextlib.closing(sqlite3.connect(tmp_path / "deliveries.db", timeout=10)) as connection:
        return connection.execute(statement).fetchall()
