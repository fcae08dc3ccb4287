"""Where a project's URLs lead to the views."""

from collections.abc import Callable, Iterator
from typing import Any, Final, NamedTuple, TypeVar

from django.conf import settings
from django.urls import URLResolver, get_resolver

from airweave_webhooks.receiver import Receiver

V = TypeVar("V", bound=Callable[..., Any])

_MARK: Final = "airweave_view"


class Marked(NamedTuple):
    """What is known of a view."""

    receiver: Receiver | None
    """Where it leads to; None is the receiver of the settings."""
    is_async: bool


class Mount(NamedTuple):
    """One URL that leads to one of them."""

    pattern: str
    names_tenant: bool
    view: Marked


def mark(view: V, receiver: Receiver | None, *, is_async: bool) -> V:
    """Make a view known; it stays known inside of decorators that wrap it as `functools.wraps` does."""
    setattr(view, _MARK, Marked(receiver, is_async))
    return view


def mounts() -> list[Mount]:
    """All of a project; none where it has no URLs yet."""
    if not getattr(settings, "ROOT_URLCONF", None):
        return []
    return list(_below(get_resolver(), "/", names_tenant=False))


def _below(resolver: URLResolver, prefix: str, *, names_tenant: bool) -> Iterator[Mount]:
    for entry in resolver.url_patterns:
        pattern = prefix + str(entry.pattern)
        extra = entry.default_kwargs if isinstance(entry, URLResolver) else entry.default_args
        given = {*extra, *entry.pattern.converters}
        tenant = names_tenant or "tenant" in given or "(?P<tenant>" in str(entry.pattern)
        if isinstance(entry, URLResolver):
            yield from _below(entry, pattern, names_tenant=tenant)
        elif isinstance(marked := getattr(entry.callback, _MARK, None), Marked):
            yield Mount(pattern, tenant, marked)
