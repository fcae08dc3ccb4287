"""What `manage.py check` says of the setting, of receivers, and of the URLs that lead to them."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from django.core import checks
from django.test import override_settings
from django.urls import include, path, re_path

from airweave_webhooks import Inbox, Receiver
from airweave_webhooks.integrations.django import (
    DjangoStore,
    receiver_view,
    receiver_view_sync,
)
from conftest import SECRET
from django_describing import bare_project, describing, handled, run_checks, urls


@pytest.fixture(autouse=True)
def project_that_is_not_set_up_yet() -> Iterator[None]:
    """It has the app, and nothing else."""
    with bare_project():
        yield


def found(view: Any, pattern: str = "x", *, deploy: bool = False, **settings: Any) -> list[str]:
    """The ids of what is said of a view."""
    with urls(path("", include([path(pattern, view)]))), override_settings(**settings):
        messages = run_checks(deploy=deploy)
        assert all(message.hint for message in messages)
        return [str(message.id).removeprefix("airweave_webhooks.") for message in messages]


def test_a_project_that_is_not_set_up_yet_has_no_errors() -> None:
    """Neither `migrate` nor `makemigrations` is kept from running: without a setting, URLs, secret or handlers."""
    assert run_checks() == []
    with describing():
        assert [message.level for message in run_checks()] == [checks.WARNING] * 2


def test_what_is_right_is_passed() -> None:
    """Nothing is said of a view that fits."""
    assert found(receiver_view_sync(handled()), WSGI_APPLICATION="x") == []
    assert found(receiver_view(handled()), ASGI_APPLICATION="x") == []
    assert found(receiver_view(handled()), ASGI_APPLICATION="x", WSGI_APPLICATION="y", deploy=True) == []


def test_no_secret(monkeypatch: pytest.MonkeyPatch) -> None:
    """A warning while one develops, an error where it is deployed; the environment is asked."""
    view = receiver_view_sync(handled(secrets=None))
    assert found(view) == ["W001"]
    assert sorted(found(view, deploy=True)) == ["E005", "W001"]
    monkeypatch.setenv("AIRWEAVE_WEBHOOK_SECRET", SECRET)
    assert found(view, deploy=True) == []


def test_no_handlers() -> None:
    """A receiver without any does nothing."""
    assert found(receiver_view_sync(Receiver(secrets=SECRET, store=DjangoStore()))) == ["W002"]


def test_handlers_that_cannot_be_wired() -> None:
    """What would fail with the first delivery is said before."""
    receiver = Receiver(secrets=SECRET, store=DjangoStore())

    @receiver.on("sync.completed")
    def handle(missing: Path) -> None: ...

    assert found(receiver_view_sync(receiver)) == ["E004"]


def test_two_receivers_that_nothing_tells_apart() -> None:
    """Only one of them could be open; with a name or a store of its own each can."""
    for name, ids_of_messages in {"default": ["airweave_webhooks.E007"], "other": []}.items():
        views = [receiver_view_sync(handled()), receiver_view_sync(handled(name=name))]
        with urls(*(path(f"{number}", view) for number, view in enumerate(views))):
            assert [message.id for message in run_checks()] == ids_of_messages


def test_stores_that_do_not_fit() -> None:
    """Memory in production, and an inbox on it anywhere."""
    memory = handled(store="memory:")
    assert found(receiver_view_sync(memory), DEBUG=False) == ["W003"]
    assert found(receiver_view_sync(memory), DEBUG=True) == []
    assert found(receiver_view_sync(handled(store="memory:", mode=Inbox()))) == ["E003"]
    assert found(receiver_view_sync(handled(store="sqlite:///x.db", mode=Inbox()))) == []


def test_views_that_do_not_fit_the_server() -> None:
    """The async view where there is WSGI alone, the sync view where there is ASGI."""
    assert found(receiver_view(handled()), WSGI_APPLICATION="x") == ["W004"]
    assert found(receiver_view_sync(handled()), ASGI_APPLICATION="x") == ["W005"]


def test_a_tenant_in_the_url_needs_secrets_of_tenants() -> None:
    """Otherwise any tenant could sign for another."""
    view = receiver_view_sync(handled())
    assert found(view, "<slug:tenant>/x") == ["E006"]
    with urls(re_path(r"^(?P<tenant>[a-z]+)/", include([path("x", view)]))):
        assert [message.id for message in run_checks()] == ["airweave_webhooks.E006"]
    assert found(receiver_view_sync(handled(secrets=lambda tenant: SECRET)), "<slug:tenant>/x") == []
    for named in path("x", view, {"tenant": "acme"}), path("x", include([path("y", view)]), {"tenant": "acme"}):
        with urls(named):
            assert [message.id for message in run_checks()] == ["airweave_webhooks.E006"]


def test_the_receiver_of_the_settings_is_looked_at_when_a_view_leads_to_it() -> None:
    """Also where there is no setting: then all of it is by default."""
    assert sorted(found(receiver_view_sync())) == ["W001", "W002"]
