"""Which handlers a receiver has, for people: by event type, as short as it can be said."""

from collections.abc import Iterable, Mapping, Sequence

from airweave_webhooks.events import EVENT_TYPES, UnknownEvent
from airweave_webhooks.routing import Handler

UNKNOWN = "types that are not known"


def by_event(handlers: Sequence[Handler]) -> Mapping[str, Sequence[Handler]]:
    """The handlers of each event type that has any."""
    found = {name: [handler for handler in handlers if cls in handler.classes] for name, cls in EVENT_TYPES.items()}
    found[UNKNOWN] = [handler for handler in handlers if UnknownEvent in handler.classes]
    return {name: takers for name, takers in found.items() if takers}


def summary(handlers: Sequence[Handler]) -> list[tuple[str, str]]:
    """For each handler its event types, as globs where it takes all of a domain, and what it is called."""
    taken = by_event(handlers)
    return [
        (", ".join(_globs(name for name, takers in taken.items() if handler in takers)), _said(handler))
        for handler in handlers
    ]


def example(handlers: Sequence[Handler]) -> str:
    """An event type that has a handler, if one has."""
    names = by_event(handlers).keys() - {UNKNOWN}
    return "sync.completed" if not names or "sync.completed" in names else next(n for n in EVENT_TYPES if n in names)


def _said(handler: Handler) -> str:
    filters = [f"{name}={'|'.join(map(str, values))}" for name, values in handler.filters]
    conditions = [*filters, *(["when=…"] if handler.when is not None else [])]
    return f"{handler.id} ({', '.join(conditions)})" if conditions else handler.id


def _globs(names: Iterable[str]) -> list[str]:
    left = set(names)
    if left >= EVENT_TYPES.keys():
        return ["*" if UNKNOWN in left else "* (known types)"]
    found: list[str] = []
    for domain in dict.fromkeys(name.partition(".")[0] for name in EVENT_TYPES):
        whole = {name for name in EVENT_TYPES if name.startswith(f"{domain}.")}
        found += [f"{domain}.*"] if left >= whole else [name for name in EVENT_TYPES if name in whole & left]
        left -= whole
    return [*found, *sorted(left)]
