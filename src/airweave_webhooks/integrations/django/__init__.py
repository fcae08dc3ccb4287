"""Django: views, a store on the project's own database, `once`, the admin, and commands.

Its name in `INSTALLED_APPS` is this package's. Nothing here imports a model before Django has loaded the apps.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from airweave_webhooks.integrations.django.configuration import get_receiver
    from airweave_webhooks.integrations.django.marking import once
    from airweave_webhooks.integrations.django.stopping import with_lifespan
    from airweave_webhooks.integrations.django.store import DjangoStore
    from airweave_webhooks.integrations.django.views import receiver_view, receiver_view_sync

__all__ = ["DjangoStore", "get_receiver", "once", "receiver_view", "receiver_view_sync", "with_lifespan"]

_MODULES: Final = {
    "DjangoStore": "store",
    "get_receiver": "configuration",
    "once": "marking",
    "receiver_view": "views",
    "receiver_view_sync": "views",
    "with_lifespan": "stopping",
}
"""Where they are. No module has the name of what is in it: it would stand in its place from the first import on."""


def __getattr__(name: str) -> Any:
    """Import a public name when it is first asked for."""
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_MODULES[name]}"), name)
