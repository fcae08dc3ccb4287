"""What the keys of AIRWEAVE_WEBHOOKS hold: no type checker reads settings, so it is said here."""

import inspect
import math
from collections.abc import Callable, Mapping
from typing import Any, Final, NamedTuple, cast

from airweave_webhooks.bodies import BodyLimits
from airweave_webhooks.modes import Mode
from airweave_webhooks.telemetry import Observer


class _Kind(NamedTuple):
    takes: str
    fits: Callable[[Any], bool]


def problem(key: str, value: object) -> str:
    """Say what is wrong with a value; nothing if it can be passed on. Values are not shown: some are secrets."""
    kind = _KINDS[key]
    if kind.fits(value):
        return ""
    if isinstance(value, type):
        return f"{key} takes {kind.takes}, not the class {value.__name__} itself: write {value.__name__}(…)"
    return f"{key} takes {kind.takes}, not {'None' if value is None else f'a value of the type {type(value).__name__}'}"


def _is_text(value: object) -> bool:
    return isinstance(value, str)


def _is_texts(value: object) -> bool:
    many = isinstance(value, list | tuple | set | frozenset)
    return isinstance(value, str) or (many and all(map(_is_text, cast("list[object]", value))))


def _is_lookup(value: Any) -> bool:
    try:
        signature = inspect.signature(value)
        signature.bind(*["tenant"][: len(signature.parameters)])
    except (TypeError, ValueError):
        return False
    return True


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def _is_store(value: object) -> bool:
    return isinstance(value, str) or (callable(getattr(value, "claim", None)) and not isinstance(value, type))


def _or_none(fits: Callable[[Any], bool]) -> Callable[[Any], bool]:
    return lambda value: value is None or fits(value)


_KINDS: Final[Mapping[str, _Kind]] = {
    "NAME": _Kind("a string", _is_text),
    "SECRETS": _Kind(
        "a string, a list of them, or a callable of the tenant or of nothing",
        _or_none(lambda value: _is_texts(value) or _is_lookup(value)),
    ),
    "RETIRED_SECRETS": _Kind("a string, or a list of them", _is_texts),
    "STORE": _Kind("'django', 'django:<alias>', a URL, or a Store", _is_store),
    "MODE": _Kind("'inline', 'inbox', Inline(…) or Inbox(…)", _or_none(lambda value: isinstance(value, str | Mode))),
    "KEY": _Kind("a function of the delivery, such as natural_key", _or_none(callable)),
    "TOLERANCE": _Kind("a number of seconds", _is_number),
    "RETENTION_DAYS": _Kind("a number of days", _is_number),
    "BODY_LIMITS": _Kind("BodyLimits(…)", _or_none(lambda value: isinstance(value, BodyLimits))),
    "OBSERVER": _Kind("an Observer", _or_none(lambda value: isinstance(value, Observer))),
    "RECEIVER": _Kind("the dotted path of a Receiver, such as 'shop.airweave.receiver'", _is_text),
}
