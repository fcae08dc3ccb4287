"""`airweave-webhooks dev`, as a process of its own, with `trigger` in another one."""

import json
import os
import re
import signal
import socket
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from commands import COMMAND, Folder, Serving

APP = """
from airweave_webhooks import Delivery, Receiver, Reject, Retry, SyncCompleted, SyncEvent

print("imported")
receiver = Receiver(name="shop", store="sqlite:///shop.db")


@receiver.on("sync.*")
def refresh(event: SyncEvent) -> None:
    print("handled")


@receiver.on("sync.failed", source_type="github")
async def alert() -> None:
    raise ValueError("postgresql://me:hunter2@host/db")


@receiver.on("collection.created")
async def later() -> None:
    raise Retry("not now")
"""

INBOX = """
from airweave_webhooks import Delivery, Inbox, Receiver

receiver = Receiver(store="sqlite:///inbox.db", mode=Inbox(worker=False, first_pause=0.01, poll=0.05))


@receiver.on("*")
def refresh(delivery: Delivery) -> None:
    if delivery.attempt == 1:
        raise OSError("not yet")
"""


@pytest.fixture
def shop(tmp_path: Path) -> Folder:
    folder = Folder(tmp_path)
    folder.write("shop.py", APP)
    return folder


@pytest.fixture
def dev(shop: Folder) -> Iterator[Serving]:
    with shop.serving("dev", "shop:receiver", "--port", "0", "--json") as serving:
        yield serving


def announcements(folder: Folder) -> list[Path]:
    return list((folder.folder / "run").rglob("*.json"))


def test_what_is_shown_as_json(shop: Folder, dev: Serving) -> None:
    """An object for each delivery, with its handlers; what handlers print goes elsewhere."""
    started = dev.event("started")
    assert started["target"] == "shop:receiver"
    assert started["store"] == "SQLiteStore('shop.db')"
    assert started["handlers"]["sync.failed"] == ["shop.refresh", "shop.alert"]
    assert announcements(shop)

    assert shop.run("trigger", "sync.completed").returncode == 0
    done = dev.event("delivery")
    assert (done["status"], done["outcome"], done["event_type"]) == (200, "processed", "sync.completed")
    assert done["collection"] == "engineering-context-k4x9q"
    assert [(run["handler"], run["result"]) for run in done["handlers"]] == [("shop.refresh", "processed")]

    failed = shop.run("trigger", "sync.failed")
    assert failed.returncode == 1
    assert "a handler failed" in failed.stderr
    alert = dev.event("delivery")["handlers"][1]
    assert alert["error"] == "ValueError: postgresql://…@host/db"
    assert re.fullmatch(r".*/shop\.py:\d+ in alert", alert["frames"][0])

    assert shop.run("trigger", "sync.completed", "--tamper").returncode == 0
    assert "changed after signing" in dev.event("refused")["why"]
    assert dev.end() == 130
    assert dev.lines[-1] == json.dumps(json.loads(dev.lines[-1]))
    assert "handled" in dev.errors
    assert not announcements(shop)
    assert "hunter2" not in "".join([*dev.lines, *dev.errors])


def test_nothing_of_a_body_that_nobody_signed(dev: Serving) -> None:
    """And the probe is answered, on every path."""
    url = dev.url
    with httpx.Client(base_url=url, trust_env=False) as client:
        assert client.head("/any/path").status_code == 200
        for headers in ({}, {"svix-id": "msg_1", "svix-timestamp": "1", "svix-signature": "v1,x"}):
            try:
                answer = client.post("/webhooks", content=b'{"event_type":"sync.hunter2"}', headers=headers)
            except httpx.TransportError:
                continue  # its body was never read, and the answer went with the connection
            assert 400 <= answer.status_code < 500
    assert dev.event("refused")["outcome"] == "malformed"
    assert dev.event("refused")["outcome"] == "unauthorized"
    assert dev.end(signal.SIGTERM) == 0
    assert "hunter2" not in "".join([*dev.lines, *dev.errors])


def test_what_is_shown_to_people(shop: Folder) -> None:
    """The header says what is served, and how to go on; then what comes."""
    with shop.serving("dev", "shop:receiver", "--port", "0") as dev:
        dev.line("in another terminal: airweave-webhooks trigger sync.completed")
        header = "\n".join(dev.lines)
        for part in ("shop:receiver, called 'shop'", "SQLiteStore('shop.db'), the receiver's own", "made for this run"):
            assert part in header
        assert re.search(r"sync\.\* +shop\.refresh", header)
        assert re.search(r"sync\.failed +shop\.alert \(source_type=github\)", header)
        shop.run("trigger", "sync.failed", "--set", "collection_readable_id=docs")
        dev.line("500 failed  sync.failed .* docs  msg_")
        dev.line(r"processed +\S+ m?s  shop\.refresh")
        dev.line(r"failed +\S+ m?s  shop\.alert")
        dev.line("ValueError: postgresql://…@host/db")
        dev.line(r"shop\.py:\d+ in alert")
        dev.line("raise ValueError")
        shop.run("trigger", "collection.created")
        dev.line("503 retry")
        dev.line("^            not now$")
        assert dev.end() == 130
    assert "airweave-webhooks: interrupted" in dev.errors
    assert "handled" in dev.lines
    assert not any("Traceback" in line for line in dev.errors)  # it is not shown twice


def test_an_inbox_has_its_worker_here(shop: Folder) -> None:
    shop.write("box.py", INBOX)
    with shop.serving("dev", "box:receiver", "--port", "0", "--json") as dev:
        assert dev.event("started")["mode"] == "inbox"
        assert shop.run("trigger", "query.processed", "--duplicate").returncode == 0
        settled = [dev.event("settled") for _ in range(2)]
    assert [(one["state"], one["attempt"]) for one in settled] == [("pending", 1), ("done", 2)]
    assert settled[0]["handlers"][0]["error"] == "OSError: not yet"


def test_tenants(shop: Folder) -> None:
    """The last part of the path says whose a delivery is."""
    shop.write(
        "many.py",
        "from airweave_webhooks import Delivery, Receiver\nreceiver = Receiver(secrets=lambda tenant: None)\n",
    )
    with shop.serving("dev", "many:receiver", "--port", "0", "--json") as dev:
        url = dev.url
        for path in ("", "/webhooks/acme"):
            assert shop.run("trigger", "sync.failed", "--to", url + path).returncode == 0
        assert [dev.event("delivery")["tenant"] for _ in range(2)] == ["dev", "acme"]
        assert dev.end() == 130


def changed(folder: Folder, text: str, dev: Serving) -> dict[str, Any]:
    """Write the application, and wait until it is served, or is not."""
    folder.write("shop.py", text)
    assert dev.event("reloading")["files"] == ["shop.py"]
    found: dict[str, Any] = json.loads(dev.line('"kind": "(started|broken)"'))
    return found


def test_reload(shop: Folder) -> None:
    """The secret stays; what is broken is shown, answers 503 meanwhile, and is served again when it is mended."""
    with shop.serving("dev", "shop:receiver", "--port", "0", "--reload", "--json") as dev:
        first = dev.event("started")
        (announced,) = announcements(shop)
        secret = announced.read_text()
        again = changed(shop, APP.replace("def alert", "def renamed"), dev)
        assert (again["kind"], again["url"]) == ("started", first["url"])
        assert "shop.renamed" in again["handlers"]["sync.failed"]

        for text in (APP + "def (", "1 / 0"):
            broken = changed(shop, text, dev)
            assert "importing shop failed" in broken["error"]
            (attempt, _) = shop.objects_of("trigger", "sync.completed", code=1)
            assert (attempt["status"], attempt["outcome"], attempt["retry_after"]) == (503, "retry", 5)
        assert shop.run("trigger", "sync.completed", "--stale").returncode == 0  # who must not get in still does not

        changed(shop, APP, dev)
        assert announced.read_text() == secret
        assert shop.run("trigger", "sync.completed").returncode == 0
        assert dev.end() == 130
    assert not announcements(shop)


def children(process: "subprocess.Popen[str]") -> list[int]:
    found = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text()
    return [int(word) for word in found.split()]


def free(url: str) -> bool:
    host, port = url.removeprefix("http://").split(":")
    try:
        socket.create_server((host, int(port))).close()
    except OSError:
        return False
    return True


def eventually(condition: Any) -> None:
    until = time.monotonic() + 20
    while not condition():
        assert time.monotonic() < until
        time.sleep(0.05)


@pytest.mark.skipif(not Path("/proc/self/task").exists(), reason="finds children in /proc")
def test_a_program_that_dies_is_started_anew(shop: Folder) -> None:
    """At once if it had served; when a file changes, if it would only die again."""
    with shop.serving("dev", "shop:receiver", "--port", "0", "--reload", "--json") as dev:
        dev.event("started")
        (child,) = children(dev.process)
        os.kill(child, signal.SIGKILL)
        ended = dev.event("ended")
        assert (ended["code"], ended["waits"]) == (-9, False)
        dev.event("started")
        shop.write("shop.py", "import os; os._exit(7)")
        dev.event("reloading")
        ended = dev.event("ended")
        assert (ended["code"], ended["waits"]) == (7, True)
        assert changed(shop, APP, dev)["kind"] == "started"
        assert dev.end(signal.SIGTERM) == 0


@pytest.mark.parametrize("reload", [[], ["--reload"]], ids=["one process", "reload"])
def test_killed(shop: Folder, reload: list[str]) -> None:
    """The announcement that is left behind leads nobody astray, and nothing goes on."""
    with shop.serving("dev", "shop:receiver", "--port", "0", "--json", *reload) as dev:
        url = dev.url
        dev.process.kill()
        dev.process.wait()
    assert announcements(shop)
    done = shop.run("trigger", "sync.completed")
    assert (done.returncode, announcements(shop)) == (2, [])
    assert "no receiver runs here: start one with `airweave-webhooks dev" in done.stderr
    eventually(lambda: free(url))


HANGING = """
import time
from airweave_webhooks import Receiver

receiver = Receiver()

@receiver.on("*")
async def hang() -> None:
    open("hangs", "w").close()
    time.sleep(60)
"""


@pytest.mark.parametrize("reload", [[], ["--reload"]], ids=["one process", "reload"])
def test_a_second_signal_ends_at_once(shop: Folder, reload: list[str]) -> None:
    """Also when a handler blocks the event loop."""
    shop.write("hanging.py", HANGING)
    with shop.serving("dev", "hanging:receiver", "--port", "0", "--json", *reload) as dev:
        url = dev.url
        sending = shop.start("trigger", "sync.failed")
        try:
            eventually((shop.folder / "hangs").exists)
            dev.process.send_signal(signal.SIGINT)
            time.sleep(0.3)
            assert dev.process.poll() is None
            assert dev.end() == 130
        finally:
            sending.kill()
            sending.communicate()
    eventually(lambda: free(url))


def test_nobody_reads_any_more(shop: Folder) -> None:
    """`dev --json | head -1` ends in peace."""
    command = f"{COMMAND} dev shop:receiver --port 0 --json | head -1"
    first = subprocess.Popen(
        ["bash", "-c", command],
        cwd=shop.folder,
        env=shop.environment(),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    eventually(lambda: announcements(shop))
    eventually(lambda: shop.run("trigger", "sync.completed").returncode in {0, 2})
    out, err = first.communicate(timeout=30)
    assert json.loads(out)["kind"] == "started"
    assert "BrokenPipe" not in err


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        ("dev", 2, "which receiver?"),
        ("dev shop", 2, "write module:receiver"),
        ("dev shop --reload", 2, "write module:receiver"),
        ("dev shop:recever", 3, "did you mean 'receiver'?"),
        ("dev syntax:receiver", 3, "SyntaxError"),
        ("dev away:receiver", 3, "away"),
        ("dev shop:receiver --host no.such.host.invalid", 3, "unknown"),
        ("dev shop:receiver --port 65536", 2, "--port"),
        ("dev memory:receiver", 3, "Inbox()"),
    ],
)
def test_what_goes_wrong(shop: Folder, arguments: str, code: int, message: str) -> None:
    shop.write("syntax.py", "receiver = (")
    shop.write("away.py", "from airweave_webhooks import Receiver\nreceiver = Receiver(store='sqlite:///away/shop.db')")
    shop.write("memory.py", "from airweave_webhooks import Inbox, Receiver\nreceiver = Receiver(mode=Inbox())")
    port = [] if "--port" in arguments else ["--port", "0"]
    done = shop.run(*arguments.split(), *port, COLUMNS="200", TERM="dumb")
    assert done.returncode == code, done.stderr
    assert message in done.stderr
    assert done.stdout == ""
    assert not announcements(shop)


def test_a_port_in_use_and_two_at_once(shop: Folder, dev: Serving) -> None:
    """Each is found by its URL, and its own secret is used; without a URL it is a question."""
    url = dev.url
    port = url.rpartition(":")[2]
    done = shop.run("dev", "shop:receiver", "--port", port)
    assert done.returncode == 3
    assert f"port {port} is in use by another airweave-webhooks, process {dev.process.pid}" in done.stderr
    with shop.serving("dev", "shop:receiver", "--port", "0") as other:
        command = other.line("in another terminal").rpartition("airweave-webhooks ")[2]
        other_url = command.rpartition(" ")[2]
        assert command == f"trigger sync.completed --to {other_url}"
        done = shop.run("trigger", "sync.completed")
        assert done.returncode == 2
        assert "several receivers run here: --to " in done.stderr
        for one in (url, other_url):
            assert shop.run("trigger", "sync.completed", "--to", f"{one}/hooks").returncode == 0
        dev.event("delivery")
        other.line("200 processed")


def test_settings(shop: Folder) -> None:
    """The receiver, its folder and the port can be set."""
    (shop.folder / "src").mkdir()
    (shop.folder / "shop.py").rename(shop.folder / "src" / "web.py")
    shop.write("pyproject.toml", '[tool.airweave-webhooks]\nreceiver = "web:receiver"\napp-dir = "src"\nport = 0\n')
    with shop.serving("dev", "--json") as dev:
        assert dev.event("started")["target"] == "web:receiver"
