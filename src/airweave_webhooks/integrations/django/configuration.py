"""The setting AIRWEAVE_WEBHOOKS, and the receiver that it describes."""

import threading
import traceback
from collections.abc import Mapping
from typing import Any, Final, NamedTuple, cast

from django.apps import apps
from django.conf import settings
from django.core.signals import setting_changed
from django.db.utils import DEFAULT_DB_ALIAS
from django.utils.module_loading import import_string

from airweave_webhooks.delivery import Reply
from airweave_webhooks.errors import ConfigurationError
from airweave_webhooks.integrations.background import Background
from airweave_webhooks.integrations.django import discovery, setting_values
from airweave_webhooks.integrations.django.running import background_of
from airweave_webhooks.modes import Inbox, Inline, Mode
from airweave_webhooks.pipeline import unavailable
from airweave_webhooks.receiver import Receiver
from airweave_webhooks.routing.nearest import nearest
from airweave_webhooks.stores import Store
from airweave_webhooks.telemetry import LogBudget, logger

SETTING: Final = "AIRWEAVE_WEBHOOKS"
APP: Final = "airweave_webhooks.integrations.django"
ARGUMENTS: Final = (
    *("NAME", "SECRETS", "RETIRED_SECRETS", "STORE", "MODE", "KEY", "TOLERANCE", "RETENTION_DAYS"),
    *("BODY_LIMITS", "OBSERVER"),
)
"""What a receiver is made of: the keys that are arguments of `Receiver`, in lower case."""
_NO_ENGINE: Final = "django.db.backends.dummy"
_MODES: Final[Mapping[str, type[Mode]]] = {"inline": Inline, "inbox": Inbox}


class _Made(NamedTuple):
    receiver: Receiver
    background: Background


_made: _Made | None = None
_changing: Final = threading.RLock()
_budget: Final = LogBudget()


def get_receiver() -> Receiver:
    """The receiver that the setting AIRWEAVE_WEBHOOKS describes, with the handlers of all installed apps.

    It is the same in all of the process, until a test overrides the setting.

    Raises:
        ConfigurationError: the setting cannot work; the message says what to do.
    """
    return made().receiver


def made() -> _Made:
    """That receiver, and where it runs.

    Raises:
        ConfigurationError: as `get_receiver`.
    """
    global _made  # noqa: PLW0603 - one for the process
    require_app()
    if _made is None:
        with _changing:
            if _made is None:
                receiver = _make(configured())
                _made = _Made(receiver, background_of(receiver))
    return _made


def require_app() -> None:
    """See to it that the app is installed: without it nobody looks after connections, and there are no tables.

    Raises:
        ConfigurationError: it is not, or it is too early to say.
    """
    if not apps.ready:
        raise ConfigurationError(
            "Django has not loaded the project's apps yet: make the view in the URLs, and call get_receiver() where it"
            " is needed, not in a module of settings or models"
        )
    if not apps.is_installed(APP):
        raise ConfigurationError(f"the app is not installed: write {APP!r} into INSTALLED_APPS of the settings")


def refuse(error: ConfigurationError) -> Reply:
    """Tell the log that there is no receiver, and why, and ask the sender to come again: it is not at fault."""
    if _budget.take():
        logger.error("there is no receiver, and the sender is asked to come again: %s", error)
    return unavailable(error)


def configured() -> dict[str, Any]:
    """The setting, when its keys are known.

    Raises:
        ConfigurationError: it is no dict, one of them is not, or holds what it cannot.
    """
    found: object = getattr(settings, SETTING, {})
    if not isinstance(found, dict):
        raise ConfigurationError(f"{SETTING} is a dict, such as {{'STORE': 'django'}}, not {type(found).__name__}")
    setting = cast("dict[str, Any]", found)
    known = ("RECEIVER", *ARGUMENTS)
    for key in setting:
        if key not in known:
            hint = nearest(str(key).upper(), known) or f"; the keys are {', '.join(known)}"
            raise ConfigurationError(f"{SETTING}: there is no key {key!r}{hint}")
        if problem := setting_values.problem(key, setting[key]):
            raise ConfigurationError(f"{SETTING}: {problem}")
    if "RECEIVER" in setting and len(setting) > 1:
        others = ", ".join(sorted(setting.keys() - {"RECEIVER"}))
        raise ConfigurationError(
            f"{SETTING}: RECEIVER names a receiver that is made already, so {others} would change nothing: pass them"
            " to Receiver(…) there, or leave RECEIVER out"
        )
    return setting


def database_of(store: object) -> str | None:
    """The alias of the database that a value of STORE means, None if it means another store."""
    if not isinstance(store, str):
        return None
    kind, _, alias = store.partition(":")
    return (alias or DEFAULT_DB_ALIAS) if kind == "django" else None


def _make(found: dict[str, Any]) -> Receiver:
    if "RECEIVER" in found:
        return _imported(found["RECEIVER"])
    arguments = {key.lower(): value for key, value in found.items()}
    arguments["store"] = _store(found.get("STORE", "django"))
    if isinstance(mode := found.get("MODE"), str):
        arguments["mode"] = _mode(mode)
    try:
        receiver = Receiver(**arguments)
    except ConfigurationError as error:
        raise ConfigurationError(f"{SETTING}: {error}") from error
    for router in discovery.routers():
        receiver.include(router)
    return receiver


def _imported(path: str) -> Receiver:
    try:
        found = import_string(path)
    except Exception as error:  # the user's program
        place = traceback.extract_tb(error.__traceback__)[-1]
        why = str(error) if isinstance(error, ImportError) else f'{error!r} in "{place.filename}", line {place.lineno}'
        raise ConfigurationError(f"{SETTING}: RECEIVER {path!r} cannot be imported: {why}") from error
    if not isinstance(found, Receiver):
        raise ConfigurationError(f"{SETTING}: RECEIVER {path!r} is a {type(found).__name__}, not a Receiver")
    return found


def _store(value: str | Store) -> str | Store:
    alias = database_of(value)
    if alias is None:
        return value
    if alias not in settings.DATABASES:
        raise ConfigurationError(
            f"{SETTING}: STORE {value!r} means the database {alias!r}, which DATABASES does not have"
            f"{nearest(alias, list(settings.DATABASES))}"
        )
    if settings.DATABASES[alias].get("ENGINE", _NO_ENGINE) == _NO_ENGINE:
        raise ConfigurationError(f"{SETTING}: STORE means the database {alias!r}, which has no ENGINE in DATABASES")
    from airweave_webhooks.integrations.django.store import DjangoStore  # noqa: PLC0415 - it imports models

    return DjangoStore(alias)


def _mode(word: str) -> Mode:
    if word not in _MODES:
        raise ConfigurationError(
            f"{SETTING}: MODE {word!r} is neither 'inline' nor 'inbox'{nearest(word, list(_MODES))}; other settings of"
            " a mode are its arguments: Inbox(concurrency=10)"
        )
    return _MODES[word]()


def _forget(*, setting: str, **_: object) -> None:
    """Close what ran as the setting was, when a test overrides it: the next delivery finds what it is now."""
    global _made
    if setting != SETTING:
        return
    with _changing:
        before, _made = _made, None
    if before is not None:
        before.background.close()


setting_changed.connect(_forget, dispatch_uid=SETTING)
