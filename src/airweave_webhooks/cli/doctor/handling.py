"""Who handles which events, how, and who never will."""

from collections.abc import Sequence
from dataclasses import fields

from airweave_webhooks.cli.doctor.findings import Verdict, ok, problem, warning
from airweave_webhooks.cli.doctor.program import Program
from airweave_webhooks.cli.words import one_line
from airweave_webhooks.errors import ConfigurationError
from airweave_webhooks.events import EVENT_TYPES, Event, SourceConnectionDeleted, UnknownEvent
from airweave_webhooks.modes import Inbox
from airweave_webhooks.pipeline import Pipeline
from airweave_webhooks.routing.options import DEFAULT_OPTIONS
from airweave_webhooks.routing.table import Handler

ATTEMPTS = 8
"""How often the sender tries, over some 28 hours."""


async def opens(program: Program) -> Verdict:
    """Whether handlers, mode and store fit together, by the checks that opening makes. Nothing is opened."""
    receiver = program.receiver
    try:
        handlers = receiver.table.handlers
        Pipeline(
            name=receiver.name,
            store=receiver.store,
            mode=receiver.mode,
            retention=receiver.retention,
            limits=receiver.body_limits,
            observer=None,
            table=lambda: receiver.table,
        )
    except ConfigurationError as error:
        return problem(f"the receiver cannot be opened: {one_line(str(error))}", "do what it says, and come again")
    if not handlers:
        return warning(
            "there are no handlers: every delivery is ignored",
            "register some with @receiver.on(...); and name the module here that imports those that do",
        )
    mode = type(receiver.mode).__name__
    return ok(f"handlers, {mode}() and {type(receiver.store).__name__} fit together")


async def handlers(program: Program) -> Verdict:
    """Who handles what."""
    table = {
        name: ", ".join(map(_described, found)) for name, cls in _TYPES.items() if (found := _handlers(program, cls))
    }
    number = len(program.receiver.table.handlers)
    return ok(f"{number} {'handler' if number == 1 else 'handlers'}, by event type:", table)


async def unhandled(program: Program) -> Verdict:
    """What nobody handles."""
    missing = [name for name, cls in EVENT_TYPES.items() if not _handlers(program, cls)]
    if not missing:
        return ok("every event type has a handler")
    return ok(
        f"{len(missing)} of {len(EVENT_TYPES)} event types have no handler, and are ignored: {', '.join(missing)}"
    )


async def never(program: Program) -> Verdict:
    """Handlers that no event can reach."""
    idle = [
        handler.id
        for handler in program.receiver.table.handlers
        if not any(_can_match(handler, cls) for cls in handler.classes)
    ]
    if not idle:
        return ok("each handler can be reached by some event, as far as its filters tell")
    return warning(
        f"no event can reach {', '.join(idle)}: its filters contradict its events",
        "correct the filters: the events of a deleted source connection, say, are never authenticated",
    )


async def options(program: Program) -> list[Verdict]:
    """What handlers of the same event do not agree on, and what is cut off by something else."""
    found: list[Verdict] = []
    for name, cls in _TYPES.items():
        several = _handlers(program, cls)
        if len({handler.options.max_attempts for handler in several}) > 1:
            found.append(ok(f"{name}: its handlers give up after different numbers of attempts: {_options(several)}"))
        ordered = [handler.id for handler in several if handler.options.order_by]
        if ordered and len(ordered) < len(several):
            found.append(ok(f"{name}: the order that {', '.join(ordered)} wants holds for all of its handlers"))
    if not isinstance(program.receiver.mode, Inbox):
        found += _cut_off(program)
    return found or [ok("handlers of the same event agree on their options")]


def _cut_off(program: Program) -> list[Verdict]:
    answer = program.receiver.mode.answer_within
    found: list[Verdict] = []
    for handler in program.receiver.table.handlers:
        if (handler.options.timeout or 0) > answer:
            found.append(
                warning(
                    f"{handler.id} may take {handler.options.timeout:g} s, and the sender is told to come again after"
                    f" {answer:g} s; it is tried {ATTEMPTS} times",
                    "use mode=Inbox(), which acknowledges first; or a shorter timeout=",
                )
            )
        if (handler.options.max_attempts or 0) > ATTEMPTS:
            found.append(
                warning(
                    f"{handler.id} wants {handler.options.max_attempts} attempts, and the sender makes {ATTEMPTS}",
                    "use mode=Inbox(), whose worker tries on; or a smaller max_attempts=",
                )
            )
    return found


async def threads(program: Program) -> Verdict:
    """Whether plain functions, which run in threads, have enough of them."""
    mode = program.receiver.mode
    plain = [handler for handler in program.receiver.table.handlers if handler.blocking]
    if not plain:
        return ok("no handler is a plain function, so none needs a thread")
    wanted = sum(handler.options.concurrency or 0 for handler in plain)
    number = f"{len(plain)} {'handler is a plain function' if len(plain) == 1 else 'handlers are plain functions'}"
    if wanted > mode.most_threads:
        return warning(
            f"{number}; together they may run {wanted} at once (concurrency=), on {mode.most_threads} threads",
            f"give the mode most_threads={wanted}, or the handlers less",
        )
    return ok(f"{number}; {mode.most_threads} of them run at once, the others wait (most_threads)")


_TYPES: dict[str, type[Event]] = {**EVENT_TYPES, "(unknown)": UnknownEvent}


def _handlers(program: Program, cls: type[Event]) -> list[Handler]:
    return [
        handler for handler in program.receiver.table.handlers if cls in handler.classes and _can_match(handler, cls)
    ]


def _can_match(handler: Handler, cls: type[Event]) -> bool:
    for name, values in handler.filters:
        if name not in cls.model_fields and cls is not UnknownEvent:
            return False
        if name == "is_authenticated" and issubclass(cls, SourceConnectionDeleted) and False not in values:
            return False  # it always says false
    return True


def _described(handler: Handler) -> str:
    words = [f"{name}={_value(values)}" for name, values in handler.filters]
    words += ["when"] * (handler.when is not None)
    words += [
        f"{field.name}={value}"
        for field in fields(handler.options)
        if (value := getattr(handler.options, field.name)) != getattr(DEFAULT_OPTIONS, field.name)
    ]
    return f"{handler.id} ({', '.join(words)})" if words else handler.id


def _value(values: Sequence[object]) -> str:
    return "|".join(one_line(str(value)) for value in values)


def _options(several: Sequence[Handler]) -> str:
    return ", ".join(f"{handler.id} ({handler.options.max_attempts or 'as the mode says'})" for handler in several)
