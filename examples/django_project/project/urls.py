"""The endpoint. A project that is served by ASGI takes `receiver_view` instead."""

from django.urls import re_path

from airweave_webhooks.integrations.django import receiver_view_sync

# With and without a slash at the end: the sender does not follow the redirect that Django would answer with.
urlpatterns = [re_path(r"^webhooks/airweave/?$", receiver_view_sync())]
