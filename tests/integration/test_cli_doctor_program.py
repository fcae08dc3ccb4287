"""`airweave-webhooks doctor module:receiver`, as a process of its own, on real stores."""

import asyncio
import os
import pty
import re
import sqlite3
import subprocess
from pathlib import Path
from typing import Any

import psycopg
import pytest

from airweave_webhooks import PostgresStore, SQLiteStore
from airweave_webhooks.cli.local import announced
from doctor_visits import COMMAND, SECRET, Visit, visit
from inbox_records import Filler
from servers.redis import RedisServer

pytestmark = pytest.mark.anyio

PUBLIC = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
HANDLERS = """
from airweave_webhooks import Delivery, Event, SyncEvent, UnknownEvent

@receiver.on("sync.*", max_attempts=4, id="refresh")
def refresh(event: SyncEvent) -> None: ...
"""


async def examined(folder: Path, settings: str, *arguments: str, more: str = HANDLERS, **environment: Any) -> Visit:
    """Examine a receiver that is made with these settings."""
    (folder / "app.py").write_text(
        f"from airweave_webhooks import *\nfrom airweave_webhooks.bodies import BodyLimits\n"
        f"SECRET = '{SECRET}'\nreceiver = Receiver({settings})\n{more}"
    )
    return await visit(folder, "app:receiver", *arguments, **environment)


async def opened(store: Any) -> None:
    """Make its tables."""
    await store.open()
    await store.close()


async def test_a_sound_receiver(tmp_path: Path) -> None:
    """All is well, and nothing in the store has changed."""
    store = SQLiteStore(tmp_path / "app.db")
    await opened(store)
    before = (tmp_path / "app.db").read_bytes()
    done = await examined(tmp_path, "secrets=SECRET, store='sqlite:///app.db'", "--workers", "4")
    assert (done.code, done.levels()) == (0, {}), done.out
    assert (tmp_path / "app.db").read_bytes() == before
    done.saw("secret", "ok", "there is one secret: 1 of HMAC")
    done.saw("shared", "ok", "so also by 4 processes; not by machines")
    done.saw("handlers", "ok", "1 handler, by event type:")
    assert done["handlers"]["details"]["sync.failed"] == "refresh (max_attempts=4)"
    done.saw("unhandled", "ok", "19 of 25 event types have no handler")


async def test_a_file_that_is_not_there_is_not_made(tmp_path: Path) -> None:
    """Nor one that is old brought up to date."""
    done = await examined(tmp_path, "secrets=SECRET, store='sqlite:///app.db'")
    assert done.code == 0
    done.saw("store", "skipped", "the receiver makes its tables when it opens", "start the receiver once")
    assert not (tmp_path / "app.db").exists()
    sqlite3.connect(tmp_path / "app.db").close()
    (await examined(tmp_path, "secrets=SECRET, store='sqlite:///app.db'")).saw("store", "skipped", "empty or old")


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        (
            "",
            [
                ("secret", "problem", "no webhook secret", "set AIRWEAVE_WEBHOOK_SECRET"),
                ("durable", "warning", "memory: forgets everything", "sqlite:///path"),
            ],
        ),
        (
            f"secrets='{PUBLIC}', store='sqlite:///away/app.db', mode=Inline(answer_within=20)",
            [
                ("secret", "problem", "of a public example", "the endpoint's own"),
                ("store", "problem", "create the directory", "do what"),
                ("limits", "problem", "gives up after 15 s", "12 s"),
            ],
        ),
    ],
)
async def test_what_is_wrong(tmp_path: Path, settings: str, expected: list[tuple[str, str, str, str]]) -> None:
    done = await examined(tmp_path, settings)
    for finding in expected:
        done.saw(*finding)
    assert done.code == 1


async def test_memory_and_several_processes(tmp_path: Path) -> None:
    done = await examined(tmp_path, "secrets=SECRET", "--workers", "2")
    done.saw("shared", "problem", "2 processes would each do what comes twice", "postgresql://")
    assert done.code == 1


STORES = """
import asyncio, threading

class Stuck(MemoryStore):
    async def open(self):
        await asyncio.sleep(60)

class Strange:
    durable = round_trip = True
    async def open(self):
        raise RuntimeError("whsec_hunter2hunter2")

def slow():
    threading.Event().wait(600)
"""


async def test_stores_of_ones_own(tmp_path: Path) -> None:
    """Whatever they do is a finding."""
    (tmp_path / "mine.py").write_text(f"from airweave_webhooks import *\nSECRET = '{SECRET}'\n{STORES}")
    more = "import mine\nreceiver = Receiver(secrets=mine.slow, store=mine."
    done = await examined(tmp_path, "", "--timeout", "0.3", more=f"{more}Stuck())")
    done.saw("store", "problem", "did not answer within 0.3 s", "start it")
    done.saw("secret", "problem", "did not answer within 0.3 s", "quicker")
    assert done.code == 5
    done = await examined(tmp_path, "", more=f"{more}Strange())")
    done.saw("store", "problem", "raised RuntimeError: whsec_", "a store, a lookup")
    assert "hunter2" not in done.out
    done.saw("shared", "skipped", "Strange is shared by one process (assumed", "testing.contracts")


async def test_postgresql(tmp_path: Path, postgres_url: str, schema: str) -> None:
    """Tables are not made by looking; what waits is seen."""
    settings = f"secrets=SECRET, store=PostgresStore('{postgres_url}', schema='{schema}'), mode=Inbox(worker=False)"
    done = await examined(tmp_path, settings)
    done.saw("store", "skipped", "makes its tables when it opens", "")
    with psycopg.connect(postgres_url) as connection:
        found = connection.execute("SELECT 1 FROM pg_namespace WHERE nspname = %s", [schema]).fetchall()
        assert found == []
    await opened(PostgresStore(postgres_url, schema=schema))
    done = await examined(tmp_path, settings)
    done.saw("worker", "warning", "last seen: never; so handlers do not run", "airweave-webhooks worker app:receiver")
    done.saw("shared", "ok", "all machines", "")
    assert done.code == 0


async def test_stores_that_are_away(tmp_path: Path) -> None:
    done = await examined(tmp_path, "secrets=SECRET, store='postgresql://me:hunter2@127.0.0.1:9/app'")
    done.saw("store", "problem", "127.0.0.1:9", "the sender gets 503")
    assert done.code == 5
    assert "hunter2" not in done.out + done.err


async def test_redis(tmp_path: Path, redis_server: RedisServer) -> None:
    """What it says when it opens is a finding: what a crash costs, what is evicted."""
    redis_server.order("CONFIG", "SET", "appendonly", "no")
    try:
        done = await examined(tmp_path, f"secrets=SECRET, store='{redis_server.url}'")
    finally:
        redis_server.order("CONFIG", "SET", "appendonly", "yes")
    done.saw("keeps", "warning", "in a crash", "set appendonly yes")
    assert done.code == 0
    assert done.err == ""


async def test_an_inbox(tmp_path: Path) -> None:
    """Dead deliveries, and such as nobody works on."""
    store = SQLiteStore(tmp_path / "app.db", clock=lambda: 1_700_000_000.0)
    await store.open()
    filler = Filler(store)
    await filler.pending("msg_1")
    await filler.dead("msg_2")
    await store.close()
    done = await examined(tmp_path, "secrets=SECRET, name='shop', store='sqlite:///app.db', mode=Inbox(worker=False)")
    problems = [one for one in done.findings if one["name"] == "health"]
    assert [one["level"] for one in problems] == ["problem", "warning"], problems
    assert "no worker runs: start" in problems[0]["remedy"]
    assert "deliveries list app:receiver --state dead" in problems[1]["remedy"]
    done = await examined(tmp_path, "secrets=SECRET, name='shop', store='sqlite:///app.db', mode=Inbox()")
    done.saw("worker", "ok", "each process that serves the receiver also works")
    done = await examined(tmp_path, "secrets=SECRET, name='shop', store='sqlite:///app.db'")
    done.saw("worker", "warning", "1 delivery pending, and Inline() has no worker", "worker app:receiver")
    await store.open()
    await store.close()
    now = SQLiteStore(tmp_path / "app.db")
    await now.open()
    await now.beat("shop", "me")
    await now.close()
    done = await examined(tmp_path, "secrets=SECRET, name='shop', store='sqlite:///app.db', mode=Inbox(worker=False)")
    done.saw("worker", "ok", "a worker was seen")


MANY = """
@receiver.on("sync.*", "collection.created", collection_readable_id=["a", "b"], max_attempts=20, timeout=60, id="slow")
async def slow(event: Event) -> None: ...

@receiver.on("source_connection.deleted", is_authenticated=True, id="idle")
async def idle(event: Event) -> None: ...

@receiver.on("search.*", tool_name="x", when=bool, id="tools")
async def tools(event: Event) -> None: ...

@receiver.on(UnknownEvent, id="drift")
async def drift(event: Event) -> None: ...
"""
INBOX = """
@receiver.on("sync.*", order_by="sync_job_id", concurrency=50, id="ordered")
def ordered(event: SyncEvent) -> None: ...
"""


async def test_handlers(tmp_path: Path) -> None:
    """Who takes what; who never will; and what they do not agree on."""
    done = await examined(tmp_path, "secrets=SECRET", more=HANDLERS + MANY)
    table = done["handlers"]["details"]
    assert table["sync.failed"] == (
        "refresh (max_attempts=4), slow (collection_readable_id=a|b, timeout=60, max_attempts=20)"
    )
    assert table["search.tool_called"] == "tools (tool_name=x, when)"
    assert "search.started" not in table
    assert table["(unknown)"] == "drift"
    done.saw("never", "warning", "no event can reach idle", "correct the filters")
    options = [one["seen"] for one in done.findings if one["name"] == "options"]
    assert any(text.startswith("sync.failed: its handlers give up after different numbers") for text in options)
    assert any(
        text.startswith("slow may take 60 s, and the sender is told to come again after 12 s") for text in options
    )
    assert any(text.startswith("slow wants 20 attempts, and the sender makes 8") for text in options)
    done = await examined(tmp_path, "secrets=SECRET, store='sqlite:///a.db', mode=Inbox()", more=HANDLERS + INBOX)
    done.saw("threads", "warning", "together they may run 50 at once", "most_threads=50")
    options = [one["seen"] for one in done.findings if one["name"] == "options"]
    assert "sync.failed: the order that ordered wants holds for all of its handlers" in options
    everything = "@receiver.on('*')\nasync def all_(): ...\n"
    done = await examined(tmp_path, "secrets=SECRET", more=everything)
    done.saw("unhandled", "ok", "every event type has a handler")
    done.saw("threads", "ok", "no handler is a plain function")
    (await examined(tmp_path, "secrets=SECRET", more="")).saw("opens", "warning", "no handlers", "@receiver.on")


async def test_what_cannot_be_opened(tmp_path: Path) -> None:
    """The error of opening is the finding."""
    done = await examined(tmp_path, "secrets=SECRET", more="@receiver.on('*')\ndef f(cache: dict): ...\n")
    done.saw("opens", "problem", "nothing provides the parameter 'cache'", "do what it says")
    assert done["handlers"]["level"] == "skipped"


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        ("", 2, "what is to be looked at?"),
        ("localhost:8000", 2, "did you mean http://localhost:8000?"),
        ("ftp://shop.example/hooks", 2, "write a whole URL"),
        ("http://me:hunter2@shop.example/", 2, "others can read a password"),
        ("http://shop.example/ --workers 2", 2, "--workers is for module:receiver"),
        ("app:receiver", 3, "there is no module 'app'"),
    ],
)
async def test_what_is_written_wrongly(tmp_path: Path, arguments: str, code: int, message: str) -> None:
    done = await visit(tmp_path, *arguments.split(), COLUMNS="200")
    assert (done.code, done.out) == (code, "")
    assert message in done.err


async def test_a_secret_that_is_none(tmp_path: Path) -> None:
    """It is not shown."""
    for secret in ("hunter2hunter2",):
        done = await visit(tmp_path, "http://127.0.0.1:9/", AIRWEAVE_WEBHOOK_SECRET=secret)
        assert done.code == 3
        assert "AIRWEAVE_WEBHOOK_SECRET: " in done.err
        assert "hunter2" not in done.err


async def test_what_else_could_be_done(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It can be looked at from outside, too, where somebody says where it is."""
    done = await examined(tmp_path, "secrets=SECRET")
    assert "doctor http" not in done.err
    (tmp_path / "pyproject.toml").write_text("[tool.airweave-webhooks]\nurl = 'http://shop.example/hooks'\n")
    done = await visit(tmp_path, "app:receiver", readable=True)
    assert "from outside: airweave-webhooks doctor http://shop.example/hooks" in done.err
    (tmp_path / "pyproject.toml").write_text("[tool.airweave-webhooks]\nreceiver = 'app:receiver'\n")
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path / "runtime"))
    with announced("http://127.0.0.1:9", SECRET):
        done = await visit(tmp_path, readable=True)
    assert "from outside: airweave-webhooks doctor http://127.0.0.1:9" in done.err


def on_a_terminal(folder: Path, width: int, *arguments: str, **environment: str) -> str:
    """Run the doctor on a terminal, and return what was on it."""
    ours, theirs = pty.openpty()
    process = subprocess.Popen(
        [str(COMMAND), "doctor", *arguments],
        cwd=folder,
        env={**os.environ, "TERM": "xterm", "COLUMNS": str(width), **environment},
        stdin=theirs,
        stdout=theirs,
        stderr=theirs,
    )
    os.close(theirs)
    shown = b""
    try:
        while chunk := os.read(ours, 4096):
            shown += chunk
    except OSError:  # the end
        pass
    os.close(ours)
    process.wait(30)
    return shown.decode()


@pytest.mark.parametrize("width", [80, 120])
async def test_on_a_terminal(tmp_path: Path, width: int) -> None:
    """It fits, has marks and colours, and says what it is at."""
    await examined(tmp_path, "secrets=SECRET", more=HANDLERS + MANY)
    shown = await asyncio.to_thread(on_a_terminal, tmp_path, width, "app:receiver", "--workers", "2")
    assert "looking at: store" in shown
    assert "\x1b[31m" in shown
    lines = re.sub(r"\x1b\[[0-9;?]*[a-zA-Z]", "", shown).replace("\r", "\n").split("\n")
    assert max(map(len, lines)) <= width
    assert "\N{BALLOT X} shared" in "\n".join(lines)
    assert [line for line in lines if line][-1] == "16 ok, 4 warnings, 1 problem, 0 skipped"


async def test_without_colours_and_without_letters(tmp_path: Path) -> None:
    """Where a stream cannot show a mark, it shows another one; skipped ones of one reason stand together."""
    done = await examined(tmp_path, "secrets=SECRET, mode=Inbox()")
    assert done.code == 1
    done = await visit(tmp_path, "app:receiver", readable=True, PYTHONIOENCODING="ascii", NO_COLOR="1", FORCE_COLOR="1")
    assert "\x1b[3" not in done.out.replace("\x1b[3m", "")
    assert "x opens" in done.out
    text = " ".join(done.out.split())
    assert "- handlers means nothing before 'opens' is in order (so also no unhandled, never, options, threads)" in text
