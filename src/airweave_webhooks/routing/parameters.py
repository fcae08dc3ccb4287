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
    bound: set[str] = set()
    target = function
    while isinstance(target, functools.partial):
        bound |= target.keywords.keys()
        target = target.func
    try:
        signature = inspect.signature(function)
    except NameError as error:  # Python 3.14 evaluates annotations here
        raise _unknown_name(what, error) from None
    except (TypeError, ValueError) as error:
        raise RoutingError(f"{what}: its parameters cannot be read ({error})") from None
    names = _globals(target)
    parameters: list[Parameter] = []
    for name, parameter in signature.parameters.items():
        if parameter.kind in {parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD} or name in bound:
            continue
        optional = parameter.default is not parameter.empty
        if parameter.annotation is parameter.empty:
            if optional:
                continue
            raise RoutingError(
                f"{what}: the parameter {name!r} has no annotation; annotate it with an event class,"
                " Delivery, or a type that provide() knows"
            )
        try:
            annotation = _evaluate(parameter.annotation, names)
            hash(annotation)
        except Exception as error:  # noqa: BLE001 - evaluating runs whatever stands there
            if optional:
                continue
            if isinstance(error, NameError):
                raise _unknown_name(what, error) from None
            raise RoutingError(f"{what}: the annotation of {name!r} cannot be used ({error})") from None
        parameters.append(
            Parameter(
                name,
                annotation,
                positional=parameter.kind is not parameter.KEYWORD_ONLY,
                positional_only=parameter.kind is parameter.POSITIONAL_ONLY,
                optional=optional,
            )
        )
    return tuple(parameters)


def _unknown_name(what: str, error: NameError) -> RoutingError:
    return RoutingError(
        f"{what}: the annotation {error.name!r} is not known at run time; import it outside of"
        " `if TYPE_CHECKING:`, and at the top level of the module"
    )


def _globals(function: Callable[..., Any]) -> dict[str, Any]:
    """Where the names in a function's annotations are looked up: behind classes, callable objects and decorators."""
    if isinstance(function, type):
        function = inspect.getattr_static(function, "__init__")
    elif not inspect.isroutine(function):
        function = type(function).__call__
    return getattr(inspect.unwrap(function), "__globals__", {})


def _evaluate(annotation: Any, names: dict[str, Any]) -> Any:
    """One annotation alone: a name for type checkers only, elsewhere in the signature, is none of our business."""
    holder = types.SimpleNamespace(__annotations__={"it": annotation})
    return typing.get_type_hints(holder, names, include_extras=True)["it"]


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
    if isinstance(function, type):
        return "sync"  # calling it makes an instance, whatever calling the instance does
    for candidate in (function, getattr(function, "__call__", None)):  # noqa: B004 - its code flags are wanted
        if inspect.isasyncgenfunction(candidate):
            return "async generator"
        if inspect.iscoroutinefunction(candidate):
            return "async"
        if inspect.isgeneratorfunction(candidate):
            return "sync generator"
    return "sync"


def is_plain_function(function: object) -> bool:
    """Whether it can be called for a result here and now."""
    return callable(function) and kind_of(function) == "sync"
