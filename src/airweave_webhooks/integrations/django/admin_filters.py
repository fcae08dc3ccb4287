"""Filters of the list of deliveries. None of them reads the whole table to know its choices."""

import time
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, Final, get_args

from django.contrib.admin import ModelAdmin, SimpleListFilter
from django.db.models import QuerySet
from django.http import HttpRequest

from airweave_webhooks.events import EVENT_TYPES
from airweave_webhooks.integrations.django.admin_backlog import latest, receivers
from airweave_webhooks.integrations.django.models import Delivery
from airweave_webhooks.stores.base import State

if TYPE_CHECKING:
    _Deliveries = QuerySet[Delivery]
    _Admin = ModelAdmin[Delivery]
else:
    _Deliveries, _Admin = QuerySet, ModelAdmin

Choices = list[tuple[str, str]]

MOST_CHOICES: Final = 20
"""A filter with more of them is not shown: searching is quicker."""
_SPANS: Final = {"1h": 3600.0, "1d": 86_400.0, "7d": 7 * 86_400.0, "30d": 30 * 86_400.0}
_OTHERS: Final = "(others)"


class _Filter(SimpleListFilter):
    parameter_name: str

    def queryset(self, request: HttpRequest, queryset: _Deliveries) -> _Deliveries:  # noqa: ARG002 - Django's
        """Those whose column has the value that was chosen."""
        value = self.value()
        if value is not None and "\0" in value:  # which PostgreSQL takes in no text
            return queryset.none()
        return queryset if value is None else queryset.filter(**{self.parameter_name: value})


class StateFilter(_Filter):
    """By state."""

    title: str = "state"
    parameter_name = "state"

    def lookups(self, request: HttpRequest, model_admin: _Admin) -> Choices:  # noqa: ARG002 - Django's
        """Every state."""
        return [(state, state) for state in get_args(State)]


class TypeFilter(_Filter):
    """By the event's type."""

    title: str = "type"
    parameter_name = "event_type"

    def lookups(self, request: HttpRequest, model_admin: _Admin) -> Choices:  # noqa: ARG002 - Django's
        """Every type that this version knows, and all that it does not."""
        return [(name, name) for name in (*sorted(EVENT_TYPES), _OTHERS)]

    def queryset(self, request: HttpRequest, queryset: _Deliveries) -> _Deliveries:
        """Those of the type."""
        if self.value() == _OTHERS:
            return queryset.exclude(event_type__in=list(EVENT_TYPES))
        return super().queryset(request, queryset)


class ReceivedFilter(_Filter):
    """By how long ago it came."""

    title: str = "received"
    parameter_name = "received"

    def lookups(self, request: HttpRequest, model_admin: _Admin) -> Choices:  # noqa: ARG002 - Django's
        """Spans that end now, and what is older than all of them."""
        return [
            *(("1h", "in the last hour"), ("1d", "in the last 24 hours"), ("7d", "in the last 7 days")),
            *(("30d", "in the last 30 days"), ("older", "before")),
        ]

    def queryset(self, request: HttpRequest, queryset: _Deliveries) -> _Deliveries:  # noqa: ARG002 - Django's
        """Those in the span."""
        match self.value():
            case "older":
                return queryset.filter(received_at__lt=time.time() - max(_SPANS.values()))
            case str(span) if span in _SPANS:
                return queryset.filter(received_at__gte=time.time() - _SPANS[span])
            case _:
                return queryset


class ReceiverFilter(_Filter):
    """By receiver, where the database has those of several."""

    title: str = "receiver"
    parameter_name = "receiver_hash"

    def lookups(self, request: HttpRequest, model_admin: _Admin) -> Choices:
        """Every receiver."""
        found = list(receivers(model_admin.get_queryset(request)))
        return [(one.hash, one.name) for one in found] if len(found) > 1 else []


class _Recent(_Filter):
    """By a column that has few values: those of the latest deliveries."""

    def lookups(self, request: HttpRequest, model_admin: _Admin) -> Choices:
        """Its values; none if there are many."""
        found = set(self._values(latest(request, model_admin.get_queryset(request)), request))
        return [(value, value) for value in sorted(found)] if len(found) <= MOST_CHOICES else []

    def _values(self, deliveries: list[Delivery], request: HttpRequest) -> Iterator[Any]:
        for delivery in deliveries:
            if (value := getattr(delivery, self.parameter_name)) is not None:
                yield value
        if (chosen := request.GET.get(self.parameter_name)) is not None:
            yield chosen


class SourceFilter(_Recent):
    """By the type of the source."""

    title: str = "source"
    parameter_name = "source_type"


class CollectionFilter(_Recent):
    """By collection."""

    title: str = "collection"
    parameter_name = "collection"
