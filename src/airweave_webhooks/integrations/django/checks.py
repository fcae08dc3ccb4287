"""What `manage.py check` says of a project's receivers and of the URLs that lead to them. Nothing here asks a database.

What a project cannot have yet while it is set up is a warning, so that `migrate` and `makemigrations` run without it.
"""

from collections.abc import Iterator, Sequence
from typing import Any, Final

from django.apps import AppConfig
from django.conf import settings
from django.core import checks
from django.core.checks import CheckMessage

from airweave_webhooks.errors import ConfigurationError
from airweave_webhooks.integrations.django.configuration import SETTING, configured, database_of, get_receiver
from airweave_webhooks.integrations.django.mounts import Mount, mounts
from airweave_webhooks.keyring import SECRET_VARIABLE
from airweave_webhooks.modes import Inbox
from airweave_webhooks.receiver import Receiver
from airweave_webhooks.stores import MemoryStore
from airweave_webhooks.stores.inbox import InboxStore

TAG: Final = "airweave_webhooks"

Apps = Sequence[AppConfig] | None


def register() -> None:
    """Tell Django of the checks."""
    checks.register(check_setting, TAG)
    checks.register(check_receivers, TAG)
    checks.register(check_views, TAG)
    checks.register(check_secrets, TAG, deploy=True)


def check_setting(app_configs: Apps, **_: Any) -> list[CheckMessage]:  # noqa: ARG001 - Django's
    """Whether AIRWEAVE_WEBHOOKS can work."""
    try:
        alias = database_of(configured().get("STORE", "django" if _is_set() else ""))
        if alias is not None and alias not in settings.DATABASES:
            return [
                checks.Error(
                    f"{SETTING}: STORE means the database {alias!r}, and DATABASES has none of that name.",
                    hint=f"Write 'django:<alias>' with one of: {', '.join(settings.DATABASES)}.",
                    id="airweave_webhooks.E002",
                )
            ]
        if _is_set():
            get_receiver()
    except ConfigurationError as error:
        return [
            checks.Error(str(error), hint=f"Correct {SETTING} in the settings.", id="airweave_webhooks.E001"),
        ]
    return []


def check_receivers(app_configs: Apps, **_: Any) -> list[CheckMessage]:  # noqa: ARG001
    """Whether each receiver has what it needs."""
    receivers = _receivers()
    return [*_twins(receivers), *(message for receiver in receivers for message in _look_at(receiver))]


def check_secrets(app_configs: Apps, **_: Any) -> list[CheckMessage]:  # noqa: ARG001
    """Whether each receiver has a secret, where it is to be deployed: without one it answers everything with 503."""
    return [
        checks.Error(problem, hint=_SECRET_HINT, obj=receiver, id="airweave_webhooks.E005")
        for receiver in _receivers()
        if (problem := _secret_problem(receiver))
    ]


def check_views(app_configs: Apps, **_: Any) -> list[CheckMessage]:  # noqa: ARG001
    """Whether each view fits the server and its receiver."""
    return [message for mount in mounts() for message in _look_at_mount(mount)]


_SECRET_HINT: Final = f"Set {SECRET_VARIABLE} in the environment, or SECRETS in {SETTING}."


def _is_set() -> bool:
    return hasattr(settings, SETTING)


def _receivers() -> list[Receiver]:
    """Those that URLs lead to, and that of the settings, if it is asked for and can be made."""
    views = [mount.view for mount in mounts()]
    found = [view.receiver for view in views if view.receiver is not None]
    if _is_set() or len(found) < len(views):
        try:
            found.append(get_receiver())
        except ConfigurationError:
            return found  # `check_setting` says why
    return list(dict.fromkeys(found))


def _twins(receivers: Sequence[Receiver]) -> Iterator[CheckMessage]:
    for number, receiver in enumerate(receivers):
        if any(other.name == receiver.name and other.store == receiver.store for other in receivers[:number]):
            yield checks.Error(
                f"Another receiver has its name, {receiver.name!r}, and its store: whichever comes second answers every"
                " delivery with 503.",
                hint="Give each a NAME, or name=…, of its own.",
                obj=receiver,
                id="airweave_webhooks.E007",
            )


def _look_at(receiver: Receiver) -> Iterator[CheckMessage]:
    try:
        handlers = receiver.table.handlers
    except ConfigurationError as error:
        yield checks.Error(
            str(error), hint="Correct the handler that it names.", obj=receiver, id="airweave_webhooks.E004"
        )
    else:
        if not handlers:
            yield checks.Warning(
                "No handlers: every delivery is acknowledged, and nothing is done.",
                hint="Write a Router and its handlers into the file airweave_handlers.py of an app in INSTALLED_APPS.",
                obj=receiver,
                id="airweave_webhooks.W002",
            )
    if problem := _secret_problem(receiver):
        yield checks.Warning(problem, hint=_SECRET_HINT, obj=receiver, id="airweave_webhooks.W001")
    store = receiver.store
    if isinstance(receiver.mode, Inbox) and not (isinstance(store, InboxStore) and store.durable):
        yield checks.Error(
            "Its mode is Inbox(), and its store holds no inbox that outlives the process.",
            hint="Use the store 'django', 'sqlite:///path' or 'postgresql://…', or the mode Inline().",
            obj=receiver,
            id="airweave_webhooks.E003",
        )
    elif isinstance(store, MemoryStore) and not settings.DEBUG:
        yield checks.Warning(
            "Its store is the process's memory: other processes, and this one after a restart, run handlers again.",
            hint="Use the store 'django', or a URL of one that processes share.",
            obj=receiver,
            id="airweave_webhooks.W003",
        )


def _secret_problem(receiver: Receiver) -> str:
    try:
        receiver.keyring.open()
    except ConfigurationError as error:
        return f"It can verify nothing, and answers every delivery with 503: {error}."
    return ""


def _look_at_mount(mount: Mount) -> Iterator[CheckMessage]:
    asgi = getattr(settings, "ASGI_APPLICATION", None)
    if mount.view.is_async and not asgi and settings.WSGI_APPLICATION:
        yield checks.Warning(
            f"{mount.pattern} has the async view, and the project is served by WSGI_APPLICATION alone: each request"
            " starts an event loop.",
            hint="Use receiver_view_sync() there, or set ASGI_APPLICATION if it is served by ASGI.",
            id="airweave_webhooks.W004",
        )
    elif not mount.view.is_async and asgi:
        yield checks.Warning(
            f"{mount.pattern} has the sync view, and the project has an ASGI_APPLICATION: there each request that"
            " waits for its handlers keeps a thread.",
            hint="Use receiver_view() there.",
            id="airweave_webhooks.W005",
        )
    receiver = mount.view.receiver
    if receiver is None:
        try:
            receiver = get_receiver()
        except ConfigurationError:
            return  # `check_setting` says why
    if mount.names_tenant and not receiver.keyring.serves_tenants:
        yield checks.Error(
            f"{mount.pattern} names a tenant, but the secrets are the same for all: any tenant could sign for another.",
            hint="Let SECRETS be a callable that takes the tenant.",
            id="airweave_webhooks.E006",
        )
