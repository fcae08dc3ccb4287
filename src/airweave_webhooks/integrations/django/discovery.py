"""The handlers of a project: every `Router` in an installed app's module `airweave_handlers`."""

import importlib
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Final

from django.apps import apps
from django.utils.module_loading import module_has_submodule

from airweave_webhooks.errors import ConfigurationError
from airweave_webhooks.receiver import Receiver
from airweave_webhooks.routing import Router

MODULE: Final = "airweave_handlers"


def discover() -> list[ModuleType]:
    """Import what the installed apps have of it, in their order.

    Raises:
        ConfigurationError: one of them is what asks.
        Exception: whatever one of them raises; a note says which file that is.
    """
    found: list[ModuleType] = []
    for app in apps.get_app_configs():
        if app.module is None or not module_has_submodule(app.module, MODULE):
            continue
        name = f"{app.name}.{MODULE}"
        try:
            found.append(importlib.import_module(name))
        except Exception as error:
            error.add_note(f"raised by the handlers of the app {app.label!r}: {Path(app.path, MODULE)}.py")
            raise
        if getattr(found[-1].__spec__, "_initializing", False):
            raise ConfigurationError(
                f"{name} asks for the receiver while it is being imported, so the receiver would lack its handlers:"
                " call get_receiver() where it is needed, inside of a function"
            )
    return found


def routers() -> Iterator[Router]:
    """Every router of every app, in the order in which they are written; one that several modules have comes once."""
    seen: set[int] = set()
    for module in discover():
        for value in vars(module).values():
            if isinstance(value, Router) and not isinstance(value, Receiver) and id(value) not in seen:
                seen.add(id(value))
                yield value
