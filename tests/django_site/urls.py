"""Each view with a receiver of its own, so that what one has seen is new to the other."""

import os
from pathlib import Path
from typing import Any

from django.urls import path, re_path

from airweave_webhooks import BodyLimits, Delivery, Receiver, SyncCompleted
from airweave_webhooks.integrations.django import receiver_view, receiver_view_sync
from http_cases import MOST_BYTES, SECRETS

SEEN = Path(os.environ["FOLDER"], "seen")


def make(name: str, **arguments: Any) -> Receiver:
    store = f"sqlite:///{os.environ['FOLDER']}/deliveries.db"
    made = Receiver(name=name, store=store, body_limits=BodyLimits(most_bytes=MOST_BYTES), **arguments)

    @made.on("sync.completed")
    async def handle(event: SyncCompleted, delivery: Delivery) -> None:
        with SEEN.open("a") as seen:
            seen.write(f"{name} {delivery.tenant} {delivery.id} {len(delivery.body)}\n")

    return made


by_view = {"sync": make("sync", secrets=SECRETS), "async": make("async", secrets=SECRETS)}
tenants = make("tenants", secrets={"acme": SECRETS[0], "umbrella": SECRETS[1]}.get)

urlpatterns = [
    re_path(r"^(?:[a-z-]+/)?sync/?$", receiver_view_sync(by_view["sync"])),
    re_path(r"^(?:[a-z-]+/)?async/?$", receiver_view(by_view["async"])),
    path("tenants/<slug:tenant>/sync", receiver_view_sync(tenants)),
    path("tenants/<slug:tenant>/async", receiver_view(tenants)),
]
