"""`Router`: handlers and dependencies, registered with decorators, composed with `include`."""

import contextlib
import functools
import inspect
from collections.abc import Callable, Generator, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, TypeVar, Unpack, overload

from airweave_webhooks.delivery import Delivery
from airweave_webhooks.errors import RoutingError
from airweave_webhooks.events import (
    AccessControlBatchProcessed,
    CollectionEvent,
    EntityBatchProcessed,
    Event,
    OrganizationEvent,
    QueryProcessed,
    SearchCompleted,
    SearchEvent,
    SearchFailed,
    SearchReranking,
    SearchStarted,
    SearchThinking,
    SearchToolCalled,
    SourceConnectionEvent,
    SyncEvent,
)
from airweave_webhooks.routing import patterns as names
from airweave_webhooks.routing.injection import Factory, Provider, compile_call
from airweave_webhooks.routing.options import OPTIONS, Arguments, HandlerOptions, compile_options
from airweave_webhooks.routing.parameters import (
    Parameter,
    check_events,
    event_classes,
    is_plain_function,
    kind_of,
    read_parameters,
)
from airweave_webhooks.routing.patterns import Pattern
from airweave_webhooks.routing.table import Handler, Table

F = TypeVar("F", bound=Callable[..., Any])
E = TypeVar("E", bound=Event)


@dataclass(frozen=True, slots=True)
class _Registration:
    """A decorated function, checked as far as it can be before the receiver opens."""

    id: str
    function: Callable[..., Any]
    parameters: tuple[Parameter, ...]
    classes: frozenset[type[Event]]
    filters: tuple[tuple[str, tuple[object, ...]], ...]
    when: Callable[[Any], object] | None
    options: HandlerOptions


class Router:
    """Collects handlers. A `Receiver` is one; others spread handlers over files, and are included into it."""

    def __init__(self) -> None:
        self._entries: list[_Registration | Router] = []
        self._providers: dict[Any, Provider] = {}
        self._overrides: dict[Any, Provider] = {}
        self._included_in: list[Router] = []
        self._table: Table | None = None

    # One overload a domain gives `when` the type of its argument; a misspelt name or filter fits none of them.
    # fmt: off
    @overload
    def on(self, event: names.SyncName, /, *more: names.SyncName, id: str | None = None, when: Callable[[SyncEvent], object] | None = None, **arguments: Unpack[Arguments]) -> Callable[[F], F]: ...  # noqa: E501
    @overload
    def on(self, event: names.SourceConnectionName, /, *more: names.SourceConnectionName, id: str | None = None, when: Callable[[SourceConnectionEvent], object] | None = None, **arguments: Unpack[Arguments]) -> Callable[[F], F]: ...  # noqa: E501
    @overload
    def on(self, event: names.CollectionName, /, *more: names.CollectionName, id: str | None = None, when: Callable[[CollectionEvent], object] | None = None, **arguments: Unpack[Arguments]) -> Callable[[F], F]: ...  # noqa: E501
    @overload
    def on(self, event: names.OrganizationName, /, *more: names.OrganizationName, id: str | None = None, when: Callable[[OrganizationEvent], object] | None = None, **arguments: Unpack[Arguments]) -> Callable[[F], F]: ...  # noqa: E501
    @overload
    def on(self, event: names.EntityName, /, *more: names.EntityName, id: str | None = None, when: Callable[[EntityBatchProcessed], object] | None = None, **arguments: Unpack[Arguments]) -> Callable[[F], F]: ...  # noqa: E501
    @overload
    def on(self, event: names.AccessControlName, /, *more: names.AccessControlName, id: str | None = None, when: Callable[[AccessControlBatchProcessed], object] | None = None, **arguments: Unpack[Arguments]) -> Callable[[F], F]: ...  # noqa: E501
    @overload
    def on(self, event: names.QueryName, /, *more: names.QueryName, id: str | None = None, when: Callable[[QueryProcessed], object] | None = None, **arguments: Unpack[Arguments]) -> Callable[[F], F]: ...  # noqa: E501
    @overload
    def on(self, event: names.SearchStartedName, /, *, id: str | None = None, when: Callable[[SearchStarted], object] | None = None, **arguments: Unpack[Arguments]) -> Callable[[F], F]: ...  # noqa: E501
    @overload
    def on(self, event: names.SearchCompletedName, /, *, id: str | None = None, when: Callable[[SearchCompleted], object] | None = None, **arguments: Unpack[Arguments]) -> Callable[[F], F]: ...  # noqa: E501
    @overload
    def on(self, event: names.SearchFailedName, /, *, id: str | None = None, when: Callable[[SearchFailed], object] | None = None, **arguments: Unpack[Arguments]) -> Callable[[F], F]: ...  # noqa: E501
    @overload
    def on(self, event: names.SearchRerankingName, /, *, id: str | None = None, when: Callable[[SearchReranking], object] | None = None, **arguments: Unpack[Arguments]) -> Callable[[F], F]: ...  # noqa: E501
    @overload
    def on(self, event: names.SearchThinkingName, /, *, id: str | None = None, when: Callable[[SearchThinking], object] | None = None, **arguments: Unpack[Arguments]) -> Callable[[F], F]: ...  # noqa: E501
    @overload
    def on(self, event: names.SearchToolCalledName, /, *, id: str | None = None, when: Callable[[SearchToolCalled], object] | None = None, **arguments: Unpack[Arguments]) -> Callable[[F], F]: ...  # noqa: E501
    @overload
    def on(self, event: names.SearchName, /, *more: names.SearchName, id: str | None = None, when: Callable[[SearchEvent], object] | None = None, **arguments: Unpack[Arguments]) -> Callable[[F], F]: ...  # noqa: E501
    @overload
    def on(self, event: type[E], /, *more: type[E], id: str | None = None, when: Callable[[E], object] | None = None, **arguments: Unpack[Arguments]) -> Callable[[F], F]: ...  # noqa: E501
    @overload
    def on(self, event: Pattern, /, *more: Pattern, id: str | None = None, when: Callable[[Event], object] | None = None, **arguments: Unpack[Arguments]) -> Callable[[F], F]: ...  # noqa: E501
    # fmt: on
    def on(
        self,
        *events: Any,
        id: str | None = None,  # noqa: A002 - the word that users look for
        when: Callable[[Any], object] | None = None,
        **arguments: Any,
    ) -> Callable[[F], F]:
        """Run the decorated function for these events. It comes back unchanged.

        Its parameters are filled by annotation: an event class, `Delivery`, or a type given to `provide()`. A plain
        function runs in a thread. It succeeds by returning; `Retry`, `Reject` or any other exception says otherwise.

        Args:
            events: names (`"sync.completed"`), globs (`"sync.*"`, `"*"`) or event classes.
            id: names the handler in the record; by default its module and qualified name.
            when: a predicate on the event, chosen by its truth. What it raises counts as the handler's failure.
            arguments: filters, which are fields of the event and the value, or the collection of values, that they
                must have; and options: see `airweave_webhooks.routing.options.Options`.

        Raises:
            RoutingError: it could never run as written; the message names the nearest thing that could.
        """
        if when is not None and not is_plain_function(when):
            raise RoutingError(
                f"on(…, when={when!r}): takes a plain function of the event whose result is true or false"
            )
        classes = names.expand(events)
        options = compile_options({name: arguments[name] for name in arguments if name in OPTIONS}, classes)
        filters = {name: value for name, value in arguments.items() if name not in OPTIONS}
        compiled = names.compile_filters(filters, classes)

        def register(function: F) -> F:
            if not callable(function):
                raise RoutingError(f"on() decorates functions, not {function!r}")
            handler_id = id or _name(function)
            what = f"handler {handler_id}"
            if kind_of(function).endswith("generator"):
                raise RoutingError(f"{what}: it has a `yield`, so calling it would not run it")
            parameters = read_parameters(function, what)
            check_events(parameters, classes, what)
            self._entries.append(_Registration(handler_id, function, parameters, classes, compiled, when, options))
            self._changed()
            return function

        return register

    def provide(self, annotation: Any, factory: Factory) -> None:
        """Fill parameters annotated with `annotation` with what `factory` makes.

        The factory is sync, async, or a generator that yields once and cleans up after; it can have parameters of its
        own, filled in the same way. It runs anew for each handler of each delivery, and what comes after its `yield`
        runs before the delivery is settled: an error there is the handler's failure. A sync factory runs where its
        handler runs: in a thread for a sync handler, on the event loop for an async one.

        Args:
            annotation: a type, or `Annotated[type, "name"]` to tell equal types apart.
            factory: makes one.

        Raises:
            RoutingError: `annotation` is provided already, or is filled by us.
        """
        what = f"the factory of {annotation!r}"
        if annotation is Delivery or event_classes(annotation):
            raise RoutingError(f"{what}: a parameter of this type gets the delivery at hand, so it would never run")
        if annotation in self._providers:
            raise RoutingError(f"{what}: it has one already; override() replaces it for a while")
        self._providers[annotation] = Provider.of(factory, what)
        self._changed()

    @contextlib.contextmanager
    def override(self, annotation: Any, factory: Factory) -> Generator[None]:
        """Use another factory inside a `with` block, also in included routers: for tests."""
        before = self._overrides.get(annotation)
        self._overrides[annotation] = Provider.of(factory, f"the override of {annotation!r}")
        self._changed()
        try:
            yield
        finally:
            self._overrides.pop(annotation, None)
            if before is not None:
                self._overrides[annotation] = before
            self._changed()

    def include(self, router: "Router") -> None:
        """Add the handlers of another router, those that it gets later included, at this place in the order.

        Its handlers find its own providers first, then ours.

        Raises:
            RoutingError: it is included already, or includes us.
        """
        if router is self or router._reaches(self):
            raise RoutingError("include(): the routers would include each other in a circle")
        if router in self._entries:
            raise RoutingError("include(): this router is included already, its handlers would run twice")
        self._entries.append(router)
        router._included_in.append(self)
        self._changed()

    @property
    def table(self) -> Table:
        """The compiled routing table.

        Raises:
            RoutingError: a dependency that nothing provides, two handlers with one id, or two that want another order.
        """
        if self._table is None:
            handlers = list(self._compile({}, {}))
            seen: dict[str, Handler] = {}
            for handler in handlers:
                if handler.id in seen:
                    raise RoutingError(
                        f"two handlers are called {handler.id}: give one an id=…, or, if one function"
                        " is decorated twice, name all its events in one on()"
                    )
                seen[handler.id] = handler
            self._table = Table(handlers)
        return self._table

    def _compile(self, inherited: Mapping[Any, Provider], overrides: Mapping[Any, Provider]) -> Iterator[Handler]:
        providers = {**inherited, **self._providers}
        overrides = {**self._overrides, **overrides}
        for entry in self._entries:
            if isinstance(entry, Router):
                yield from entry._compile(providers, overrides)
            else:
                call = compile_call(entry.function, entry.parameters, {**providers, **overrides}, f"handler {entry.id}")
                blocking = kind_of(entry.function) == "sync"
                yield Handler(
                    entry.id, entry.function, entry.classes, entry.filters, entry.when, call, entry.options, blocking
                )

    def _changed(self) -> None:
        self._table = None
        for router in self._included_in:
            router._changed()

    def _reaches(self, other: "Router") -> bool:
        return any(isinstance(entry, Router) and (entry is other or entry._reaches(other)) for entry in self._entries)


def _name(function: Callable[..., Any]) -> str:
    while isinstance(function, functools.partial):
        function = function.func
    named = inspect.unwrap(function)
    module = getattr(named, "__module__", None) or type(named).__module__
    return f"{module}.{getattr(named, '__qualname__', type(named).__qualname__)}"
