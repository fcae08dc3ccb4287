"""`manage.py airweave_webhooks …` as processes of their own, and by `call_command`."""

import json
import shlex
import signal
import sqlite3
import time
from pathlib import Path

import pytest

from commands import PATIENCE
from django_shop import DjangoShop


def groups(shop: DjangoShop) -> list[str]:
    """What the handler has written with Django's ORM."""
    with sqlite3.connect(shop.folder / "shop.db") as database:
        return [name for (name,) in database.execute("SELECT name FROM auth_group ORDER BY id")]


def wait_for(path: Path) -> None:
    until = time.monotonic() + PATIENCE
    while not path.exists():
        assert time.monotonic() < until, f"{path} was not made"
        time.sleep(0.02)


def test_help_asks_for_no_receiver(django_shop: DjangoShop) -> None:
    """The commands of the command line that work on a receiver are there, and none wants to know which."""
    shown = django_shop.manage("--help", COLUMNS="80", TERM="dumb").stdout
    for command in ("worker", "deliveries", "doctor", "health", "config"):
        assert f"│ {command} " in shown
    assert "dev" not in shown.split()
    shown = django_shop.manage("deliveries", "replay", "--help", COLUMNS="80", TERM="dumb").stdout
    assert "manage.py airweave_webhooks deliveries replay" in shown
    assert "--all-dead" in shown
    assert "MODULE" not in shown
    assert "--app-dir" not in shown


@pytest.mark.parametrize("command", ["deliveries list", "deliveries show msg_dead"])
def test_the_same_as_on_the_command_line(django_shop: DjangoShop, command: str) -> None:
    """What is printed is what `airweave-webhooks` prints of the same receiver, byte for byte."""
    ours = django_shop.manage(*command.split(), "--json")
    first, second, *rest = command.split()
    theirs = django_shop.run(first, second, "as_module:receiver", *rest, "--json")
    assert theirs.returncode == 0, theirs.stderr
    assert ours.stdout == theirs.stdout
    assert "msg_dead" in ours.stdout
    assert ours.stderr == ""


@pytest.mark.parametrize(
    ("command", "code", "message"),
    [
        ("deliveries list --state deed", 2, "no such state: 'deed'; did you mean 'dead'?"),
        ("deliveries show msg_nobody", 1, "no delivery 'msg_nobody' of receiver 'shop'"),
        ("doctor syncs:receiver", 2, "the receiver is the one of the setting AIRWEAVE_WEBHOOKS"),
        ("worker --nonsense", 2, "No such option"),
    ],
)
def test_errors(django_shop: DjangoShop, command: str, code: int, message: str) -> None:
    """A mistake ends with the command line's code and its sentence, without a traceback."""
    done = django_shop.manage(*command.split(), code=code, TERM="dumb")
    assert message in done.stderr
    assert "Traceback" not in done.stderr


def test_a_setting_that_cannot_work(django_shop: DjangoShop) -> None:
    """It is said in a sentence; and what a handler's module raises, with where it did."""
    settings = (django_shop.folder / "shop_settings.py").read_text()
    django_shop.write("shop_settings.py", settings.replace('"MODE"', '"MOED"'))
    done = django_shop.manage("health", code=3)
    assert "did you mean 'MODE'?" in done.stderr
    assert "Traceback" not in done.stderr
    django_shop.write("made.py", "receiver = []\n\nreceiver[0]\n")
    django_shop.write("shop_settings.py", f'{settings}\nAIRWEAVE_WEBHOOKS = {{"RECEIVER": "made.receiver"}}\n')
    done = django_shop.manage("deliveries", "stats", code=3)
    assert "IndexError" in done.stderr
    assert 'made.py", line 3' in done.stderr
    assert "Traceback" not in done.stderr


def test_without_the_extra(django_shop: DjangoShop) -> None:
    """One sentence how to get it."""
    program = "import sys; sys.modules['typer'] = None; sys.argv = ['manage.py', 'airweave_webhooks', 'health']; "
    done = django_shop.python("-c", program + "import manage", code=3)
    assert done.stderr == "The command needs the extra 'cli': pip install 'airweave-webhooks[cli,django]'\n"


def test_settings_and_path_are_djangos(django_shop: DjangoShop, tmp_path: Path) -> None:
    """`--settings` and `--pythonpath` work wherever they stand; the command for the next page has them, and works."""
    elsewhere = DjangoShop(tmp_path)
    there = ("--pythonpath", str(django_shop.folder))
    command = ("-m", "django", "airweave_webhooks", "deliveries", *there, "list", "--settings=shop_settings")
    done = elsewhere.python(*command, "--limit", "2", "--json", DJANGO_SETTINGS_MODULE="")
    names = [json.loads(line)["message_id"] for line in done.stdout.splitlines()]
    python, *again = shlex.split(done.stderr.removeprefix("next page: "))
    assert python == "python"
    rest = elsewhere.python(*again, DJANGO_SETTINGS_MODULE="").stdout
    names += [json.loads(line)["message_id"] for line in rest.splitlines()]
    assert names == ["msg_leased", "msg_pending", "msg_inline", "msg_done"]


def test_config_shows_the_setting(django_shop: DjangoShop) -> None:
    """What the setting holds, and what came of it; of secrets the fingerprint."""
    (shown,) = map(json.loads, django_shop.manage("config", "--json").stdout.splitlines())
    assert shown["settings"]["MODE"] == {"value": "inbox", "source": "AIRWEAVE_WEBHOOKS of shop_settings"}
    assert shown["receiver"]["store"] == "DjangoStore('default')"
    assert shown["receiver"]["handlers"] == "syncs.airweave_handlers.refresh"
    assert shown["secret"]["source"] == "AIRWEAVE_WEBHOOKS of shop_settings"
    assert "whsec_" not in json.dumps(shown)


def test_doctor_examines_the_project(django_shop: DjangoShop) -> None:
    """From inside, without being told where it is; remedies are commands of the project."""
    settings = (django_shop.folder / "shop_settings.py").read_text()
    settings = settings.replace('"inbox"', "Inbox(worker=False)")
    django_shop.write("shop_settings.py", f"from airweave_webhooks import Inbox\n{settings}")
    shown = django_shop.manage("doctor", code=1, TERM="dumb").stdout  # the secret is an example's
    assert "✓ opens" in shown
    assert "shared by all processes of one machine that use the database 'default'" in " ".join(shown.split())
    assert "start one: python manage.py airweave_webhooks worker" in shown
    assert "python manage.py airweave_webhooks deliveries list --state dead" in shown


def test_a_worker_runs_what_was_replayed_and_drains(django_shop: DjangoShop) -> None:
    """Handlers use the ORM; at SIGTERM what runs is finished, and the worker ends well."""
    done = django_shop.manage("deliveries", "replay", "msg_dead", "--yes", "--why", "mended")
    assert "1 delivery replayed" in done.stdout
    assert "a worker runs them: python manage.py airweave_webhooks worker" in done.stderr
    (django_shop.folder / "wait").touch()
    with django_shop.working() as worker:
        wait_for(django_shop.folder / "started")
        worker.process.send_signal(signal.SIGTERM)
        until = time.monotonic() + PATIENCE
        while not any("SIGTERM: finishing what runs" in line for line in worker.errors):
            assert time.monotonic() < until, worker.errors
            time.sleep(0.02)
        assert groups(django_shop) == []
        (django_shop.folder / "wait").unlink()
        assert worker.ended() == 0
        assert any("has stopped" in line for line in worker.errors)
    assert groups(django_shop) == ["msg_dead"], "\n".join(worker.errors)
    (shown,) = map(json.loads, django_shop.manage("deliveries", "show", "msg_dead", "--json").stdout.splitlines())
    assert shown["state"] == "done"
    assert [(note["what"], note["text"]) for note in shown["notes"]][-1] == ("replayed", "mended")


def test_called_by_a_program(django_shop: DjangoShop) -> None:
    """`call_command` returns where a command ends well, and raises an error of Django's where it does not."""
    program = """
import django
django.setup()
from django.core.management import CommandError, call_command
call_command("airweave_webhooks", "deliveries", "show", "msg_done", "--json")
try:
    call_command("airweave_webhooks", "deliveries", "show", "msg_nobody")
except CommandError as error:
    print(error.returncode, error)
"""
    shown, failed = django_shop.python("-c", program).stdout.splitlines()
    assert json.loads(shown)["message_id"] == "msg_done"
    assert failed == "1 airweave_webhooks deliveries show msg_nobody has ended with 1"
