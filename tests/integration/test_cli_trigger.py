"""`airweave-webhooks trigger`, as a process of its own, against a receiver and against what is none."""

import http.server
import json
import re
import signal
import socket
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any, ClassVar

import pytest

from airweave_webhooks.testing.payloads import payload
from commands import Folder, Serving
from conftest import OTHER_SECRET, SECRET

APP = """
import asyncio
from airweave_webhooks import Receiver, SyncEvent, natural_key

receiver = Receiver(name="shop", key=natural_key)


@receiver.on("sync.*")
async def refresh(event: SyncEvent) -> None:
    if event.error == "slow":
        await asyncio.sleep(0.2)
    if event.error == "fail":
        raise ValueError
"""


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Folder, Serving]]:
    folder = Folder(tmp_path_factory.mktemp("shop"))
    folder.write("shop.py", APP)
    with folder.serving("dev", "shop:receiver", "--port", "0", "--json") as serving:
        assert serving.url
        yield folder, serving


@pytest.fixture
def shop(served: tuple[Folder, Serving]) -> Folder:
    return served[0]


@pytest.mark.parametrize(
    ("arguments", "code", "answers"),
    [
        ("sync.completed", 0, {"200 processed": 1}),
        ("query.processed", 0, {"200 ignored": 1}),
        ("sync.completed --repeat 20", 0, {"200 processed": 20}),
        ("sync.completed --repeat 20 --rate 100", 0, {"200 processed": 20}),
        ("sync.completed --repeat 3 --duplicate", 0, {"200 processed": 3, "200 duplicate": 3}),
        ("sync.completed --repeat 3 --tamper", 0, {"401 unauthorized": 3}),
        ("sync.completed --stale --concurrent 3", 0, {"401 unauthorized": 3}),
        ("sync.completed --tamper --stale --duplicate", 0, {"401 unauthorized": 2}),
        ("sync.completed --set error=fail", 1, {"500 failed": 1}),
        ("sync.completed --set error=fail --duplicate", 1, {"500 failed": 2}),
    ],
)
def test_against_a_receiver(shop: Folder, arguments: str, code: int, answers: dict[str, int]) -> None:
    """What is sent, and that the answers are the right ones."""
    *attempts, summary = shop.objects_of("trigger", *arguments.split(), code=code)
    found = {f"{one['status']} {one['outcome']}": one["attempts"] for one in summary["answers"]}
    assert found == answers
    assert summary["attempts"] == len(attempts) == sum(answers.values())
    assert all(bool(one["problem"]) == bool(code) for one in attempts)
    assert summary["latency_seconds"]["p50"] > 0


def test_the_same_message_at_once(shop: Folder) -> None:
    """One is processed; the others come too early, or are duplicates."""
    *attempts, summary = shop.objects_of("trigger", "sync.completed", "--concurrent", "5", "--set", "error=slow")
    assert len({one["message_id"] for one in attempts}) == 1
    words = [one["outcome"] for one in attempts]
    assert words.count("processed") == 1
    assert set(words) <= {"processed", "in_progress", "duplicate"}
    assert (summary["messages"], summary["as_expected"]) == (1, 5)


def test_what_is_said(shop: Folder) -> None:
    """A line for one, with the hint that nobody takes it; a table for many; the verdict where it is a special one."""
    assert re.fullmatch(
        r"200 processed  sync\.failed  \S+ m?s  msg_\w{27}\n", shop.run("trigger", "sync.failed").stdout
    )
    assert shop.run("trigger", "query.processed").stdout.endswith("  no handler takes it\n")
    forged = shop.run("trigger", "sync.failed", "--tamper")
    assert forged.stdout.splitlines()[-1] == "as it must be: each was refused (changed after signing)"
    many = shop.run("trigger", "sync.failed", "--repeat", "10", "--duplicate")
    lines = many.stdout.splitlines()
    assert re.fullmatch(r"10 messages to http://\S+ in \S+ m?s, \S+ a second, sent twice", lines[0])
    assert lines[1].startswith("signed with the secret of the local server ")
    assert [line.split()[:3] for line in lines if line.startswith("200")] == [
        ["200", "duplicate", "10"],
        ["200", "processed", "10"],
    ]
    assert re.search(r"LATENCY +p50 +p95 +p99 +max", many.stdout)
    assert lines[-1] == "as it must be: each was processed at most once (sent twice)"


@pytest.mark.parametrize("columns", [80, 120])
def test_on_a_terminal(shop: Folder, columns: int) -> None:
    """Many have a bar while they are sent, and the table fits."""
    code, shown = shop.on_a_terminal("", "trigger", "sync.failed", "--repeat", "30", "--rate", "40", columns=columns)
    assert code == 0, shown
    assert "sending" in shown
    assert "/30" in shown
    plain = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", shown).replace("\r", "\n")
    assert max(map(len, plain.splitlines())) <= columns
    assert "200 processed" in plain


def test_drift(served: tuple[Folder, Serving]) -> None:
    """What nobody knows is sent from a file; types are free there."""
    shop, dev = served
    shop.write("melted.json", '{"event_type": "sync.melted", "collection_readable_id": "docs"}')
    (attempt, _) = shop.objects_of("trigger", "--file", "melted.json")
    assert (attempt["event_type"], attempt["outcome"]) == ("sync.melted", "ignored")
    (attempt, _) = shop.objects_of("trigger", "sync.frozen", "--file", "melted.json", "--set", "x.y=1")
    assert attempt["event_type"] == "sync.frozen"
    (attempt, _) = shop.objects_of("trigger", "sync.completed", "--file", "melted.json")
    assert (attempt["status"], attempt["outcome"]) == (200, "accepted")
    while dev.event("delivery")["event_type"] != "sync.frozen":
        pass


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        ("", 2, "which event?"),
        ("sync.faild", 2, "Airweave sends no event 'sync.faild'; did you mean 'sync.failed'?"),
        ("sync.failed --set colection_name=x", 2, "did you mean 'collection_name'?"),
        ("sync.failed --duplicate --concurrent 2", 2, "take one of them"),
        ("sync.failed --repeat 0", 2, "--repeat"),
        ("sync.failed --file nowhere.json", 2, "nowhere.json"),
        ("--file shop.py", 2, "not JSON"),
        ("--file .", 2, "airweave-webhooks send"),
        ("sync.failed --to 127.0.0.1:8000", 2, "did you mean http://127.0.0.1:8000?"),
        ("sync.failed --to http://me:hunter2@x/", 2, "others can read a password"),
        ("sync.failed --to ftp://x", 2, "write a whole URL"),
        ("sync.failed --to http://127.0.0.1:9/", 3, "no webhook secret: set AIRWEAVE_WEBHOOK_SECRET"),
    ],
)
def test_what_goes_wrong(shop: Folder, arguments: str, code: int, message: str) -> None:
    done = shop.run("trigger", *arguments.split(), COLUMNS="200", TERM="dumb")
    assert done.returncode == code, done.stderr
    assert message in done.stderr
    assert "hunter2" not in done.stderr
    assert done.stdout == ""


class Strange(http.server.BaseHTTPRequestHandler):
    """No receiver: answers as its path says."""

    ANSWERS: ClassVar = {
        "/redirect": (307, {"Location": "/redirect/"}, b""),
        "/page": (200, {"Content-Type": "text/html"}, b"<html>"),
        "/missing": (404, {"Content-Type": "application/json"}, b'{"detail":"Not Found"}'),
        "/get": (405, {}, b""),
        "/strict": (401, {}, b""),
        "/careless": (200, {"Content-Type": "application/json"}, b'{"ok":true}'),
        "/twice": (200, {}, b'{"status":"processed"}'),
    }

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers["content-length"]))
        status, headers, body = self.ANSWERS[self.path]
        self.send_response(status)
        for name, value in {**headers, "Content-Length": str(len(body))}.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *args: Any) -> None:
        """Say nothing."""


@pytest.fixture(scope="module")
def strange() -> Iterator[str]:
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Strange) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        ("/redirect", 1, "a redirect (307), which Airweave does not follow: send to '/redirect/' itself"),
        ("/page", 1, "answers with a page (200, text/html)"),
        ("/missing", 1, "there is nothing at this path (404)"),
        ("/get", 1, "takes no POST (405)"),
        ("/strict", 4, "the secret, from AIRWEAVE_WEBHOOK_SECRET, is not its own"),
        ("/careless", 0, ""),
        ("/careless --tamper", 1, "whoever knows the URL can forge events"),
        ("/careless --stale --repeat 6", 1, "6 times: it was acknowledged with 200 although it was signed an hour ago"),
        ("/twice --duplicate", 1, "processed more than once"),
    ],
)
def test_what_is_no_receiver(shop: Folder, strange: str, arguments: str, code: int, message: str) -> None:
    """One sentence says what it means and how to mend it."""
    path, *more = arguments.split()
    done = shop.run("trigger", "sync.failed", "--to", strange + path, *more, AIRWEAVE_WEBHOOK_SECRET=SECRET)
    assert done.returncode == code, done.stderr
    assert message in done.stderr


def test_nothing_there(shop: Folder) -> None:
    """It gives up after the first one."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    for rate in ([], ["--rate", "100"]):
        done = shop.run(
            *("trigger", "sync.failed", "--to", f"http://127.0.0.1:{port}", "--repeat", "500", *rate),
            AIRWEAVE_WEBHOOK_SECRET=SECRET,
        )
        assert done.returncode == 5
        assert f"nothing answers at http://127.0.0.1:{port} (Connection refused)" in done.stderr
        assert " more were not sent" in done.stderr


def test_another_secret(shop: Folder, tmp_path: Path) -> None:
    """The receiver refuses, and the command says what that means: 4."""
    other = Folder(tmp_path)
    other.write(".env", f"AIRWEAVE_WEBHOOK_SECRET={OTHER_SECRET}\n")
    (announced,) = (shop.folder / "run").rglob("*.json")
    url = json.loads(announced.read_text())["url"]
    done = other.run("trigger", "sync.failed", "--to", url, "--repeat", "2")
    assert done.returncode == 4
    assert f"the secret, from {tmp_path / '.env'}, is not its own" in done.stderr


@pytest.mark.parametrize("as_json", [[], ["--json"]], ids=["text", "json"])
def test_interrupted(served: tuple[Folder, Serving], as_json: list[str]) -> None:
    """What was done so far is told."""
    shop, dev = served
    name = f"collection_readable_id=interrupted{len(as_json)}"
    sending = shop.start("trigger", "sync.failed", "--repeat", "10000", "--set", name, *as_json)
    for _ in range(3):
        dev.line(f"interrupted{len(as_json)}")
    sending.send_signal(signal.SIGINT)
    out, err = sending.communicate(timeout=30)
    assert sending.returncode == 130
    assert re.search(r"interrupted after [1-9]\d* of 10,000", err)
    if as_json:
        assert json.loads(out.splitlines()[-1])["messages"] > 0
    else:
        assert re.search(r"200 processed +[1-9]", out)


def test_the_sample_of_an_older_shape(shop: Folder) -> None:
    assert json.loads(payload("legacy.sync.completed"))["job_id"]
    (attempt, _) = shop.objects_of("trigger", "legacy.sync.completed")
    assert attempt["outcome"] == "processed"
