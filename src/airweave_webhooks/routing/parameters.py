"""What a handler or a factory asks for, read from its signature once, at decoration."""

import functools
import inspect
import types
import typing
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias, get_args, get_origin

from airweave_webhooks.errors import RoutingError
from airweave_webhooks.events import Event

Kind: TypeAlias = Literal["sync", "async", "sync generator", "async generator"]


@dataclass(frozen=True, slots=True)
class Parameter:
    """One parameter that we fill."""

    name: str
    annotation: Any
    positional: bool
    """It can be passed by position."""
    positional_only: bool
    optional: bool
    """It has a default, which stays when nothing provides its type."""

    @property
    def is_event(self) -> bool:
        """Whether it takes the event (or one of several)."""
        return bool(event_classes(self.annotation))


def event_classes(annotation: Any) -> tuple[type[Event], ...]:
    """The event classes in `SyncFailed` or `SyncFailed | SyncCancelled`; else ()."""
    if isinstance(annotation, type) and not get_args(annotation):
        return (annotation,) if issubclass(annotation, Event) else ()
    origin = get_origin(annotation)
    if origin in {types.UnionType, typing.Union}:
        members = [event_classes(member) for member in get_args(annotation)]
        return tuple(cls for member in members for cls in member) if all(members) else ()
    return ()


def read_parameters(function: Callable[..., Any], what: str) -> tuple[Parameter, ...]:
    """Read the parameters of a handler or factory that we have to fill.

    Raises:
        RoutingError: one has no annotation, or an annotation that cannot be resolved.
    """
    try:
        signature = inspect.signature(function)
        hints = typing.get_type_hints(_annotated(function), include_extras=True)
    except NameError as error:
        raise RoutingError(
            f"{what}: the annotation {error.name!r} is not known at run time; import it outside of"
            " `if TYPE_CHECKING:`, and at the top level of the module"
        ) from None
    except (TypeError, ValueError) as error:
        raise RoutingError(f"{what}: its parameters cannot be read ({error})") from None
    parameters: list[Parameter] = []
    for name, parameter in signature.parameters.items():
        if parameter.kind in {parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD}:
            continue
        optional = parameter.default is not parameter.empty
        if name not in hints:
            if optional:
                continue
            raise RoutingError(
                f"{what}: the parameter {name!r} has no annotation; annotate it with an event class,"
                " Delivery, or a type that provide() knows"
            )
        parameters.append(
            Parameter(
                name,
                hints[name],
                positional=parameter.kind is not parameter.KEYWORD_ONLY,
                positional_only=parameter.kind is parameter.POSITIONAL_ONLY,
                optional=optional,
            )
        )
    return tuple(parameters)


def _annotated(function: Callable[..., Any]) -> Any:
    """The function whose annotations are meant: behind partials, classes and callable objects."""
    while isinstance(function, functools.partial):
        function = function.func
    if isinstance(function, type):
        return inspect.getattr_static(function, "__init__")
    return function if inspect.isroutine(function) else type(function).__call__


def check_events(parameters: Iterable[Parameter], classes: frozenset[type[Event]], what: str) -> None:
    """Refuse a handler whose event parameter cannot take everything that its patterns let through.

    Raises:
        RoutingError: naming the classes that do not fit.
    """
    for parameter in parameters:
        accepted = event_classes(parameter.annotation)
        misfits = sorted(cls.__name__ for cls in classes if accepted and not issubclass(cls, accepted))
        if misfits:
            takes = " | ".join(cls.__name__ for cls in accepted)
            raise RoutingError(
                f"{what}: its parameter {parameter.name!r} takes {takes}, but its patterns also let through"
                f" {', '.join(misfits)}; widen the annotation, or narrow the patterns"
            )


def kind_of(function: Callable[..., Any]) -> Kind:
    """Tell the four kinds of functions apart, through partials and callable objects."""
    while isinstance(function, functools.partial):
        function = function.func
    for candidate in (function, getattr(function, "__call__", None)):  # noqa: B004 - its code flags are wanted
        if inspect.isasyncgenfunction(candidate):
            return "async generator"
        if inspect.iscoroutinefunction(candidate):
            return "async"
        if inspect.isgeneratorfunction(candidate):
            return "sync generator"
    return "sync"
