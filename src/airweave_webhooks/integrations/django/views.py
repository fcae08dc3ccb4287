"""The views: one for ASGI, one for WSGI. Both only translate; the receiver runs in the background of the process."""

from collections.abc import Callable, Coroutine
from typing import Any, NamedTuple, TypeVar

from django.contrib.auth.decorators import login_not_required
from django.core.handlers.asgi import ASGIRequest
from django.db import connections
from django.db.transaction import non_atomic_requests
from django.http import HttpRequest, HttpResponse
from django.views.decorators.csrf import csrf_exempt

from airweave_webhooks.asgi import METHOD_NOT_ALLOWED
from airweave_webhooks.delivery import Reply
from airweave_webhooks.errors import ConfigurationError, Refused, Unavailable
from airweave_webhooks.integrations.background import Background
from airweave_webhooks.integrations.django import configuration
from airweave_webhooks.integrations.django.mounts import mark
from airweave_webhooks.integrations.django.running import background_of
from airweave_webhooks.integrations.incoming import Incoming, environ_headers, from_environ, read, receive, refuse
from airweave_webhooks.receiver import Receiver

V = TypeVar("V", bound=Callable[..., Any])
Where = Callable[[], tuple[Receiver, Background]]


def receiver_view(receiver: Receiver | None = None) -> Callable[..., Coroutine[Any, Any, HttpResponse]]:
    """Make an async view, for projects that are served by ASGI. A client that hangs up cancels no handler.

    A `tenant` in the URL's pattern names the tenant.

    Args:
        receiver: what answers, instead of the one that the setting AIRWEAVE_WEBHOOKS describes.

    Raises:
        ConfigurationError: the app is not in INSTALLED_APPS, or Django has not loaded the apps yet.
    """
    where = _where(receiver)

    async def airweave(request: HttpRequest, tenant: object = None) -> HttpResponse:
        begun = _begin(request, where)
        if isinstance(begun, HttpResponse):
            return begun
        try:
            return _response(await begun.background.wait_for(begun.receive(tenant)))
        except (Unavailable, ConfigurationError) as error:
            return _response(refuse(begun.receiver, begun.body, error))

    return mark(_opened_to_strangers(airweave), receiver, is_async=True)


def receiver_view_sync(receiver: Receiver | None = None) -> Callable[..., HttpResponse]:
    """Make a sync view, for projects that are served by WSGI.

    A `tenant` in the URL's pattern names the tenant.

    Args:
        receiver: as for `receiver_view`.

    Raises:
        ConfigurationError: as `receiver_view`.
    """
    where = _where(receiver)

    def airweave(request: HttpRequest, tenant: object = None) -> HttpResponse:
        begun = _begin(request, where)
        if isinstance(begun, HttpResponse):
            return begun
        try:
            return _response(begun.background.run(begun.receive(tenant)))
        except (Unavailable, ConfigurationError) as error:
            return _response(refuse(begun.receiver, begun.body, error))

    return mark(_opened_to_strangers(airweave), receiver, is_async=False)


class _Begun(NamedTuple):
    """A request that has been read, and what is to answer it."""

    receiver: Receiver
    background: Background
    incoming: Incoming
    body: bytes | Refused

    def receive(self, tenant: object) -> Coroutine[Any, Any, Reply]:
        """What the background is to do."""
        return receive(self.receiver, self.incoming, self.body, None if tenant is None else str(tenant))


def _begin(request: HttpRequest, where: Where) -> _Begun | HttpResponse:
    """Read a request; what needs no receiver, or has none, is answered."""
    if request.method != "POST":
        return _no_delivery(request)
    try:
        receiver, background = where()
    except ConfigurationError as error:
        return _response(configuration.refuse(error))
    incoming = _incoming(request)
    return _Begun(receiver, background, incoming, read(receiver, incoming))


def _where(receiver: Receiver | None) -> Where:
    configuration.require_app()
    if receiver is None:
        return configuration.made
    fixed = receiver, background_of(receiver)
    return lambda: fixed


def _opened_to_strangers(view: V) -> V:
    """Let requests in that no browser sends, which nobody is logged in for, and which no transaction is around.

    The signature says who sends them. A transaction of the request's would not be the handlers', who run elsewhere.
    """
    for alias in connections:
        view = non_atomic_requests(alias)(view)
    return csrf_exempt(login_not_required(view))


def _incoming(request: HttpRequest) -> Incoming:
    if isinstance(request, ASGIRequest):
        return Incoming(request.scope["headers"], request.META.get("CONTENT_LENGTH", ""), _reading(request), ends=True)
    if request.META.get("CONTENT_LENGTH"):
        headers = environ_headers(request.META)
        return Incoming(headers, request.META["CONTENT_LENGTH"], _reading(request), ends=True)
    return from_environ(request.META)  # of a chunked body Django gives nothing, but the server may


def _reading(request: HttpRequest) -> Callable[[int], bytes]:
    """Read the request as a stream, which has no limit of Django's; what somebody else has read of it is missing."""

    def read_some(most: int) -> bytes:
        try:
            return request.read(most)
        except ValueError:  # it was closed
            return b""

    return read_some


def _no_delivery(request: HttpRequest) -> HttpResponse:
    if request.method in {"GET", "HEAD"}:
        return HttpResponse(headers={"content-length": "0"})
    response = _response(METHOD_NOT_ALLOWED)
    response.headers["allow"] = "POST, HEAD, GET"
    return response


def _response(reply: Reply) -> HttpResponse:
    return HttpResponse(reply.body, status=reply.status, headers=reply.headers)
