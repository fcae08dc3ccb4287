"""A Django project that has the app and nothing else; what else it has, tests describe."""

import contextlib
import types
from collections.abc import Iterator
from typing import Any

from django.conf import settings
from django.core import checks
from django.core.checks import CheckMessage
from django.test import override_settings

import django_databases  # noqa: F401 - sets Django up
from airweave_webhooks import Receiver, SyncCompleted
from airweave_webhooks.integrations.django import DjangoStore
from airweave_webhooks.integrations.django.checks import TAG
from conftest import SECRET


@contextlib.contextmanager
def bare_project() -> Iterator[None]:
    """No setting, no URLs and no middleware, for a block."""
    with override_settings(AIRWEAVE_WEBHOOKS={}, ROOT_URLCONF=None, MIDDLEWARE=[]):
        del settings.AIRWEAVE_WEBHOOKS
        yield


def describing(**setting: Any) -> Any:
    return override_settings(AIRWEAVE_WEBHOOKS=setting)


def run_checks(*, deploy: bool = False) -> list[CheckMessage]:
    return list(checks.run_checks(tags=[TAG], include_deployment_checks=deploy))


def urls(*patterns: Any) -> Any:
    module = types.ModuleType("some_urls")
    module.urlpatterns = list(patterns)  # type: ignore[attr-defined]
    return override_settings(ROOT_URLCONF=module)


def handled(**arguments: Any) -> Receiver:
    """A receiver that nothing is to be said of, but for what `arguments` change."""
    receiver = Receiver(**{"secrets": SECRET, "store": DjangoStore(), **arguments})

    @receiver.on("sync.completed")
    def handle(event: SyncCompleted) -> None: ...

    return receiver
