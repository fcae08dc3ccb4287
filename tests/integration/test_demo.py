"""`scripts/demo`, without the bash around it: as a process of its own, with this interpreter."""

import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

SCRIPTS = Path(__file__).parents[2] / "scripts"

# A demo that expects what the receiver rightly does not do.
MISTAKEN = """
import sys
from demonstration import __main__, scenes
scenes.HANDLED["sync.failed"] = "nobody"
del scenes.HANDLED["sync.completed"]
sys.exit(__main__.main())
"""


def start(folder: Path, *arguments: str, program: tuple[str, ...] = ("-m", "demonstration")) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, *program, *arguments, "--folder", str(folder)],
        env={**os.environ, "PYTHONPATH": str(SCRIPTS), "COLUMNS": "80", "PYTHONUNBUFFERED": "1"},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


@pytest.fixture
def staying(tmp_path: Path) -> Iterator[tuple[subprocess.Popen[str], str]]:
    """A demo that has shown everything and stays up, and its receiver's URL."""
    process = start(tmp_path)
    assert process.stdout is not None
    assert process.stderr is not None
    url = None
    for line in process.stdout:
        url = url or re.search(r"stays up at (http://\S+)", line)
        if "Ctrl-C" in line:
            break
    assert url, process.stderr.read()
    yield process, url[1]
    process.kill()
    process.communicate()


def answers(url: str) -> bool:
    try:
        return httpx.get(url, trust_env=False).status_code == 200
    except httpx.ConnectError:
        return False


def test_once_every_answer_is_the_expected_one(tmp_path: Path) -> None:
    """It ends with 0, having shown every kind of answer, what they mean, and the receiver's log apart from them."""
    demo = start(tmp_path, "--once")
    shown, errors = demo.communicate()
    assert (demo.returncode, errors) == (0, ""), shown
    table, _, log = shown.partition("What the operator sees in the log\n")
    for line in (
        r"HEAD, unsigned +200 +[\d.]+ the URL answers",
        r"sync\.completed +200 processed +[\d.]+ refresh\(\) ran",
        r"search\.completed +200 ignored +",
        r"sync\.completed, older shape +200 processed +[\d.]+ refresh\(\) ran",
        r"sync\.paused, not known yet +200 processed +[\d.]+ notice\(\) ran",
        r"sent again +200 duplicate +",
        r"collection\.updated, two at once +200 processed +\d+ index\(\) ran",
        r"the other of the two +409 in_progress +",
        r"which comes again +200 duplicate +",
        r"sync\.failed, an error +500 failed +",
        r"retried by the sender +200 processed +[\d.]+ page\(\) ran",
        r"tampered with +401 unauthorized +",
        r"an hour old +401 unauthorized +",
    ):
        assert re.search(f"^{line}", table, re.MULTILINE), line
    assert "the body changed after" in log
    assert "ConnectionError: the pager does not answer" in log
    assert "WARNING" not in table
    assert "\x1b" not in shown, "colours are for terminals"
    assert max(map(len, shown.splitlines())) <= 80
    assert re.search(r"^All \d+ answers are the expected ones", log, re.MULTILINE)


def test_once_names_what_was_not_expected(tmp_path: Path) -> None:
    """It ends with 1 and says which answers, and which handlers, were not the expected ones."""
    demo = start(tmp_path, "--once", program=("-c", MISTAKEN))
    shown, errors = demo.communicate()
    assert (demo.returncode, errors) == (1, ""), shown
    assert "NOT as expected" in shown
    assert "  sync.completed: 200 processed, expected 200 ignored" in shown
    assert "  sync.failed: 200 processed, expected nobody() to run once, and what ran is" in shown


def test_it_stays_up_until_ctrl_c(staying: tuple[subprocess.Popen[str], str], tmp_path: Path) -> None:
    """Ctrl-C ends it, and its receiver, with 0 and no traceback; a second demo does not wipe its store meanwhile."""
    process, url = staying
    second = start(tmp_path, "--once")
    _, errors = second.communicate()
    assert second.returncode == 1
    assert re.fullmatch(r"another demo is running on .*: end it first\n", errors)
    assert answers(url)

    process.send_signal(signal.SIGINT)
    _, errors = process.communicate()
    assert (process.returncode, errors) == (0, "")
    assert not answers(url)
    assert (tmp_path / "demo.db").exists()


def test_the_receiver_ends_with_the_demo(staying: tuple[subprocess.Popen[str], str]) -> None:
    """Even a demo that is killed leaves no receiver behind."""
    process, url = staying
    assert answers(url)
    process.kill()
    process.wait()
    with pytest.raises(httpx.TransportError):
        while True:
            httpx.get(url, trust_env=False)
