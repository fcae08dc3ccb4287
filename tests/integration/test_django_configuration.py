"""AIRWEAVE_WEBHOOKS, the receiver that it describes, the handlers that are found, and what `manage.py check` says."""

import asyncio
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from asgiref.sync import sync_to_async
from django.apps import apps
from django.conf import settings
from django.test import AsyncClient, Client, RequestFactory, override_settings
from django.urls import path

from airweave_webhooks import BodyLimits, Inbox, Inline, MemoryStore, Observer, Receiver, SyncCompleted, natural_key
from airweave_webhooks.errors import ConfigurationError
from airweave_webhooks.integrations.django import (
    DjangoStore,
    configuration,
    get_receiver,
    receiver_view,
    receiver_view_sync,
)
from airweave_webhooks.integrations.django.discovery import discover
from airweave_webhooks.telemetry import LogBudget
from conftest import OTHER_SECRET, SECRET, sign
from django_describing import bare_project, describing, handled, run_checks, urls
from http_cases import BODY

HERE = __name__
own = Receiver(name="own", secrets=SECRET)


@pytest.fixture(autouse=True)
def project_that_is_not_set_up_yet() -> Iterator[None]:
    """It has the app, and nothing else."""
    with bare_project():
        yield


@pytest.fixture
def shop(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """An installed app, whose folder this is; `write` its handlers before it is asked for."""
    folder = tmp_path / "shop"
    folder.mkdir()
    (folder / "__init__.py").touch()
    monkeypatch.syspath_prepend(tmp_path)
    with override_settings(INSTALLED_APPS=["airweave_webhooks.integrations.django", "shop"]):
        yield folder
    for name in ("shop.airweave_handlers", "shop"):
        sys.modules.pop(name, None)


HANDLERS = """
from airweave_webhooks import Receiver, Router, SyncCompleted
from airweave_webhooks.integrations.django import get_receiver

first, second = Router(), Router()
again = first
another = Receiver(name="another")

@another.on("sync.completed")
def not_ours(event: SyncCompleted) -> None: ...

@second.on("sync.completed")
def later(event: SyncCompleted) -> None:
    print("later")

@first.on("sync.completed")
def sooner(event: SyncCompleted) -> None:
    print("sooner")
"""


def ids(receiver: Receiver) -> list[str]:
    return [handler.id.rpartition(".")[2] for handler in receiver.table.handlers]


def test_every_key_reaches_the_receiver() -> None:
    """What the setting says is what the receiver is made of."""
    store, observer = MemoryStore(), Observer()
    with describing(
        NAME="shop",
        SECRETS=[SECRET],
        RETIRED_SECRETS=[OTHER_SECRET],
        STORE=store,
        MODE=Inline(answer_within=3),
        KEY=natural_key,
        TOLERANCE=7,
        RETENTION_DAYS=20,
        BODY_LIMITS=BodyLimits(most_bytes=9),
        OBSERVER=observer,
    ):
        made = get_receiver()
        assert get_receiver() is made
        assert (made.name, made.store, made.mode) == ("shop", store, Inline(answer_within=3))
        assert (made.tolerance, made.retention, made.body_limits.most_bytes) == (7, 20 * 86_400, 9)
        assert (made._key, made._observer) == (natural_key, observer)
        assert len(made.keyring.retired(None)) == 1
    assert get_receiver() is not made


@pytest.mark.parametrize(
    ("value", "store"),
    [
        (None, DjangoStore()),
        ("django", DjangoStore()),
        ("django:default", DjangoStore("default")),
        ("sqlite:///x.db", Receiver(store="sqlite:///x.db").store),
    ],
)
def test_stores(value: str | None, store: Any) -> None:
    """The project's own database, if nothing else is said."""
    with describing(**({} if value is None else {"STORE": value})):
        assert get_receiver().store == store


def test_modes() -> None:
    """A word for the ones that need no settings."""
    for word, mode in {"inline": Inline(), "inbox": Inbox()}.items():
        with describing(MODE=word):
            assert get_receiver().mode == mode


@pytest.mark.parametrize(
    ("setting", "said"),
    [
        ({"SECRET": SECRET}, "no key 'SECRET'; did you mean 'SECRETS'?"),
        ({"secrets": SECRET}, "no key 'secrets'; did you mean 'SECRETS'?"),
        ({"XYZ": 1}, "the keys are RECEIVER, NAME, SECRETS"),
        ({"RECEIVER": f"{HERE}.own", "MODE": "inbox"}, "MODE would change nothing"),
        ({"RECEIVER": "nowhere.receiver"}, "RECEIVER 'nowhere.receiver' cannot be imported"),
        ({"RECEIVER": f"{HERE}.HERE"}, "is a str, not a Receiver"),
        ({"STORE": "django:defualt"}, "did you mean 'default'?"),
        ({"STORE": "nonsense"}, "AIRWEAVE_WEBHOOKS: no store for 'nonsense'"),
        ({"MODE": "inlin"}, "did you mean 'inline'?"),
        ({"NAME": ""}, "AIRWEAVE_WEBHOOKS: Receiver(name='')"),
        ({"NAME": 5}, "NAME takes a string, not a value of the type int"),
        (
            {"SECRETS": SECRET.encode()},
            "SECRETS takes a string, a list of them, or a callable of the tenant or of nothing, not",
        ),
        ({"SECRETS": [SECRET, None]}, "of the tenant or of nothing, not a value of the type list"),
        ({"SECRETS": lambda tenant, more: SECRET}, "of the tenant or of nothing, not a value of the type function"),
        ({"SECRETS": str}, "of the tenant or of nothing, not the class str itself"),
        ({"RETIRED_SECRETS": None}, "RETIRED_SECRETS takes a string, or a list of them, not None"),
        ({"STORE": None}, "STORE takes 'django', 'django:<alias>', a URL, or a Store, not None"),
        ({"STORE": MemoryStore}, "not the class MemoryStore itself: write MemoryStore(…)"),
        ({"MODE": Inbox}, "MODE takes 'inline', 'inbox', Inline(…) or Inbox(…), not the class Inbox itself"),
        ({"KEY": "airweave_webhooks.natural_key"}, "KEY takes a function of the delivery, such as natural_key"),
        ({"TOLERANCE": "300"}, "TOLERANCE takes a number of seconds, not a value of the type str"),
        ({"RETENTION_DAYS": float("nan")}, "RETENTION_DAYS takes a number of days"),
        ({"RETENTION_DAYS": True}, "RETENTION_DAYS takes a number of days, not a value of the type bool"),
        ({"BODY_LIMITS": 1000}, "BODY_LIMITS takes BodyLimits(…), not a value of the type int"),
        ({"OBSERVER": "shop.observer"}, "OBSERVER takes an Observer"),
        ({"RECEIVER": own}, "RECEIVER takes the dotted path of a Receiver"),
        ({"RECEIVER": "broken_module.receiver"}, "RECEIVER 'broken_module.receiver' cannot be imported: ZeroDivision"),
    ],
)
def test_what_cannot_work_is_refused(
    setting: dict[str, Any], said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The message says what to write instead, shows no secret, and `check` says it, too."""
    (tmp_path / "broken_module.py").write_text("1 / 0")
    monkeypatch.syspath_prepend(tmp_path)
    with describing(**setting):
        with pytest.raises(ConfigurationError) as raised:
            get_receiver()
        assert said in str(raised.value)
        assert SECRET not in str(raised.value)
        found = "E002" if "defualt" in str(setting) else "E001"
        assert [message.id for message in run_checks()] == [f"airweave_webhooks.{found}"]


@pytest.mark.parametrize("make", [get_receiver, receiver_view, receiver_view_sync, lambda: receiver_view_sync(own)])
def test_without_the_app_it_does_not_start(make: Any) -> None:
    """Nobody would look after the connections of handlers, and nobody would check."""
    with (
        override_settings(INSTALLED_APPS=["django.contrib.contenttypes"]),
        pytest.raises(ConfigurationError, match=r"write 'airweave_webhooks\.integrations\.django' into INSTALLED_APPS"),
    ):
        make()


def test_too_early(monkeypatch: pytest.MonkeyPatch) -> None:
    """In settings and models there are no apps yet whose handlers could be found."""
    monkeypatch.setattr(apps, "ready", False)
    with pytest.raises(ConfigurationError, match="has not loaded the project's apps yet"):
        get_receiver()


def test_a_database_without_an_engine(monkeypatch: pytest.MonkeyPatch) -> None:
    """Django puts a dummy in its place, which complains when it is used."""
    monkeypatch.setitem(settings.DATABASES, "default", {})
    with describing(), pytest.raises(ConfigurationError, match="has no ENGINE"):
        get_receiver()


def test_the_setting_is_a_dict() -> None:
    """Anything else is refused."""
    with override_settings(AIRWEAVE_WEBHOOKS=["django"]), pytest.raises(ConfigurationError, match="is a dict"):
        get_receiver()


def test_a_receiver_of_ones_own_is_taken_as_it_is(shop: Path) -> None:
    """Handlers that are found are not put into it: it includes what it wants."""
    (shop / "airweave_handlers.py").write_text(HANDLERS)
    with describing(RECEIVER=f"{HERE}.own"):
        assert get_receiver() is own
        assert ids(own) == []


def test_handlers_are_found(shop: Path) -> None:
    """Each router once, in the order of the module; a `Receiver` is none; a receiver made anew has them, too."""
    (shop / "airweave_handlers.py").write_text(HANDLERS)
    for _ in range(2):
        with describing():
            assert ids(get_receiver()) == ["sooner", "later"]


@pytest.mark.parametrize("text", ["import nothing_of_this_name", "1 / 0", "def"])
def test_an_error_in_handlers_is_raised_and_names_the_file(shop: Path, text: str) -> None:
    """It is neither swallowed nor taken for an app without handlers."""
    (shop / "airweave_handlers.py").write_text(text)
    with pytest.raises((ImportError, ArithmeticError, SyntaxError)) as raised:
        discover()
    assert [str(shop / "airweave_handlers.py") in note for note in raised.value.__notes__] == [True]


def test_handlers_that_ask_for_the_receiver_too_early(shop: Path) -> None:
    """It would be made without them, and nobody would notice."""
    (shop / "airweave_handlers.py").write_text(f"{HANDLERS}\nget_receiver()\nthird = Router()")
    with describing(), pytest.raises(ConfigurationError, match=r"shop\.airweave_handlers asks for the receiver while"):
        discover()


def test_apps_without_handlers_are_passed_over(shop: Path) -> None:
    """Most apps have none."""
    assert shop.exists()
    assert discover() == []


def test_discovery_is_part_of_the_start(shop: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The handlers are imported when the project starts, and not with the first delivery."""
    (shop / "airweave_handlers.py").write_text("print('imported')")
    apps.get_app_config("airweave_webhooks").ready()
    assert capsys.readouterr().out == "imported\n"


# In tests of a project.


def test_a_test_overrides_the_setting(shop: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """The view leads to what the setting says now; what ran before is closed, and nothing stays open."""
    (shop / "airweave_handlers.py").write_text(HANDLERS)
    with urls(path("x", receiver_view_sync())):
        receivers = []
        for secret in (SECRET, OTHER_SECRET):
            with describing(SECRETS=secret, STORE="memory:"):
                headers = {name: value for name, value in sign(BODY, secret=secret).items() if name != "content-type"}
                answer = Client(headers=headers).post("/x", BODY, content_type="application/json")
                assert answer.json() == {"status": "processed"}
                receivers.append(get_receiver())
                assert get_receiver().is_open
        assert [receiver.is_open for receiver in receivers] == [False, False]
    assert capfd.readouterr().out == "sooner\nlater\n" * 2


def test_views_of_one_receiver_share_an_event_loop() -> None:
    """Two URLs of one receiver, or both views of it, open it once."""
    receiver = handled(store="memory:")
    views = [receiver_view_sync(receiver), receiver_view_sync(receiver)]
    for number, view in enumerate(views):
        headers: Any = sign(BODY, message_id=f"msg_{number}")
        request = RequestFactory(headers=headers).post("/", BODY, content_type="application/json")
        assert view(request).status_code == 200
    assert len(receiver._pipelines) == 1


@pytest.mark.anyio
@pytest.mark.parametrize("make", [receiver_view, receiver_view_sync])
async def test_djangos_async_client(make: Any) -> None:
    """It runs a sync view in the one thread that the async ORM has by default: a handler's has another one."""
    receiver = Receiver(secrets=SECRET)
    threads = []

    @receiver.on("sync.completed")
    async def handle(event: SyncCompleted) -> None:
        threads.append(await sync_to_async(threading.current_thread)())

    with urls(path("x", make(receiver))):
        for number in range(2):
            headers: Any = sign(BODY, message_id=f"msg_{number}")
            del headers["content-type"]
            async with asyncio.timeout(30):
                answer = await AsyncClient().post("/x", BODY, content_type="application/json", headers=headers)
            assert answer.json() == {"status": "processed"}
    assert threads[0] is threads[1]
    assert threads[0] is not await sync_to_async(threading.current_thread)()


def test_no_secret_is_503() -> None:
    """What is wrong with us is not the sender's fault: it comes again."""
    view = receiver_view_sync(handled(store="memory:", secrets=None))
    headers: Any = sign(BODY)
    answer = view(RequestFactory(headers=headers).post("/", BODY, content_type="application/json"))
    assert (answer.status_code, answer.headers["retry-after"]) == (503, "60")


@pytest.mark.anyio
@pytest.mark.parametrize("make", [receiver_view, receiver_view_sync])
async def test_a_setting_that_cannot_work_is_503(
    make: Any, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is neither an exception nor the sender's fault, and the log says why, but not without end."""
    monkeypatch.setattr(configuration, "_budget", LogBudget())
    with urls(path("x", make())), describing(MODE="inlin"):
        for _ in range(100):
            answer = await AsyncClient().post("/x", BODY, content_type="application/json")
            assert (answer.status_code, answer.headers["retry-after"]) == (503, "60")
            assert answer.json() == {"status": "unavailable"}
    said = [record.getMessage() for record in caplog.records if "did you mean 'inline'?" in record.getMessage()]
    assert 0 < len(said) <= 60


@pytest.mark.anyio
@pytest.mark.parametrize("make", [receiver_view, receiver_view_sync])
async def test_what_is_malformed_is_refused_whether_or_not_the_receiver_can_be_opened(make: Any) -> None:
    """A stranger's request does not become the sender's to repeat, because a database is not there."""
    with urls(path("x", make(handled(store="sqlite:////nowhere/deliveries.db")))):
        assert (await AsyncClient().post("/x", BODY, content_type="application/json")).status_code == 400
        headers: Any = sign(BODY)
        del headers["content-type"]
        answer = await AsyncClient().post("/x", BODY, content_type="application/json", headers=headers)
        assert answer.status_code == 503
