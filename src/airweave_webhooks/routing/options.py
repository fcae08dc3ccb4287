"""How a handler is run: what stands in `on()` beside the events and the filters."""

import math
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any, Final, Literal, TypeAlias, TypedDict, get_args

from airweave_webhooks.errors import RoutingError
from airweave_webhooks.events import AnyEvent, Event
from airweave_webhooks.routing.nearest import nearest
from airweave_webhooks.routing.patterns import Filters

OrderField: TypeAlias = Literal[
    "sync_job_id",
    "sync_id",
    "source_connection_id",
    "collection_id",
    "collection_readable_id",
    "organization_id",
    "request_id",
]


class Options(TypedDict, total=False):
    """The options of `on()`. The last three are for inbox mode."""

    timeout: float
    """Seconds after which it has failed. A plain function goes on in its thread, and its result counts."""
    max_attempts: int
    """Starts after which it is given up; in inbox mode instead of the mode's."""
    concurrency: int
    """How many of it run at once, in one process."""
    order_by: OrderField
    """Events with the same value of this field run one at a time, by their `timestamp`."""
    stale: Literal["run", "drop"]
    """With `order_by`: what to do about an event when a later one is done already."""


class Arguments(Filters, Options, total=False):
    """What `on()` takes by name."""


OPTIONS: Final = frozenset(Options.__annotations__)


@dataclass(frozen=True, slots=True)
class HandlerOptions:
    """Checked options."""

    timeout: float | None = None
    max_attempts: int | None = None
    concurrency: int | None = None
    order_by: str | None = None
    stale: Literal["run", "drop"] = "run"

    @property
    def for_an_inbox(self) -> str | None:
        """The name of an option that only an inbox can keep to; None if there is none."""
        if self.order_by is not None:
            return "order_by"
        return None if self.concurrency is None else "concurrency"


DEFAULT_OPTIONS: Final = HandlerOptions()


def compile_options(options: Mapping[str, Any], classes: Collection[type[Event]]) -> HandlerOptions:
    """Check options.

    Raises:
        RoutingError: one has a value that cannot work.
    """
    for name in ("max_attempts", "concurrency"):
        value = options.get(name, 1)
        if not isinstance(value, int) or isinstance(value, bool) or value < 1:
            raise RoutingError(f"on(…, {name}={value!r}): takes a whole number from 1")
    timeout = options.get("timeout", 1.0)
    if not isinstance(timeout, int | float) or not 0 < timeout < math.inf:
        raise RoutingError(f"on(…, timeout={timeout!r}): takes a positive number of seconds")
    order_by = options.get("order_by")
    if order_by is not None:
        if order_by not in get_args(OrderField):
            raise RoutingError(
                f"on(…, order_by={order_by!r}): no field to order by{nearest(str(order_by), get_args(OrderField))}"
            )
        without = sorted(cls.__name__ for cls in classes if order_by not in cls.model_fields)
        if without:
            raise RoutingError(
                f"on(…, order_by={order_by!r}): {', '.join(without)} has no such field, so its events would run in no"
                " order; register the handler for the others only"
            )
    stale = options.get("stale", "run")
    if stale not in {"run", "drop"}:
        raise RoutingError(f"on(…, stale={stale!r}): takes 'run' or 'drop'")
    if stale == "drop" and order_by is None:
        raise RoutingError("on(…, stale='drop'): needs order_by=…, which says what an event is later than")
    return HandlerOptions(**options)


def order_of(event: AnyEvent, field: str) -> str:
    """What an event has in common with all that has to run one at a time with it; empty if it lacks the field."""
    value = getattr(event, field, None)
    return "" if value is None else f"{field}={value}"
