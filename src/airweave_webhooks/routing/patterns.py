"""What can stand in `@receiver.on(…)`: event names, globs, classes and filters, all known to type checkers."""

from collections.abc import Collection, Mapping
from typing import Any, Final, Literal, TypeAlias, TypedDict, cast
from uuid import UUID

from airweave_webhooks.errors import RoutingError
from airweave_webhooks.events import EVENT_TYPES, Event, UnknownEvent
from airweave_webhooks.routing.nearest import nearest

SyncName: TypeAlias = Literal[
    "sync.pending",
    "sync.running",
    "sync.cancelling",
    "sync.completed",
    "sync.failed",
    "sync.cancelled",
    "sync.*",
]
SourceConnectionName: TypeAlias = Literal[
    "source_connection.created",
    "source_connection.auth_completed",
    "source_connection.deleted",
    "source_connection.*",
]
CollectionName: TypeAlias = Literal["collection.created", "collection.updated", "collection.deleted", "collection.*"]
OrganizationName: TypeAlias = Literal[
    "organization.created",
    "organization.deleted",
    "organization.member_added",
    "organization.member_removed",
    "organization.*",
]
EntityName: TypeAlias = Literal["entity.batch_processed", "entity.*"]
AccessControlName: TypeAlias = Literal["access_control.batch_processed", "access_control.*"]
QueryName: TypeAlias = Literal["query.processed", "query.*"]
# The searches' types differ in their fields, so each has a name of its own.
SearchStartedName: TypeAlias = Literal["search.started"]
SearchCompletedName: TypeAlias = Literal["search.completed"]
SearchFailedName: TypeAlias = Literal["search.failed"]
SearchRerankingName: TypeAlias = Literal["search.reranking"]
SearchThinkingName: TypeAlias = Literal["search.thinking"]
SearchToolCalledName: TypeAlias = Literal["search.tool_called"]
SearchName: TypeAlias = (
    SearchStartedName
    | SearchCompletedName
    | SearchFailedName
    | SearchRerankingName
    | SearchThinkingName
    | SearchToolCalledName
    | Literal["search.*"]
)
EventGlob: TypeAlias = Literal["*"]
EventName: TypeAlias = (
    SyncName
    | SourceConnectionName
    | CollectionName
    | OrganizationName
    | EntityName
    | AccessControlName
    | QueryName
    | SearchName
)
Pattern: TypeAlias = EventName | EventGlob | type[Event]

OneOrMore: TypeAlias = str | Collection[str]
Ids: TypeAlias = UUID | str | Collection[UUID | str]


class Filters(TypedDict, total=False):
    """The fields that `on()` can filter by: a value, or a collection of values of which one must match."""

    source_type: OneOrMore
    collection_readable_id: OneOrMore
    collection_name: OneOrMore
    collection_id: Ids
    organization_id: Ids
    source_connection_id: Ids
    sync_id: Ids
    sync_job_id: Ids
    request_id: OneOrMore
    tier: OneOrMore
    tool_name: OneOrMore
    is_authenticated: bool
    billable: bool


EVENT_CLASSES: Final[tuple[type[Event], ...]] = (*EVENT_TYPES.values(), UnknownEvent)
_GLOBS: Final = ("*", *dict.fromkeys(f"{cls.domain}.*" for cls in EVENT_TYPES.values()))
_FILTERABLE: Final = tuple(Filters.__annotations__)
_ID_FIELDS: Final = frozenset(name for name, kind in Filters.__annotations__.items() if kind == Ids)


def expand(patterns: Collection[object]) -> frozenset[type[Event]]:
    """Turn patterns into the event classes that they mean.

    A domain's glob means the types that this version knows; `"*"` and `Event` mean everything, `UnknownEvent` included.

    Raises:
        RoutingError: a pattern means nothing; names the nearest one that does.
    """
    if not patterns:
        raise RoutingError("on() needs at least one event: a name, a glob or an event class")
    return frozenset(cls for pattern in patterns for cls in _classes(pattern))


def _classes(pattern: object) -> list[type[Event]]:
    if isinstance(pattern, type):
        classes = [cls for cls in EVENT_CLASSES if issubclass(cls, pattern)]
        if not issubclass(pattern, Event) or not classes:
            raise RoutingError(f"on({pattern.__name__}): not one of Airweave's event classes")
        return classes
    if not isinstance(pattern, str):
        hint = " (write @receiver.on('sync.completed'), with the parentheses)" if callable(pattern) else ""
        raise RoutingError(f"on() takes event names and event classes, not {pattern!r}{hint}")
    if pattern in EVENT_TYPES:
        return [EVENT_TYPES[pattern]]
    if pattern == "*":
        return list(EVENT_CLASSES)
    if pattern in _GLOBS:
        return [cls for name, cls in EVENT_TYPES.items() if name.startswith(pattern.removesuffix("*"))]
    raise RoutingError(
        f"on({pattern!r}): no such event{nearest(pattern, [*EVENT_TYPES, *_GLOBS])}"
        " (for a type that this version does not know, use on(UnknownEvent, when=…))"
    )


def compile_filters(
    filters: Mapping[str, Any], classes: frozenset[type[Event]]
) -> tuple[tuple[str, tuple[object, ...]], ...]:
    """Turn keyword filters into field names and the values that they may have.

    Raises:
        RoutingError: a field that cannot be filtered by, that none of `classes` has, or a value of the wrong kind.
    """
    compiled: list[tuple[str, tuple[object, ...]]] = []
    for name, wanted in filters.items():
        if name not in _FILTERABLE:
            raise RoutingError(f"on(…, {name}=…): no such filter{nearest(name, _FILTERABLE)}")
        if not any(name in cls.model_fields for cls in classes):
            names = ", ".join(sorted(cls.__name__ for cls in classes))
            raise RoutingError(f"on(…, {name}=…): {names} has no such field, so this handler would never run")
        several = isinstance(wanted, Collection) and not isinstance(wanted, str)
        values: list[object] = list(cast("Collection[object]", wanted)) if several else [wanted]
        if not values:
            raise RoutingError(f"on(…, {name}={wanted!r}): an empty collection matches nothing")
        # A tuple and not a set: what an event holds under a new name need not be hashable.
        compiled.append((name, tuple(_value(name, value) for value in values)))
    return tuple(compiled)


def _value(name: str, value: object) -> object:
    if name in _ID_FIELDS:
        try:
            return value if isinstance(value, UUID) else UUID(str(value))
        except ValueError:
            raise RoutingError(f"on(…, {name}={value!r}): not a UUID") from None
    expected = bool if Filters.__annotations__[name] is bool else str
    if not isinstance(value, expected):
        raise RoutingError(f"on(…, {name}={value!r}): takes {expected.__name__}, not {type(value).__name__}")
    return value
