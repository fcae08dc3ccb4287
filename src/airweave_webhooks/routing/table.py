"""The compiled routing table: event in, handlers out."""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final, TypeAlias

from airweave_webhooks.delivery import Delivery
from airweave_webhooks.errors import RoutingError
from airweave_webhooks.events import EVENT_TYPES, AnyEvent, Event, UnknownEvent
from airweave_webhooks.routing.options import DEFAULT_OPTIONS, HandlerOptions, order_of
from airweave_webhooks.routing.patterns import EVENT_CLASSES

_MISSING: Final = object()

# Runs a handler with all its arguments; the second argument runs a blocking call in a thread.
RunInThread: TypeAlias = Callable[[Callable[[], Any]], Awaitable[Any]]
Call: TypeAlias = Callable[[Delivery, RunInThread], Awaitable[object]]


@dataclass(frozen=True, slots=True)
class Handler:
    """A registered function, ready to run."""

    id: str
    function: Callable[..., object]
    classes: frozenset[type[Event]]
    filters: tuple[tuple[str, tuple[object, ...]], ...]
    when: Callable[[Any], object] | None
    call: Call
    options: HandlerOptions = DEFAULT_OPTIONS
    blocking: bool = False
    """It is a plain function, and runs in a thread."""

    def broken_by(self, error: Exception) -> "Handler":
        """Make a copy that fails with `error`, as when its predicate raised."""

        async def fail(_delivery: Delivery, _run_in_thread: RunInThread) -> None:
            raise error

        return replace(self, call=fail)


@dataclass(frozen=True, slots=True)
class Matched:
    """What is to be done about one event."""

    handlers: Sequence[Handler]
    waiting: bool = False
    """A handler wanted this type, but the fields have drifted too far to make the event that it takes."""

    def order(self, event: AnyEvent) -> str:
        """The order in which `event` runs; empty for none."""
        for handler in self.handlers:
            if handler.options.order_by is not None:  # the others agree
                return order_of(event, handler.options.order_by)
        return ""


class Table:
    """Handlers by event class.

    Args:
        handlers: in the order in which they run.
    """

    def __init__(self, handlers: Sequence[Handler]) -> None:
        self.handlers = handlers
        self._by_class: Mapping[type[Event], Sequence[Handler]] = {
            cls: tuple(handler for handler in handlers if cls in handler.classes) for cls in EVENT_CLASSES
        }
        for cls, candidates in self._by_class.items():
            _refuse_two_orders(cls, candidates)
        self.limited: Mapping[str, Sequence[Handler]] = {
            name: handlers
            for name, cls in EVENT_TYPES.items()
            if (handlers := [handler for handler in self._by_class[cls] if handler.options.concurrency])
        }
        """By event type, the handlers of which only so many may run at once."""
        # What an event gets whose class has neither filters nor predicates to ask.
        self._unconditional = {
            cls: Matched(candidates)
            for cls, candidates in self._by_class.items()
            if cls is not UnknownEvent and not any(handler.filters or handler.when for handler in candidates)
        }

    def match(self, event: AnyEvent) -> Matched:
        """Find the handlers of `event`, in the order of their registration."""
        matched = self._unconditional.get(event.__class__)
        if matched is not None:
            return matched
        found: list[Handler] = []
        for handler in self._by_class[event.__class__]:
            if any(getattr(event, name, _MISSING) not in values for name, values in handler.filters):
                continue
            if handler.when is not None:
                try:
                    if not handler.when(event):
                        continue
                except Exception as error:  # noqa: BLE001 - the other handlers run all the same
                    found.append(handler.broken_by(error))
                    continue
            found.append(handler)
        return Matched(found, waiting=self._somebody_waits(event))

    def _somebody_waits(self, event: AnyEvent) -> bool:
        if not isinstance(event, UnknownEvent) or not event.drifted:
            return False
        wanted = self._by_class[EVENT_TYPES[event.event_type]]
        return any(UnknownEvent not in handler.classes for handler in wanted)


def _refuse_two_orders(cls: type[Event], handlers: Sequence[Handler]) -> None:
    """A delivery waits in one line: it is worked on as a whole."""
    ordered = {handler.options.order_by: handler.id for handler in handlers if handler.options.order_by}
    if len(ordered) > 1:
        wishes = " and ".join(f"{name} (order_by={field!r})" for field, name in ordered.items())
        raise RoutingError(f"{cls.__name__}: its handlers want different orders, {wishes}; agree on one")
