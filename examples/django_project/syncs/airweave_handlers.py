"""Found by itself, because the app is in INSTALLED_APPS."""

from django.db import transaction
from django.db.models import F

from airweave_webhooks import Delivery, Router, SyncCompleted, SyncFailed
from airweave_webhooks.integrations.django import once

from .models import Collection

router = Router()


@router.on("sync.completed")
def count(event: SyncCompleted, delivery: Delivery) -> None:  # a plain function runs in a thread
    with transaction.atomic():
        if once(delivery):  # the mark and what follows are committed together, or neither is
            collection, _ = Collection.objects.get_or_create(name=event.collection_readable_id)
            Collection.objects.filter(pk=collection.pk).update(syncs=F("syncs") + 1)


@router.on("sync.failed")
async def warn(event: SyncFailed) -> None:
    known = await Collection.objects.filter(name=event.collection_readable_id).aexists()
    print(f"{'known' if known else 'unknown'}: {event.collection_name} failed with {event.error}")
