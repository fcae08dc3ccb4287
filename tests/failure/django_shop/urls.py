"""The endpoint, by both views."""

from django.urls import path

from airweave_webhooks.integrations.django import receiver_view, receiver_view_sync

urlpatterns = [path("webhooks/sync", receiver_view_sync()), path("webhooks/async", receiver_view())]
