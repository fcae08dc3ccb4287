"""What there is to know about Airweave's events: all of it read from their classes."""

import ast
import inspect
import itertools
import textwrap
import types
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final, Literal, NamedTuple, Union, get_args, get_origin

from pydantic import AliasChoices, AwareDatetime
from pydantic.fields import FieldInfo

from airweave_webhooks.events import EVENT_TYPES, Event
from airweave_webhooks.selection import expand

_NAMES: Final[Mapping[Any, str]] = {AwareDatetime: "datetime", types.NoneType: "None", Any: "Any", ...: "..."}


class Field(NamedTuple):
    """One field of an event."""

    name: str
    type: str
    """As in Python."""
    required: bool
    """Whether an event without it does not fit."""
    nullable: bool
    """Whether it can be null, or anything."""
    also: Sequence[str]
    """Other names that it comes under."""
    meaning: str
    """Empty where the name says it."""


class EventType(NamedTuple):
    """One type of event."""

    name: str
    cls: type[Event]
    meaning: str
    natural_key: str | None
    """How it is made; None if there is none."""
    fields: Sequence[Field]

    @property
    def brief(self) -> str:
        """Its meaning in one sentence."""
        return self.meaning.split(". ")[0].removesuffix(".") + "."


def event_types(patterns: Sequence[str] = ()) -> list[EventType]:
    """Describe events.

    Args:
        patterns: names, globs such as `sync.*`, or names of classes; none mean all.

    Raises:
        OperatorError: one means nothing; the message names the nearest thing that does.
    """
    by_class = {cls.__name__: name for name, cls in EVENT_TYPES.items()}
    names = expand([by_class.get(pattern, pattern) for pattern in patterns], ()) or EVENT_TYPES
    return [_describe(name, EVENT_TYPES[name]) for name in names]


def _describe(name: str, cls: type[Event]) -> EventType:
    key = inspect.getattr_static(cls, "natural_key")
    has_key = key is not inspect.getattr_static(Event, "natural_key")
    meanings = _meanings(cls)
    fields = [_field(name, field, meanings.get(name, "")) for name, field in cls.model_fields.items()]
    return EventType(name, cls, _plain(inspect.getdoc(cls)), _plain(inspect.getdoc(key)) if has_key else None, fields)


def _field(name: str, field: FieldInfo, meaning: str) -> Field:
    alias = field.validation_alias
    names = [str(choice) for choice in alias.choices] if isinstance(alias, AliasChoices) else []
    nullable = field.annotation is Any or types.NoneType in get_args(field.annotation)
    others = [other for other in names if other != name]
    return Field(name, _type(field.annotation), field.is_required(), nullable, others, meaning)


def _type(annotation: Any) -> str:
    """Write a type as in Python, without the modules."""
    if annotation in _NAMES:
        return _NAMES[annotation]
    origin, arguments = get_origin(annotation), get_args(annotation)
    if origin is Literal:
        return type(arguments[0]).__name__
    if origin in {Union, types.UnionType}:
        return " | ".join(map(_type, arguments))
    name = str(getattr(origin or annotation, "__name__", annotation))
    return f"{name}[{', '.join(map(_type, arguments))}]" if arguments else name


def _meanings(cls: type[Event]) -> dict[str, str]:
    """What the strings below the fields say, the nearest class's first; nothing where there is no source."""
    found: dict[str, str] = {}
    for each in cls.__mro__[: cls.__mro__.index(Event) + 1]:
        for name, text in _strings_below(each):
            found.setdefault(name, text)
    return found


def _strings_below(cls: type) -> Iterator[tuple[str, str]]:
    try:
        tree = ast.parse(textwrap.dedent(inspect.getsource(cls)))
    except (OSError, SyntaxError):  # a zip of compiled files has none
        return
    (definition,) = tree.body
    body = definition.body if isinstance(definition, ast.ClassDef) else []
    for field, below in itertools.pairwise(body):
        match field, below:
            case (
                ast.AnnAssign(target=ast.Name(id=name)),
                ast.Expr(value=ast.Constant(value=str(text))),
            ):
                yield name, _plain(text)
            case _:
                pass


def _plain(text: str | None) -> str:
    """The first paragraph, for a terminal."""
    return " ".join((text or "").split("\n\n")[0].replace("`", "").split())
