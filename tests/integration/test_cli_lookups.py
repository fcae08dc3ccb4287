"""`airweave-webhooks events`, `sign`, `verify`, `config` and `health`, as processes of their own."""

import json
import os
import re
import shlex
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from airweave_webhooks import Receiver
from airweave_webhooks.cli.local import announced
from airweave_webhooks.cli.masks import fingerprint
from airweave_webhooks.events import EVENT_TYPES
from airweave_webhooks.testing.attempts import Message
from airweave_webhooks.testing.payloads import payload
from airweave_webhooks.testing.recording import write_recording
from commands import Shop
from conftest import OTHER_SECRET, SECRET, sign

VARIABLE = "AIRWEAVE_WEBHOOK_SECRET"
BODY = payload("sync.completed")
URL = "http://127.0.0.1:8000"
LEAKS = [secret.removeprefix("whsec_") for secret in (SECRET, OTHER_SECRET)]


@pytest.fixture
def folder(shop: Shop) -> Path:
    """A project with a secret, and with a body."""
    shop.write(".env", f"export {VARIABLE}='{SECRET}'  # of the test\n")
    (shop.folder / "body.json").write_bytes(BODY)
    return shop.folder


@pytest.fixture
def running(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A server that has said that it runs, with another secret."""
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(shop.running))
    with announced(URL, OTHER_SECRET):
        yield


def ended(shop: Shop, command: str, code: int = 0, **more: str) -> "subprocess.CompletedProcess[str]":
    """A command that ends with a code, and tells no secret."""
    done = shop.run(*shlex.split(command), **more)
    assert done.returncode == code, done.stdout + done.stderr
    for secret in LEAKS:
        assert secret not in done.stdout + done.stderr
    return done


def answer(shop: Shop, command: str, code: int = 0, **more: str) -> dict[str, Any]:
    """What a command says as one JSON object."""
    (line,) = ended(shop, f"{command} --json", code, **more).stdout.splitlines()
    found: dict[str, Any] = json.loads(line)
    return found


def test_events(shop: Shop) -> None:
    """Every type is a line: what it means, and whether Airweave documents it."""
    lines = ended(shop, "events").stdout.splitlines()
    assert [line.split()[0] for line in lines[1:] if line.strip()] == list(EVENT_TYPES)
    (completed,) = [line for line in lines if line.startswith("sync.completed")]
    assert re.fullmatch(r"sync\.completed +A job is done, and the collection is fresh\. +yes *", completed)


def test_one_event(shop: Shop) -> None:
    text = ended(shop, "events sync.completed").stdout
    for part in (
        r"class +SyncCompleted\(SyncEvent\)",
        r"in Airweave's docs +yes",
        r"natural key +<event_type>:<sync_job_id>",
        r"sync_job_id +UUID +The job\. Also comes as job_id\.",
        r"error +str \| None +optional +Why the job failed\.",
    ):
        assert re.search(part, text), part
    assert json.loads(text.partition("Example\n")[2]) == json.loads(BODY)


def test_events_as_json(shop: Shop) -> None:
    lines = ended(shop, "events search.* QueryProcessed --json").stdout.splitlines()
    found = {event["event_type"]: event for event in map(json.loads, lines)}
    assert len(found) == 7
    query = found["query.processed"]
    assert (query["class"], query["documented"], query["natural_key"]) == ("QueryProcessed", False, None)
    assert query["fields"][-1]["type"] == "bool"
    assert query["example"] == json.loads(payload("query.processed"))


def test_an_event_that_does_not_exist(shop: Shop) -> None:
    done = ended(shop, "events sync.competed", 2)
    assert done.stderr == "airweave-webhooks: no such event: 'sync.competed'; did you mean 'sync.completed'?\n"


@pytest.mark.parametrize("command", ["events", "events entity.batch_processed", "config", "verify body.json --id x"])
def test_what_is_shown_fits(shop: Shop, folder: Path, command: str) -> None:
    """80 columns; in colour, unless one wants none."""
    colored = shop.run(*command.split(), FORCE_COLOR="1", COLUMNS="80", TERM="xterm").stdout
    text = re.sub(r"\x1b\[[0-9;]*m", "", colored)
    assert max(map(len, text.splitlines())) <= 80
    assert "…" not in text.replace("whsec_…", "")
    assert "\x1b[" in colored
    plain = shop.run(*command.split(), FORCE_COLOR="1", NO_COLOR="1", COLUMNS="80", TERM="xterm").stdout
    assert "\x1b[3" not in plain


@pytest.mark.anyio
async def test_what_is_signed_is_received(shop: Shop, folder: Path) -> None:
    """By a receiver with the same secret; and the lines are those that curl reads."""
    done = ended(shop, "sign body.json")
    headers = dict(line.split(": ", 1) for line in done.stdout.splitlines())
    assert list(headers) == ["svix-id", "svix-timestamp", "svix-signature"]
    assert re.fullmatch(r"msg_[0-9A-Za-z]{27}", headers["svix-id"])
    assert f"signed with whsec_… ({fingerprint(SECRET)}), from {folder / '.env'}" in done.stderr
    async with Receiver(secrets=SECRET) as receiver:
        assert (await receiver.handle(headers, BODY)).outcome == "ignored"


def test_sign_with_all_that_can_be_said(shop: Shop, folder: Path) -> None:
    """From stdin, with every secret of a rotation, as another signer does."""
    secrets = f"{SECRET}, {OTHER_SECRET}"
    options = "--id msg_7 --timestamp 1800000000 --family webhook"
    said = answer(shop, f"sign - {options}", text=BODY.decode(), AIRWEAVE_WEBHOOK_SECRET=secrets)
    ours, other = (
        sign(BODY, message_id="msg_7", secret=secret, at=1_800_000_000, family="webhook")
        for secret in (SECRET, OTHER_SECRET)
    )
    signature = f"{ours['webhook-signature']} {other['webhook-signature']}"
    del ours["content-type"]
    assert said["headers"] == ours | {"webhook-signature": signature}
    assert said["secrets"] == [fingerprint(SECRET), fingerprint(OTHER_SECRET)]
    assert (said["source"], said["bytes"]) == (VARIABLE, len(BODY))


def test_sign_a_recording(shop: Shop, folder: Path) -> None:
    """What is signed is the body that it tells of, under its id; the command for curl holds it."""
    file = write_recording(Message("msg_9", '{"name":"it\'s é"}'.encode(), 7.0), folder)
    done = ended(shop, f"sign {file.name}")
    assert done.stdout.startswith("svix-id: msg_9\n")
    assert "is a recording" in done.stderr
    words = shlex.split(ended(shop, f"sign {file.name} --curl {URL}").stdout)
    assert words[-3:] == ["--data-raw", '{"name":"it\'s é"}', URL]


def test_the_command_for_curl(shop: Shop, folder: Path) -> None:
    """Each word is quoted; a file is named, so that its bytes are sent."""
    (folder / "a b.json").write_bytes(BODY)
    words = shlex.split(ended(shop, f"sign 'a b.json' --curl {URL} --timestamp 2026-01-01").stdout)
    assert words[:3] == ["curl", "-H", "content-type: application/json"]
    assert "svix-timestamp: 1767225600" in words
    assert words[-3:] == ["--data-binary", "@a b.json", URL]
    words = shlex.split(ended(shop, f"sign - --curl {URL}", text="@file\n").stdout)
    assert words[-3:] == ["--data-raw", "@file\n", URL]


@pytest.mark.parametrize(
    ("command", "code", "message"),
    [
        ("sign nowhere.json", 2, "nowhere.json: No such file or directory"),
        ("sign body.json --curl ftp://x", 2, "takes a URL that begins with http:// or https://"),
        ("sign body.json --family x", 2, "takes svix or webhook"),
        ("sign body.json --timestamp yesterday", 2, "neither a time ago"),
        ("sign body.json --id 'a\nb'", 2, "no receiver would take this: the message id"),
        ("sign body.json --id é", 2, "no receiver would take this: the message id"),
        ("sign odd --curl http://x", 0, ""),
        ("verify body.json", 2, "say the headers: --headers FILE, or"),
        ("verify body.json --headers h --id x", 2, "one of the two"),
        ("verify body.json --headers nowhere", 2, "nowhere: No such file"),
        ("verify - --headers -", 2, "only one of body and headers can be stdin"),
        ("verify body.json --id x --tolerance nan", 2, "is no number of seconds"),
        ("verify body.json --id x --tolerance x", 2, "is no number of seconds"),
    ],
)
def test_what_goes_wrong(shop: Shop, folder: Path, command: str, code: int, message: str) -> None:
    (folder / "odd").write_bytes(b"\xff\x00")
    assert message in ended(shop, command, code, COLUMNS="200", TERM="dumb").stderr


def test_a_body_that_no_shell_can_write(shop: Shop, folder: Path) -> None:
    process = shop.start("sign", "-", "--curl", URL, stdin=subprocess.PIPE)
    assert process.stdin is not None
    os.write(process.stdin.fileno(), b"\xff")
    _, err = process.communicate(timeout=30)
    assert (process.returncode, err) == (2, "airweave-webhooks: a shell cannot write this body: put it into a file\n")


@pytest.mark.parametrize("command", ["sign body.json", "verify body.json --id msg_1"])
def test_without_a_secret(shop: Shop, folder: Path, command: str) -> None:
    """Or with one that is none: it is not shown."""
    (folder / ".env").unlink()
    assert "no webhook secret: set AIRWEAVE_WEBHOOK_SECRET" in ended(shop, command, 3).stderr
    err = ended(shop, command, 3, AIRWEAVE_WEBHOOK_SECRET="whsec_hunter2").stderr
    assert "padded standard base64" in err
    assert "hunter2" not in err


def test_with_the_secret_of_what_runs(shop: Shop, folder: Path, running: None) -> None:
    """Where none is set; where one is, it is recognised that the other one has signed."""
    (folder / ".env").unlink()
    done = ended(shop, "sign body.json")
    assert f"({fingerprint(OTHER_SECRET)}), from the local server {os.getpid()}" in done.stderr
    (folder / "headers").write_text(done.stdout)
    assert answer(shop, "verify body.json --headers headers")["verified"] is True
    (folder / ".env").write_text(f"{VARIABLE}={SECRET}")
    said = answer(shop, "verify body.json --headers headers", 4)
    assert [check["cause"] for check in said["checks"]] == [None, "local", None]
    assert f"the local server {os.getpid()}, {URL}" in said["checks"][1]["finding"]


def test_verify(shop: Shop, folder: Path) -> None:
    """By a file of headers, by stdin, by options; and what is good says so."""
    headers = sign(BODY)
    lines = "".join(f"{name}: {value}\n" for name, value in headers.items())
    done = ended(shop, "verify body.json --headers -", text=lines)
    assert re.search(r"signature +good +signed with whsec_… \(96ad2ccd\)", done.stdout)
    assert re.search(r"verdict +verified", done.stdout)
    options = " ".join(f"--{name} '{headers[f'svix-{name}']}'" for name in ("id", "timestamp", "signature"))
    said = answer(shop, f"verify - {options}", text=BODY.decode())
    assert (said["verified"], said["message_id"], said["timestamp"]) == (True, "msg_1", int(headers["svix-timestamp"]))
    assert said["tried"] == [{"source": str(folder / ".env"), "fingerprint": fingerprint(SECRET)}]


def test_verify_what_came_long_ago(shop: Shop, folder: Path) -> None:
    """It is stale, unless one says when it came, or how long ago is good enough."""
    headers = sign(BODY, at=1_800_000_000 - 86_400 * 365)
    (folder / "headers").write_text(json.dumps(headers))
    text = ended(shop, "verify body.json --headers headers", 4).stdout
    assert re.search(r"signature +good", text)
    assert re.search(r"time +BAD +stale: signed \d+ s ago by this host's clock, 300 s are allowed", text)
    assert re.search(r"Remedy: .*--at TIME", text)
    assert re.search(r"verdict +not verified", text)
    ended(shop, f"verify body.json --headers headers --at {1_800_000_000 - 86_400 * 365 + 60}")
    ended(shop, "verify body.json --headers headers --tolerance inf")


def test_verify_what_is_bad(shop: Shop, folder: Path) -> None:
    """It says why, in a word for programs too; a retired secret is recognised."""
    (folder / "headers").write_text(json.dumps(sign(BODY, secret=OTHER_SECRET)))
    said = answer(shop, "verify body.json --headers headers", 4)
    assert [check["cause"] for check in said["checks"]] == [None, "unknown", None]
    text = ended(shop, "verify body.json --headers headers", 4, AIRWEAVE_WEBHOOK_RETIRED_SECRET=OTHER_SECRET).stdout
    assert "signed with a retired secret" in text
    said = answer(shop, "verify body.json --id msg_1", 4)
    assert (said["checks"][0]["cause"], said["message_id"]) == ("headers", None)


def test_config(shop: Shop, folder: Path, running: None) -> None:
    """What is set, where, and what runs; and no secret."""
    shop.write("pyproject.toml", '[tool.airweave-webhooks]\nreceiver = "shop:receiver"\nport = 9000\n')
    url = "https://me:hunter2@example.com/hook"
    done = ended(shop, "config", AIRWEAVE_WEBHOOKS_URL=url)
    lines = {line.split()[0]: line.split()[1:] for line in done.stdout.splitlines() if line.strip()}
    assert lines["project"] == [str(folder)]
    assert lines["files"] == ["pyproject.toml", "and", ".env"]
    assert lines["receiver"] == ["shop:receiver", "pyproject.toml"]
    assert lines["port"] == ["9000", "pyproject.toml"]
    assert lines["host"] == ["127.0.0.1", "default"]
    assert lines["app-dir"] == ["not", "set", "AIRWEAVE_WEBHOOKS_APP_DIR"]
    assert lines["url"] == ["https://…@example.com/hook", "AIRWEAVE_WEBHOOKS_URL"]
    assert lines["secret"] == ["whsec_…", f"({fingerprint(SECRET)})", ".env"]
    assert lines[str(os.getpid())] == [URL, "whsec_…", f"({fingerprint(OTHER_SECRET)})"]
    assert "SHA-256" in done.stdout
    assert "hunter2" not in done.stdout
    said = answer(shop, "config", AIRWEAVE_WEBHOOKS_URL=url)
    assert said["settings"]["port"] == {"value": "9000", "source": str(folder / "pyproject.toml")}
    assert said["secret"] == {"fingerprints": [fingerprint(SECRET)], "source": str(folder / ".env")}
    assert said["servers"] == [{"pid": os.getpid(), "url": URL, "fingerprint": fingerprint(OTHER_SECRET)}]
    assert said["problems"] == []


def test_config_of_nothing(shop: Shop) -> None:
    text = ended(shop, "config").stdout
    assert "neither pyproject.toml nor .env" in text
    assert text.endswith("nothing\n")


def test_config_says_what_is_wrong(shop: Shop) -> None:
    """A secret or a place that is none, a variable that is misspelt, a folder that is not the user's."""
    shop.running.rmdir()
    wrong = {"AIRWEAVE_WEBHOOKS_SECRET": "x", "AIRWEAVE_WEBHOOKS_RECIEVER": "x", VARIABLE: "hunter2"}
    wrong |= {"AIRWEAVE_WEBHOOKS_URL": "x", "AIRWEAVE_WEBHOOKS_PORT": "x"}
    wrong |= {"XDG_RUNTIME_DIR": "", "TMPDIR": str(shop.folder)}
    (shop.folder / f"runtime-{os.getuid()}").write_text("")
    done = ended(shop, "config", 3, **wrong)
    assert "secret    … (not usable)" in done.stdout
    assert "begin with 'whsec_'" in done.stderr
    assert "AIRWEAVE_WEBHOOKS_SECRET means nothing; did you mean AIRWEAVE_WEBHOOK_SECRET?" in done.stderr
    assert "AIRWEAVE_WEBHOOKS_RECIEVER means nothing; did you mean AIRWEAVE_WEBHOOKS_RECEIVER?" in done.stderr
    assert "AIRWEAVE_WEBHOOKS_URL: 'x': write a whole URL" in done.stderr
    assert "AIRWEAVE_WEBHOOKS_PORT: port takes a number" in done.stderr
    assert "XDG_RUNTIME_DIR" in done.stderr
    assert "hunter2" not in done.stdout + done.stderr
    assert len(answer(shop, "config", 3, **wrong)["problems"]) == 6
    ended(shop, "verify shop.py --id x", 4, **wrong | {VARIABLE: SECRET})  # which needs no folder


def test_settings_that_are_wrong_end_every_command(shop: Shop) -> None:
    shop.write("pyproject.toml", f'[tool.airweave-webhooks]\nsecret = "{SECRET}"\n')
    assert "a file that is committed" in ended(shop, "events", 3).stderr


def test_health(shop: Shop) -> None:
    """0 if all is well, with a line a fact."""
    shop.fill("pending", "msg_1")
    lines = dict(line.split(maxsplit=1) for line in ended(shop, "health shop:receiver").stdout.splitlines())
    assert (lines["healthy"].strip(), lines["mode"].strip(), lines["pending"].strip()) == ("yes", "inbox", "1")
    assert lines["worker"].strip() == "never seen"
    said = answer(shop, "health shop:receiver")
    assert (said["receiver"], said["healthy"], said["pending"], said["problems"]) == ("shop", True, 1, [])


def test_health_when_something_is_wrong(shop: Shop) -> None:
    """1, with the remedy; of a store that is away, 5."""
    shop.write("slow.py", (shop.folder / "shop.py").read_text().replace("Inbox(", "Inbox(unhealthy_after=0.1, "))
    shop.fill("pending", "msg_1")
    time.sleep(0.2)
    text = ended(shop, "health slow:receiver", 1).stdout
    assert re.search(r"healthy +NO", text)
    assert re.search(r"problem +a delivery has been due for \d+ s; no worker runs: start", text)
    assert answer(shop, "health slow:receiver", 1)["healthy"] is False
    shop.write(
        "far.py",
        "from airweave_webhooks import Receiver, SQLiteStore\nfrom airweave_webhooks.errors import StoreUnavailable\n"
        "class Far(SQLiteStore):\n    async def get(self, keys):\n"
        "        raise StoreUnavailable('postgresql://me:hunter2@host/db is far away')\n"
        "receiver = Receiver(store=Far('far.db'))\n",
    )
    said = answer(shop, "health far:receiver", 5)
    assert (said["healthy"], said["problems"]) == (False, ["postgresql://…@host/db is far away"])


def test_health_of_a_store_that_holds_no_inbox(shop: Shop) -> None:
    shop.write("plain.py", "from airweave_webhooks import Receiver\nreceiver = Receiver()\n")
    lines = ended(shop, "health plain:receiver").stdout.splitlines()
    assert [line.split()[0] for line in lines] == ["receiver", "healthy", "mode", "store"]


def test_a_receiver_that_is_set(shop: Shop) -> None:
    """Need not be named; and a key is no receiver."""
    shop.write(".env", "AIRWEAVE_WEBHOOKS_RECEIVER=shop:receiver")
    shop.fill("dead", "msg_1", key="sync.failed:abc")
    shop.fill("done", "msg_2")
    assert "msg_1" in ended(shop, "deliveries show msg_1").stdout
    assert "msg_1" in ended(shop, "deliveries show sync.failed:abc").stdout
    assert "msg_1" in ended(shop, "deliveries show shop:receiver sync.failed:abc").stdout
    assert "if order:a is its key, write the receiver before it" in ended(shop, "deliveries show order:a", 2).stderr
    done = ended(shop, "deliveries replay sync.failed:abc msg_2 --yes")
    assert done.stdout == "2 deliveries replayed\n"
    assert done.stderr.endswith("a worker runs them: airweave-webhooks worker\n")
    assert ended(shop, "deliveries purge --older-than 16").stdout.startswith("0 deliveries purged")
    shop.fill("many", 1)
    done = ended(shop, "deliveries replay shop:receiver --all-dead --yes --app-dir .")
    assert done.stderr.endswith("a worker runs them: airweave-webhooks worker shop:receiver --app-dir .\n")


def test_the_commands_on_the_page(shop: Shop, folder: Path) -> None:
    """Each command that docs/command-line.md shows of these ends well; or, of one that is to fail, as it should."""
    page = (Path(__file__).parents[2] / "docs" / "command-line.md").read_text()
    commands = re.findall(r"^\$ airweave-webhooks ((?:events|sign|verify|config|health) ?.*)$", page, re.MULTILINE)
    assert len(commands) == 9
    shop.write("app.py", (folder / "shop.py").read_text())
    (folder / "headers").write_text(json.dumps(sign(BODY)))
    for command in commands:
        assert ended(shop, command.partition(" > ")[0]).stdout


def test_on_a_terminal(shop: Shop) -> None:
    """There are colours."""
    code, shown = shop.on_a_terminal("", "events", "sync.failed")
    assert code == 0
    assert "\x1b[" in shown
