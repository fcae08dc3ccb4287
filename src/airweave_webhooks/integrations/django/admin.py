"""Deliveries in Django's admin: to be looked at and replayed, and not to be changed."""

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar, Final, cast

from django.contrib import admin, messages
from django.contrib.admin.helpers import ACTION_CHECKBOX_NAME
from django.contrib.admin.options import IncorrectLookupParameters
from django.core.exceptions import PermissionDenied
from django.db import connections, transaction
from django.db.models import QuerySet
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.template.response import TemplateResponse
from django.urls import URLPattern, path, reverse

from airweave_webhooks.cli.words import deliveries as in_words
from airweave_webhooks.cli.words import redacted
from airweave_webhooks.errors import ConfigurationError, WebhookError
from airweave_webhooks.integrations.django import admin_filters, admin_replay
from airweave_webhooks.integrations.django.admin_backlog import behind
from airweave_webhooks.integrations.django.admin_columns import DeliveryColumns
from airweave_webhooks.integrations.django.configuration import get_receiver
from airweave_webhooks.integrations.django.models import Delivery
from airweave_webhooks.integrations.django.store import DjangoStore
from airweave_webhooks.stores.base import Store

if TYPE_CHECKING:
    from django.contrib.auth.models import PermissionsMixin

    _Admin = admin.ModelAdmin[Delivery]
    _Deliveries = QuerySet[Delivery]
else:
    _Admin, _Deliveries = admin.ModelAdmin, QuerySet

FIELDS: Final[Sequence[tuple[str | None, tuple[tuple[str, ...], ...]]]] = (
    (None, (("type", "came"), ("message", "other_key"), ("receiver", "whose"))),
    ("Event", (("happened", "job"), ("shown_collection", "source"))),
    ("State", (("shown_state", "settled"), ("due", "leased"), ("tries", "lost", "replays"))),
    ("What handlers did", (("handlers",), ("error_text",), ("what_happened",))),
    ("Request", (("sent", "order"), ("headers_table",), ("sha256",))),
    ("Body", (("payload",),)),
)
"""Of the page of one delivery, line by line."""
_LARGE: Final = ("body", "headers", "history", "results", "digest", "token")
"""Columns that the list leaves alone."""


@admin.register(Delivery)
class DeliveryAdmin(DeliveryColumns, _Admin):
    """Shows deliveries to who has `view_delivery`, and replays them for who has `replay_delivery`, too."""

    actions: Sequence[str] = ("replay",)
    list_display: tuple[Any, ...] = (
        "received",
        "shown_state",
        "type",
        "shown_collection",
        "source",
        "tries",
        "short_error",
    )
    list_display_links: tuple[str, ...] = ("received", "type")
    list_filter: ClassVar[tuple[Any, ...]] = (
        admin_filters.ReceiverFilter,
        admin_filters.StateFilter,
        admin_filters.ReceivedFilter,
        admin_filters.SourceFilter,
        admin_filters.CollectionFilter,
        admin_filters.TypeFilter,
    )
    search_fields: ClassVar[tuple[str, ...]] = ("message_id", "key", "job_id", "collection")
    search_help_text: ClassVar[str] = "Message id, key, job id or collection."
    # What an index gives in order, on every database: by receiver, the latest first.
    ordering: ClassVar[tuple[str, ...]] = ("-receiver_hash", "-received_at")
    sortable_by: ClassVar[tuple[str, ...]] = ()
    show_full_result_count = False
    show_facets = admin.ShowFacets.NEVER
    list_per_page = 50
    readonly_fields: ClassVar[tuple[str, ...]] = tuple(name for _, lines in FIELDS for line in lines for name in line)

    class Media:
        """What the pages look like."""

        css: Mapping[str, Sequence[str]] = {"all": ("airweave_webhooks/admin.css",)}

    # Who may do what.

    def has_add_permission(self, request: HttpRequest) -> bool:  # noqa: ARG002 - Django's
        """Nobody: deliveries come from the sender."""
        return False

    def has_change_permission(self, request: HttpRequest, obj: Delivery | None = None) -> bool:  # noqa: ARG002
        """Nobody: receivers and workers do."""
        return False

    def has_delete_permission(self, request: HttpRequest, obj: Delivery | None = None) -> bool:  # noqa: ARG002
        """Nobody: a duplicate of what is gone would count as new."""
        return False

    def has_replay_permission(self, request: HttpRequest) -> bool:
        """Who was given `replay_delivery`, and sees what they replay."""
        user = cast("PermissionsMixin", request.user)
        return self.has_view_permission(request) and user.has_perm("airweave_webhooks.replay_delivery")

    # What is read.

    def get_queryset(self, request: HttpRequest) -> _Deliveries:
        """Those of the database that the receiver stores them in, without what is large."""
        store = _store()
        alias = store.using if isinstance(store, DjangoStore) else None
        return super().get_queryset(request).using(alias).defer(*_LARGE)

    def get_object(self, request: HttpRequest, object_id: str, from_field: str | None = None) -> Delivery | None:
        """One of them; None if there is none."""
        return None if "\0" in object_id else super().get_object(request, object_id, from_field)

    def get_fieldsets(self, request: HttpRequest, obj: Delivery | None = None) -> Any:  # noqa: ARG002 - Django's
        """What the page of one delivery shows."""
        return [(title, {"fields": lines}) for title, lines in FIELDS]

    def get_urls(self) -> list[URLPattern]:
        """Also the page that asks before a replay."""
        view = self.admin_site.admin_view(self.replay_view)
        for alias in connections:  # the store has a connection of its own, which would wait for the request's
            view = transaction.non_atomic_requests(alias)(view)
        return [path("replay/", view, name="airweave_webhooks_delivery_replay"), *super().get_urls()]

    def changelist_view(self, request: HttpRequest, extra_context: dict[str, Any] | None = None) -> HttpResponse:
        """The list, and above it how far the workers are behind."""
        extra: dict[str, Any] = {"title": "Deliveries"}
        if request.method == "GET" and self.has_view_permission(request):
            store = _store()
            extra["elsewhere"] = None if isinstance(store, DjangoStore | None) else redacted(repr(store))
            extra["behind"] = behind(self.get_queryset(request))
        return super().changelist_view(request, {**extra, **(extra_context or {})})

    def change_view(
        self, request: HttpRequest, object_id: str, form_url: str = "", extra_context: dict[str, Any] | None = None
    ) -> HttpResponse:
        """One delivery, with a button to replay it."""
        extra: dict[str, Any] = {"title": "Delivery"}
        if self.has_replay_permission(request):
            extra["replay_url"] = f"{_replay_url(self)}?{ACTION_CHECKBOX_NAME}={object_id}"
        return super().change_view(request, object_id, form_url, {**extra, **(extra_context or {})})

    # Replaying.

    @admin.action(permissions=["replay"], description="Replay selected deliveries")
    def replay(self, request: HttpRequest, queryset: _Deliveries) -> HttpResponse:
        """Ask first."""
        across = request.POST.get("select_across") == "1"
        picked = [] if across else request.POST.getlist(ACTION_CHECKBOX_NAME)
        return self._ask(request, queryset, picked, admin_replay.ReplayForm())

    def replay_view(self, request: HttpRequest) -> HttpResponse:
        """Ask for a reason, and replay."""
        if not self.has_replay_permission(request):
            raise PermissionDenied
        asked = request.POST if request.method == "POST" else request.GET
        picked = [pk for pk in asked.getlist(ACTION_CHECKBOX_NAME) if "\0" not in pk]  # which PostgreSQL refuses
        try:
            queryset = self._queryset_of(request, picked)
        except IncorrectLookupParameters:
            self.message_user(request, "The filter is not one of the list: nothing was replayed.", messages.ERROR)
            return HttpResponseRedirect(_list_url(self))
        if request.method != "POST":
            return self._ask(request, queryset, picked, admin_replay.ReplayForm())
        form = admin_replay.ReplayForm(request.POST)
        if not form.is_valid():
            return self._ask(request, queryset, picked, form)
        self._replay(request, queryset.filter(received_at__lte=form.cleaned_data["upto"]), form.cleaned_data["reason"])
        if len(picked) == 1:
            return HttpResponseRedirect(reverse(_named(self, "change"), args=picked))
        filters = "" if picked else f"?{request.GET.urlencode()}"
        return HttpResponseRedirect(f"{_list_url(self)}{filters}")

    def _queryset_of(self, request: HttpRequest, picked: Sequence[str]) -> _Deliveries:
        """Those that were picked; without any, all that the list's filters find."""
        if picked:
            return self.get_queryset(request).filter(pk__in=picked)
        if request.method == "POST" and request.POST.get("select_across") == "1":
            return self.get_changelist_instance(request).get_queryset(request)
        return self.get_queryset(request).none()

    def _ask(
        self, request: HttpRequest, queryset: _Deliveries, picked: Sequence[str], form: admin_replay.ReplayForm
    ) -> HttpResponse:
        counted = admin_replay.count(queryset)
        if not form.is_bound:
            form.initial["upto"] = repr(counted.upto)
        context = {
            **self.admin_site.each_context(request),
            "title": "Replay deliveries",
            "opts": self.opts,
            "media": self.media,
            "counted": counted,
            "replayable": in_words(counted.replayable),
            "form": form,
            "picked": picked,
            "checkbox": ACTION_CHECKBOX_NAME,
            "url": f"{_replay_url(self)}?{'' if picked else request.GET.urlencode()}",
            "list_url": _list_url(self),
        }
        request.current_app = self.admin_site.name
        return TemplateResponse(request, "admin/airweave_webhooks/delivery/replay.html", context)

    def _replay(self, request: HttpRequest, queryset: _Deliveries, why: str) -> None:
        counted = admin_replay.count(queryset)
        number = 0
        skipped = Counter(counted.skipped)
        try:
            for batch in admin_replay.replay(queryset, request.user, why):
                number += batch.number
                skipped.update(batch.skipped)
        except WebhookError as error:
            self.message_user(request, f"The replay has stopped: {redacted(str(error))}", messages.ERROR)
        self.message_user(request, f"{in_words(number)} replayed.", messages.SUCCESS if number else messages.WARNING)
        for reason, several in skipped.items():
            text = f"{in_words(several)} not replayed: {admin_replay.REASONS[reason]}."
            self.message_user(request, text, messages.WARNING)


def _store() -> Store | None:
    """Where the project's receiver has its deliveries; None if it has no receiver that works."""
    try:
        return get_receiver().store
    except ConfigurationError:  # `manage.py check` says what is wrong; what is stored can be looked at all the same
        return None


def _named(model_admin: DeliveryAdmin, view: str) -> str:
    return f"{model_admin.admin_site.name}:airweave_webhooks_delivery_{view}"


def _list_url(model_admin: DeliveryAdmin) -> str:
    return reverse(_named(model_admin, "changelist"))


def _replay_url(model_admin: DeliveryAdmin) -> str:
    return reverse(_named(model_admin, "replay"))
