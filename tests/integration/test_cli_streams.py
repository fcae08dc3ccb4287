"""Where commands are started: streams that are closed or full, folders that are gone, Ctrl-C before all is imported."""

import errno
import os
import subprocess
import sys
from collections.abc import Iterator

import pytest

from commands import COMMAND, Folder, Shop
from conftest import SECRET


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Folder]:
    folder = Folder(tmp_path_factory.mktemp("shop"))
    folder.write("shop.py", "from airweave_webhooks import Receiver\nreceiver = Receiver()")
    with folder.serving("dev", "shop:receiver", "--port", "0", "--json") as serving:
        assert serving.url
        yield folder


def in_a_shell(folder: Folder, line: str) -> "subprocess.CompletedProcess[str]":
    """What becomes of `airweave-webhooks`, which is `$0`; stdout is the code that it ends with."""
    return subprocess.run(
        ["bash", "-c", line, str(COMMAND)],
        cwd=folder.folder,
        env=folder.environment(AIRWEAVE_WEBHOOK_SECRET=SECRET),
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


@pytest.mark.parametrize(
    ("command", "code"),
    [("events --json", 0), ("trigger sync.failed", 0), ("doctor --json http://127.0.0.1:9", 5), ("sign -", 0)],
)
def test_streams_that_are_closed(served: Folder, command: str, code: int) -> None:
    done = in_a_shell(served, f'"$0" {command} <&- >&-; echo $? >&2')
    assert done.stderr.splitlines()[-1] == str(code), done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize("command", ["events", "config --json", "trigger sync.failed", "--help"])
def test_a_stream_that_is_full(served: Folder, command: str) -> None:
    done = in_a_shell(served, f'"$0" {command} >/dev/full; echo $?')
    assert done.stdout == "1\n"
    assert done.stderr.splitlines()[-1] == f"airweave-webhooks: [Errno 28] {os.strerror(errno.ENOSPC)}"


@pytest.mark.parametrize("command", ["events --json", "trigger sync.failed --json --repeat 20 --rate 10000"])
def test_a_reader_that_has_read_enough(served: Folder, command: str) -> None:
    done = in_a_shell(served, f'set -o pipefail; "$0" {command} | head -1 >/dev/null; echo $?')
    assert (done.stdout, done.stderr) == ("1\n", "")


def test_a_folder_that_has_gone(served: Folder) -> None:
    done = in_a_shell(served, 'mkdir gone; cd gone; rmdir ../gone; "$0" events; echo $?')
    assert done.stdout == "3\n"
    assert done.stderr.endswith("the current folder has been removed: go into one that is there\n")


def test_help_whatever_is_wrong(shop: Shop) -> None:
    shop.write("pyproject.toml", "[tool.airweave-webhooks]\nnonsense = 1\n")
    done = shop.run("trigger", "--help")
    assert (done.returncode, done.stderr) == (0, "")
    assert shop.run("trigger", "sync.failed").returncode == 3


def test_interrupted_at_the_start() -> None:
    """While the command's own modules are imported."""
    program = (
        "import sys, types; m = types.ModuleType('airweave_webhooks.cli.app')\n"
        "def run(): raise KeyboardInterrupt\n"
        "m.run = run; sys.modules[m.__name__] = m; from airweave_webhooks.cli import main; main()"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=False)
    assert (done.returncode, done.stderr) == (130, "airweave-webhooks: interrupted\n")


def test_a_folder_for_what_runs_that_cannot_be_had(shop: Shop) -> None:
    """It is needed only where it is asked what runs."""
    (shop.folder / f"runtime-{os.getuid()}").write_text("")
    broken = {"XDG_RUNTIME_DIR": "", "TMPDIR": str(shop.folder), "AIRWEAVE_WEBHOOK_SECRET": SECRET}
    assert shop.run("trigger", "sync.failed", "--to", "http://127.0.0.1:9", **broken).returncode == 5
    assert shop.run("doctor", "http://127.0.0.1:9", **broken).returncode == 5
    assert shop.run("doctor", "shop:receiver", **broken).returncode == 1
    assert shop.run("trigger", "sync.failed", **broken).returncode == 3


def test_a_url_with_a_password_that_is_set(shop: Shop) -> None:
    """The doctor takes it, as trigger does, and shows no password."""
    done = shop.run("doctor", AIRWEAVE_WEBHOOKS_URL="http://me:hunter2@127.0.0.1:9/")
    assert done.returncode == 5, done.stderr
    assert "hunter2" not in done.stdout + done.stderr


def test_a_secret_of_commas_is_none(shop: Shop) -> None:
    shop.write("body.json", "{}")
    done = shop.run("sign", "body.json", AIRWEAVE_WEBHOOK_SECRET=" , ")
    assert (done.returncode, "no webhook secret" in done.stderr) == (3, True)
