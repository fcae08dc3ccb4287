"""`airweave-webhooks worker` and `airweave-webhooks deliveries …`, as processes of their own."""

import json
import re
import shlex
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from airweave_webhooks import SQLiteStore
from airweave_webhooks.testing.payloads import payload
from commands import APP, Shop
from conftest import SECRET


def test_version(shop: Shop) -> None:
    done = shop.run("--version")
    assert (done.returncode, done.stderr) == (0, "")
    assert re.fullmatch(r"airweave-webhooks \d+\.\d+\.\d+\n", done.stdout)


@pytest.mark.parametrize(
    "command",
    [
        *("", "capture", "config", "dev", "doctor", "events", "health", "send", "sign", "trigger", "verify"),
        *("worker", "deliveries"),
        *(f"deliveries {verb}" for verb in ["list", "show", "tail", "replay", "purge", "stats"]),
    ],
)
def test_help(shop: Shop, command: str) -> None:
    """It fits the terminal, and says something about each option."""
    done = shop.run(*command.split(), "--help", COLUMNS="80", TERM="dumb")
    assert done.returncode == 0
    assert max(map(len, done.stdout.splitlines())) <= 80
    assert "…" not in done.stdout
    for line in done.stdout.splitlines():
        if match := re.match(r"│ +--[a-z-]+ +\S+ *(.*?) *│", line):
            assert match[1], line


@pytest.mark.parametrize("missing", ["typer", "platformdirs"])
def test_without_the_extra(missing: str) -> None:
    """One sentence how to get it, also where some of it is there for other reasons."""
    program = f"import sys; sys.modules['{missing}'] = None; from airweave_webhooks.cli import main; main()"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 3
    assert done.stderr == "The command needs the extra 'cli': pip install 'airweave-webhooks[cli]'\n"


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        ("deliveries list", 2, "which receiver?"),
        ("deliveries list shop", 2, "write module:receiver, as in app:receiver"),
        ("deliveries list shop.py:receiver", 2, "did you mean shop:receiver?"),
        ("deliveries list a/b.py", 2, "did you mean a.b:receiver?"),
        ("deliveries list shop:", 2, "write module:receiver"),
        ("deliveries list shop:receiver --nonsense", 2, "No such option"),
        ("deliveries list shop:receiver --type sync.competed", 2, "did you mean 'sync.completed'?"),
        ("deliveries list shop:receiver --state deed", 2, "did you mean 'dead'?"),
        ("deliveries list shop:receiver --since yesterday", 2, "neither a time ago"),
        ("deliveries list shop:receiver --since 999999w", 2, "neither a time ago"),
        ("deliveries list shop:receiver --limit 0", 2, "--limit"),
        ("deliveries list shop:receiver --cursor nonsense", 2, "not one that a search gave"),
        ("deliveries list shop:receiver --app-dir nowhere", 2, "nowhere"),
        ("deliveries show msg_1", 2, "which receiver?"),
        ("deliveries show shop:receiver", 2, "which delivery? Write one ID"),
        ("deliveries show shop msg_1", 2, "'shop': write module:receiver"),
        ("deliveries replay msg_1 --yes", 2, "'msg_1': write module:receiver"),
        ("deliveries tail shop:receiver --every 0", 2, "no number of seconds"),
        ("deliveries tail shop:receiver --every x", 2, "no number of seconds"),
        ("deliveries tail shop:receiver --type sync.competed", 2, "did you mean 'sync.completed'?"),
        ("deliveries tail plain:receiver", 3, "sqlite:///path and postgresql://host/database"),
        ("deliveries tail far:receiver", 5, "far"),
        ("health far:receiver", 5, "far"),
        ("health away:receiver", 3, "away"),
        ("deliveries purge --older-than 16", 2, "which receiver?"),
        ("deliveries purge shop:receiver --older-than 15", 2, "16"),
        ("deliveries purge shop:receiver", 2, "--older-than"),
        ("deliveries replay shop:receiver", 2, "say which deliveries"),
        ("deliveries replay shop:receiver --all-dead msg_1", 2, "one of the three"),
        ("deliveries replay shop:receiver --all-dead --state dead", 2, "one of the three"),
        ("deliveries replay shop:receiver --all-dead", 2, "add --yes, or --dry-run"),
        ("worker shop:receiver --concurrency 0", 2, "--concurrency"),
        ("deliveries list shopp:receiver", 3, "there is no module 'shopp' in the current directory"),
        ("deliveries list shop.sub:receiver", 3, "shop.sub"),
        ("deliveries list shop:recever", 3, "shop has no 'recever'; did you mean 'receiver'?"),
        ("deliveries list shop:xyz", 3, "shop has no 'xyz'; shop:receiver would do"),
        ("deliveries list shop:app.nothing", 3, "shop:app has no 'nothing'"),
        ("deliveries list shop:app", 3, "shop:app is a Application and not a Receiver; shop:receiver would do"),
        ("deliveries list fast:app", 3, "fast:app is a FastAPI and not a Receiver; name the Receiver itself"),
        ("deliveries list broken:receiver", 3, "ZeroDivisionError"),
        ("deliveries list leaving:receiver", 3, "SystemExit: 7"),
        ("deliveries list skipping:receiver", 3, "BaseException: whsec_…"),
        ("deliveries list lacking:receiver", 3, "No module named 'not_installed'"),
        ("deliveries list syntax:receiver", 3, "SyntaxError"),
        ("deliveries list weak:receiver", 3, "SecretError"),
        ("deliveries list plain:receiver", 3, "sqlite:///path and postgresql://host/database"),
        ("deliveries list away:receiver", 3, "away"),
        ("worker plain:receiver", 3, "inbox"),
        ("deliveries stats far:receiver", 5, "far"),
        (
            "deliveries show shop:receiver msg_nope",
            1,
            "no delivery 'msg_nope' of receiver 'shop' in SQLiteStore('shop.db')",
        ),
    ],
)
def test_what_goes_wrong(shop: Shop, arguments: str, code: int, message: str) -> None:
    """It ends with the right code and a message that helps, without a traceback of ours and without a secret."""
    new = "from airweave_webhooks import Receiver\nreceiver = Receiver"
    shop.write("fast.py", "from fastapi import FastAPI\napp = FastAPI()")
    shop.write("broken.py", "def f():\n    return 1 / 0\nkey = 'whsec_hunter2'; url = 'redis://u:hunter2@h'; f()")
    shop.write("leaving.py", "raise SystemExit(7)")
    shop.write("skipping.py", "raise BaseException('whsec_hunter2')")
    shop.write("lacking.py", "import not_installed")
    shop.write("syntax.py", "receiver = (")
    shop.write("weak.py", f"{new}(secrets='whsec_hunter2')")
    shop.write("plain.py", f"{new}(secrets='{SECRET}')")
    shop.write("away.py", f"{new}(store='sqlite:///away/shop.db')")
    shop.write(
        "far.py",
        f"{new}(name='far')\nfrom airweave_webhooks import SQLiteStore\nfrom airweave_webhooks.errors import"
        " StoreUnavailable\nclass Far(SQLiteStore):\n    async def open(self):\n"
        "        raise StoreUnavailable('far away: postgresql://me:hunter2@host/db password=hunter2')\n"
        "receiver.store = Far('far.db')\n",
    )
    done = shop.run(*arguments.split(), COLUMNS="200", TERM="dumb")
    assert done.returncode == code, done.stderr
    assert message in done.stderr
    assert "hunter2" not in done.stderr
    assert SECRET not in done.stderr
    assert "cli/" not in done.stderr
    assert done.stdout == ""


def test_the_traceback_of_an_import_leads_into_the_users_program(shop: Shop) -> None:
    shop.write("broken.py", "def f():\n    return 1 / 0\n\nf()\n")
    lines = shop.run("deliveries", "list", "broken:receiver").stderr.splitlines()
    assert lines[0] == "airweave-webhooks: importing broken failed:"
    assert [line.strip() for line in lines if not line.strip().startswith("File")] == [
        lines[0],
        "f()",
        "return 1 / 0",
        "ZeroDivisionError: division by zero",
    ]


def test_where_the_receiver_can_be(shop: Shop, tmp_path: Path) -> None:
    """Deep in an object, in a package, in another folder."""
    shop.fill("pending", "msg_1")
    assert "msg_1" in shop.run("deliveries", "list", "shop:app.receiver").stdout
    (tmp_path / "src" / "pack").mkdir(parents=True)
    (tmp_path / "src" / "pack" / "web.py").write_text(APP)
    done = shop.run("deliveries", "list", "pack.web:receiver", "--app-dir", "src")
    assert "msg_1" in done.stdout
    assert "imported" not in done.stdout  # what a module prints goes to stderr


def test_list_as_json(filled: Shop) -> None:
    """One object a line, the latest first, times in UTC."""
    found = filled.objects("list")
    assert [one["message_id"] for one in found] == [
        f"msg_{name}" for name in ("leased", "pending", "inline", "done", "dead")
    ]
    dead = found[-1]
    assert (dead["state"], dead["reason"], dead["event_type"]) == ("dead", "exhausted", "sync.failed")
    assert dead["results"] == {"shop.refresh": "processed", "shop.audit": "rejected"}
    assert dead["error"] == "ValueError: no"
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", dead["received_at"])
    assert "notes" not in dead


@pytest.mark.parametrize(
    ("options", "found"),
    [
        ("--state dead", "dead"),
        ("--state dead --state leased", "dead leased"),
        ("--type sync.* --state done", "done"),
        ("--type collection.created", "inline"),
        ("--collection crm", "dead"),
        ("--source notion", "dead"),
        ("--tenant acme", ""),
        ("--since 15m --until 2999-01-01", "dead done inline leased pending"),
        ("--until 2h", ""),
        ("--since 2999-01-01T00:00:00+02:00", ""),
        ("--limit 2", "leased pending"),
    ],
)
def test_list_filters(filled: Shop, options: str, found: str) -> None:
    names = sorted(one["message_id"] for one in filled.objects("list", *options.split()))
    assert names == [f"msg_{name}" for name in found.split()]


def test_pages(filled: Shop) -> None:
    """The command for the next page is printed, until there is none."""
    pages = []
    done = filled.run("deliveries", "list", "shop:receiver", "--limit", "2", "--json", "--cursor=")
    assert done.returncode == 2
    arguments = ["deliveries", "list", "shop:receiver", "--limit", "2", "--json"]
    while True:
        done = filled.run(*arguments)
        assert done.returncode == 0
        pages.append([json.loads(line)["message_id"] for line in done.stdout.splitlines()])
        match = re.search(r"next page: airweave-webhooks (.*)\n", done.stderr)
        if match is None:
            break
        arguments = match[1].split(" ")
    assert pages == [["msg_leased", "msg_pending"], ["msg_inline", "msg_done"], ["msg_dead"]]


def test_an_empty_list(shop: Shop) -> None:
    done = shop.run("deliveries", "list", "shop:receiver")
    assert (done.returncode, done.stdout) == (0, "")
    assert "no such delivery of receiver 'shop' in SQLiteStore('shop.db')" in done.stderr


ID = "msg_2f8a6d0f5b3c4e7a9d1b2c3e4f5"


@pytest.mark.parametrize("width", [80, 120])
def test_a_table_fits(shop: Shop, width: int) -> None:
    """Ids are whole, the rest is cut; what a stranger wrote cannot move the cursor."""
    shop.fill(
        "dead",
        ID,
        error="refresh: OperationalError: \x1b[2J postgresql://me:hunter2@host/db\nsecond line " + "x" * 100,
        event_type="source_connection.auth_completed",
        collection="a-collection-with-a-long-name-kx94q",
        tenant="acme",
    )
    colored = shop.deliveries("list", FORCE_COLOR="1", COLUMNS=str(width), TERM="xterm")
    table = re.sub(r"\x1b\[[0-9;]*m", "", colored)
    assert max(map(len, table.splitlines())) <= width
    assert ID in table
    assert "acme: a-coll" in table
    assert "\x1b" not in table
    assert "hunter2" not in table
    assert len(table.splitlines()) == (3 if width == 80 else 2)


def test_a_table_without_a_terminal(shop: Shop) -> None:
    """A line a delivery, whole, without colours; long ids are broken, not cut."""
    shop.fill("pending", "msg_" + "y" * 60)
    shop.fill("pending", ID)
    lines = shop.deliveries("list").splitlines()
    assert "\x1b" not in "".join(lines)
    assert lines[1].split()[:3] == ["pending", ID, "sync.completed"]
    assert "".join(line[8:48].strip() for line in lines[2:]) == "msg_" + "y" * 60


def test_no_color(filled: Shop) -> None:
    assert "\x1b[3" not in filled.deliveries("list", FORCE_COLOR="1", NO_COLOR="1", TERM="xterm")
    assert "\x1b[3" in filled.deliveries("list", FORCE_COLOR="1", TERM="xterm")


def test_show(filled: Shop) -> None:
    text = filled.deliveries("show", "msg_dead")
    for part in ("dead, exhausted", "shop.audit", "rejected", "worker-2:4711", "ValueError: no", "Svix-Webhooks/1.84"):
        assert part in text
    assert "organization_id" not in text
    assert '"organization_id"' in filled.deliveries("show", "msg_dead", "--body")
    assert "not held" in filled.deliveries("show", "msg_inline", "--body")


def test_show_as_json(filled: Shop) -> None:
    (shown,) = filled.objects("show", "msg_dead")
    assert [note["what"] for note in shown["notes"]] == ["exhausted"]
    assert shown["headers"]["user-agent"] == "Svix-Webhooks/1.84"
    assert shown["body_bytes"] == len(payload("sync.failed"))
    assert "body" not in shown
    (shown,) = filled.objects("show", "msg_dead", "--body")
    assert shown["body"] == payload("sync.failed").decode()
    (shown,) = filled.objects("show", "msg_inline", "--body")
    assert (shown["body"], shown["headers"], shown["sent_at"]) == (None, {}, None)


def test_show_what_several_are_called(shop: Shop) -> None:
    for tenant in ("a", "b"):
        shop.fill("pending", "msg_1", tenant=tenant)
    assert "name a tenant: 'a', 'b'" in shop.deliveries("show", "msg_1", code=2)
    assert "tenant" in shop.deliveries("show", "msg_1", "--tenant", "b")


def test_show_a_body_that_is_no_json(shop: Shop) -> None:
    shop.fill("pending", "msg_1", body=b"\x1b[2Jno")
    assert "\x1b" not in shop.deliveries("show", "msg_1", "--body")


def test_replay(filled: Shop) -> None:
    """It counts, it replays, and the history says who and why."""
    assert filled.deliveries("replay", "--state", "dead", "--state", "done", "--dry-run") == (
        "2 deliveries would be replayed\n"
    )
    done = filled.run("deliveries", "replay", "shop:receiver", "msg_dead", "msg_done", "--yes", "--why", "new index")
    assert (done.returncode, done.stdout) == (0, "2 deliveries replayed\n")
    assert "a worker runs them: airweave-webhooks worker shop:receiver" in done.stderr
    (shown,) = filled.objects("show", "msg_dead")
    assert (shown["state"], shown["generation"]) == ("pending", 1)
    assert (shown["notes"][-1]["what"], shown["notes"][-1]["text"]) == ("replayed", "new index")
    assert "@" in shown["notes"][-1]["who"]


def test_replay_says_what_it_did_not_replay(filled: Shop) -> None:
    done = filled.run("deliveries", "replay", "shop:receiver", "msg_dead", "msg_leased", "msg_inline", "--yes")
    assert (done.returncode, done.stdout) == (1, "1 delivery replayed\n")
    assert "not replayed: msg_leased: being worked on\n" in done.stderr
    assert "not replayed: msg_inline: the body is not held, only the sender has it\n" in done.stderr
    assert "not replayed: msg_nope: no such delivery\n" in filled.deliveries("replay", "msg_nope", "--yes", code=1)
    done = filled.run("deliveries", "replay", "shop:receiver", "--type", "*", "--yes")
    assert (done.returncode, done.stdout) == (0, "1 delivery replayed\n")
    assert "not replayed: 2 deliveries: pending already\n" in done.stderr


def test_replay_as_json(filled: Shop) -> None:
    (counted,) = filled.objects("replay", "--all-dead", "--dry-run")
    assert counted == {"dry_run": True, "found": 1, "replayed": 0, "skipped": {}, "names": {}}
    (result,) = filled.objects("replay", "--all-dead", "--yes")
    assert result == {"dry_run": False, "found": 1, "replayed": 1, "skipped": {}, "names": {}}


@pytest.mark.parametrize(
    ("answer", "code", "last"),
    [
        ("y", 0, "1 delivery replayed"),
        ("n", 1, "airweave-webhooks: nothing was replayed"),
        ("^C", 130, "airweave-webhooks: interrupted; nothing was replayed"),
    ],
)
def test_a_replay_asks_on_a_terminal(filled: Shop, answer: str, code: int, last: str) -> None:
    """With the number; and shows how far it is."""
    ended, shown = filled.on_a_terminal(answer, "deliveries", "replay", "shop:receiver", "--all-dead")
    assert ended == code, shown
    assert "Replay 1 delivery? [y/N]:" in shown
    assert last in shown
    assert ("replaying" in shown) == (answer == "y")


def test_a_replay_of_nothing_does_not_ask(shop: Shop) -> None:
    ended, shown = shop.on_a_terminal("", "deliveries", "replay", "shop:receiver", "--all-dead")
    assert ended == 0
    assert "0 deliveries replayed" in shown
    assert "[y/N]" not in shown


def test_the_log_of_a_worker_on_a_terminal(shop: Shop) -> None:
    """Of a receiver without handlers, too."""
    shop.write(
        "bare.py",
        "import os, threading\nfrom airweave_webhooks import Inbox, Receiver\n"
        f"receiver = Receiver(store='sqlite:///bare.db', secrets='{SECRET}', mode=Inbox(worker=False))\n"
        "threading.Timer(1.5, os.kill, (os.getpid(), 15)).start()\n",
    )
    ended, shown = shop.on_a_terminal("", "worker", "bare:receiver")
    assert ended == 0, shown
    text = re.sub(r"\s+", " ", re.sub(r"\x1b\[[0-9;]*m", "", shown))
    assert "INFO worker" in text
    assert "handlers: none" in text
    assert "has stopped" in text


SLOW = f"""
import asyncio, sys
from airweave_webhooks import Receiver, SQLiteStore

class Slow(SQLiteStore):
    async def replay(self, keys, **more):
        print("batch", file=sys.stderr, flush=True)
        await asyncio.sleep(0.5)
        return await super().replay(keys, **more)

receiver = Receiver(name="shop", store=Slow("shop.db"), secrets="{SECRET}")
"""


def test_an_interrupted_replay(shop: Shop) -> None:
    """The batch under way is finished, its number is told, and the rest is as it was."""
    shop.write("slow.py", SLOW)
    shop.fill("many", 1200)
    process = shop.start("deliveries", "replay", "slow:receiver", "--all-dead", "--yes")
    assert process.stderr is not None
    assert process.stderr.readline() == "batch\n"
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=30)
    assert (process.returncode, err) == (130, "airweave-webhooks: interrupted after replaying 500 deliveries\n")
    (counted,) = shop.objects("stats")
    assert {one["state"]: one["deliveries"] for one in counted["deliveries"]} == {"pending": 500, "dead": 700}


def test_purge(shop: Shop) -> None:
    old = SQLiteStore(shop.folder / "shop.db", clock=lambda: time.time() - 17 * 86_400)
    new, shop.store = shop.store, old
    shop.fill("many", 3, into="done", reason="ignored", body=None, origin=None)
    shop.store = new
    shop.fill("pending", "msg_new")
    assert shop.deliveries("purge", "--older-than", "18") == "0 deliveries purged from SQLiteStore('shop.db')\n"
    assert shop.objects("purge", "--older-than", "16") == [{"purged": 3}]


def test_stats(filled: Shop) -> None:
    lines = filled.deliveries("stats").splitlines()
    assert [line.split() for line in lines if line.startswith(("EVENT", "sync.failed", "all"))] == [
        ["EVENT", "DEAD", "PENDING", "LEASED", "DONE"],
        ["sync.failed", "1", "0", "0", "0"],
        ["all", "1", "1", "1", "2"],
    ]
    assert any(line.split() == ["worker", "never", "seen"] for line in lines)
    (counted,) = filled.objects("stats")
    assert (counted["receiver"], counted["pending"], counted["dead"]) == ("shop", 1, 1)


def test_stats_of_nothing(shop: Shop) -> None:
    assert "no deliveries" in shop.deliveries("stats")


def effects(shop: Shop, number: int) -> list[str]:
    """Wait for so many effects."""
    until = time.monotonic() + 20
    while time.monotonic() < until:
        found = (shop.folder / "effects").read_text().split() if (shop.folder / "effects").exists() else []
        if len(found) >= number:
            return found
        time.sleep(0.05)
    raise AssertionError(f"not {number} effects")


@pytest.fixture
def worker(shop: Shop) -> Iterator["subprocess.Popen[str]"]:
    shop.fill("pending", "msg_1")
    shop.fill("pending", "msg_2", event_type="sync.failed")
    process = shop.start("worker", "shop:receiver", "--concurrency", "2")
    effects(shop, 2)
    yield process
    process.kill()
    process.communicate()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_worker_works_until_it_is_stopped(
    shop: Shop, worker: "subprocess.Popen[str]", number: signal.Signals
) -> None:
    """It runs what is pending, says when it is seen, and ends with 0."""
    worker.send_signal(number)
    out, err = worker.communicate(timeout=30)
    assert (worker.returncode, out) == (0, "")
    lines = [line for line in err.splitlines() if line != "imported"]
    assert re.fullmatch(
        r"\d{4}-\d\d-\d\dT\S+Z INFO worker \d+ starts: receiver 'shop', store SQLiteStore\('shop.db'\), concurrency 2,"
        r" handlers: shop\.refresh",
        lines[0],
    )
    assert lines[-1].endswith("has stopped")
    (counted,) = shop.objects("stats")
    assert [one["state"] for one in counted["deliveries"]] == ["done", "done"]
    assert counted["worker_seen"] < 60


HANGING = f"""
import time
from airweave_webhooks import Inbox, Receiver, SyncEvent

receiver = Receiver(name="shop", store="sqlite:///shop.db", secrets="{SECRET}", mode=Inbox(worker=False))

@receiver.on("sync.*")
async def refresh(event: SyncEvent) -> None:
    open("effects", "w").write("started")
    time.sleep(60)
"""


def test_a_second_signal_ends_a_worker_at_once(shop: Shop) -> None:
    """Also when a handler blocks the event loop."""
    shop.write("hanging.py", HANGING)
    shop.fill("pending", "msg_1")
    process = shop.start("worker", "hanging:receiver")
    effects(shop, 1)
    process.send_signal(signal.SIGTERM)
    time.sleep(0.3)
    assert process.poll() is None
    process.send_signal(signal.SIGINT)
    process.communicate(timeout=10)
    assert process.returncode == 130


def test_the_log_of_a_worker_as_json(shop: Shop) -> None:
    """A line is an object, also one with a traceback; secrets are taken out."""
    shop.write(
        "failing.py",
        HANGING.replace("time.sleep(60)", "raise ValueError('postgresql://me:hunter2@host/db')"),
    )
    shop.fill("pending", "msg_1")
    process = shop.start("worker", "failing:receiver", "--json")
    effects(shop, 1)
    time.sleep(0.3)
    process.send_signal(signal.SIGTERM)
    _, err = process.communicate(timeout=30)
    assert process.returncode == 0
    lines = [json.loads(line) for line in err.splitlines()]
    assert {"time", "level", "logger", "message"} <= lines[0].keys()
    assert [line for line in lines if "Traceback" in line.get("exception", "")]
    assert "hunter2" not in err


def test_the_commands_on_the_page(shop: Shop) -> None:
    """Each command that docs/operations.md shows ends well, where there is such a delivery."""
    page = (Path(__file__).parents[2] / "docs" / "operations.md").read_text()
    commands = re.findall(r"^\$ airweave-webhooks (.*)$", page, re.MULTILINE)
    assert len(commands) == 6
    shop.write("app.py", APP)
    shop.fill("dead", next(name for name in re.findall(r"msg_\w+", page)))
    for command in commands:
        done = shop.run(*shlex.split(command))
        assert (done.returncode, bool(done.stdout)) == (0, True), command + done.stderr
