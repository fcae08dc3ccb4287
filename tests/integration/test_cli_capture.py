"""`airweave-webhooks capture` and `send`, as processes of their own."""

import json
import signal
from pathlib import Path

import httpx
import pytest

from airweave_webhooks.testing.payloads import payload
from airweave_webhooks.testing.recording import read_recordings
from commands import Folder
from conftest import SECRET, sign

APP = """
from airweave_webhooks import Receiver, SyncEvent

receiver = Receiver()


@receiver.on("sync.*")
def refresh(event: SyncEvent) -> None:
    with open("effects", "a") as effects:
        effects.write(event.event_type + "\\n")
"""


@pytest.fixture
def shop(tmp_path: Path) -> Folder:
    folder = Folder(tmp_path)
    folder.write("shop.py", APP)
    return folder


def test_captured_and_sent(shop: Folder) -> None:
    """In the order in which they came; once each; and again, when it is asked for."""
    names = ["sync.running", "sync.completed", "collection.created"]
    with shop.serving("capture", "--out", "got/here", "--port", "0") as capture:
        capture.line("made for this run; trigger finds it")
        for name in names:
            assert shop.run("trigger", name, "--duplicate").returncode == 0
        assert shop.run("trigger", "sync.failed", "--tamper").returncode == 0
        assert capture.end() == 130
    assert "3 deliveries in got/here; to send them: airweave-webhooks send got/here" in capture.lines
    recorded = read_recordings(shop.folder / "got" / "here")
    assert [json.loads(message.body)["event_type"] for message in recorded] == names
    assert not list((shop.folder / "run").rglob("*.json"))

    with shop.serving("dev", "shop:receiver", "--port", "0", "--json") as dev:
        assert dev.url
        *attempts, summary = shop.objects_of("send", "got/here")
        assert [one["event_type"] for one in attempts] == names
        assert [one["message_id"] for one in attempts] == [message.id for message in recorded]
        assert [one["outcome"] for one in attempts] == ["processed", "processed", "ignored"]
        assert summary["of"] == 3
        again = shop.run("send", "got/here")
        assert again.returncode == 0
        assert "3 were duplicates: the receiver has done it before; --new-ids sends as new messages" in again.stderr
        file = min((shop.folder / "got" / "here").iterdir())
        done = shop.run("send", str(file), str(file), "--new-ids", "--rate", "50")
        assert done.stdout.count("200 processed") == 2
    assert (shop.folder / "effects").read_text().split() == ["sync.running", "sync.completed", *["sync.running"] * 2]


def test_what_airweave_sends_is_captured(shop: Folder) -> None:
    """With the secret that is set, which is not written down once more; acknowledged when the file is there."""
    shop.write(".env", f"AIRWEAVE_WEBHOOK_SECRET='{SECRET}'\n")
    with shop.serving("capture", "--out", "got", "--port", "0", "--json") as capture:
        started = capture.event("started")
        assert started["secret_from"] == f"from {shop.folder / '.env'}"
        (announced,) = (shop.folder / "run").rglob("*.json")
        assert SECRET not in announced.read_text()
        body = payload("sync.failed")
        answer = httpx.post(started["url"], content=body, headers=sign(body), trust_env=False)
        assert answer.json() == {"status": "processed"}
        assert [message.body for message in read_recordings(shop.folder / "got")] == [body]
        assert shop.run("trigger", "sync.failed").returncode == 0
        assert capture.event("delivery")["event_type"] == "sync.failed"
        assert capture.end(signal.SIGTERM) == 0
    assert json.loads(capture.lines[-1])["deliveries"] == 2


def test_what_cannot_be_written_is_not_acknowledged(shop: Folder) -> None:
    with shop.serving("capture", "--out", "got", "--port", "0") as capture:
        capture.line("url")
        (shop.folder / "got").rmdir()
        shop.write("got", "a file")
        done = shop.run("trigger", "sync.failed")
        assert done.returncode == 1
        assert "500 failed" in done.stdout
        capture.line("cannot be written")


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        ("capture", 2, "--out"),
        ("capture --out shop.py --port 0", 2, "is a file"),
        ("capture --out shop.py/x --port 0", 3, "--out shop.py/x: "),
        ("capture --out got --port 65536", 2, "--port"),
        ("send", 2, "DIR_OR_FILE"),
        ("send nowhere", 2, "nowhere"),
        ("send empty", 2, "there are no deliveries in it"),
        ("send shop.py", 2, "not JSON"),
        ("send event.json", 2, "no receiver runs here"),
        ("send strange.json", 2, "is not ASCII"),
        ("send strange.json --new-ids", 2, "no receiver runs here"),
    ],
)
def test_what_goes_wrong(shop: Folder, arguments: str, code: int, message: str) -> None:
    (shop.folder / "empty").mkdir()
    shop.write("event.json", '{"event_type": "sync.failed"}')
    shop.write("strange.json", r'{"id": "\u00e9", "sent_at": "2026-01-01", "payload": {"event_type": "sync.failed"}}')
    done = shop.run(*arguments.split(), COLUMNS="200", TERM="dumb")
    assert done.returncode == code, done.stderr
    assert message in done.stderr
    assert done.stdout == ""


def test_a_secret_that_cannot_be_used(shop: Folder) -> None:
    done = shop.run("capture", "--out", "got", "--port", "0", AIRWEAVE_WEBHOOK_SECRET="whsec_hunter2")
    assert done.returncode == 3
    assert "hunter2" not in done.stderr


def test_a_bare_payload_is_a_duplicate_the_second_time(shop: Folder) -> None:
    shop.write("event.json", payload("sync.failed").decode())
    with shop.serving("dev", "shop:receiver", "--port", "0", "--json") as dev:
        assert dev.url
        assert "200 processed" in shop.run("send", "event.json").stdout
        assert "it was a duplicate: the receiver has done it before" in shop.run("send", "event.json").stderr
