"""A handler that blocks a thread, one that awaits, and one that stays until the test lets go."""

import asyncio
import os
from pathlib import Path

from django.db import transaction

from airweave_webhooks import Delivery, Router
from failure.django_shop.models import Effect

router = Router()


@router.on("sync.completed", source_type="threaded")
def threaded(delivery: Delivery) -> None:
    """Write in a transaction."""
    with transaction.atomic():
        Effect.objects.create(delivery=delivery.id, pid=os.getpid())


@router.on("sync.completed", source_type="awaiting")
async def awaiting(delivery: Delivery) -> None:
    """Write by the async ORM."""
    await Effect.objects.acreate(delivery=delivery.id, pid=os.getpid())


@router.on("sync.completed", source_type="gated")
async def gated(delivery: Delivery) -> None:
    """Ask, wait, and write."""
    assert await Effect.objects.filter(delivery=delivery.id).acount() == 0
    Path(os.environ["FOLDER"], "started").touch()
    while not Path(os.environ["FOLDER"], "gate").exists():
        await asyncio.sleep(0.01)
    await Effect.objects.acreate(delivery=delivery.id, pid=os.getpid())
