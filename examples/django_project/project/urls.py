"""Both views, as if it were served by WSGI and by ASGI; a project has one of them."""

from django.urls import re_path

from airweave_webhooks.integrations.django import receiver_view, receiver_view_sync

# With and without a slash at the end: the sender does not follow the redirect that Django would answer with.
urlpatterns = [
    re_path(r"^webhooks/airweave/?$", receiver_view_sync()),
    re_path(r"^webhooks/airweave-async/?$", receiver_view()),
]
