"""Purging a store now and then, so that retention needs no cron job."""

import asyncio
import random
from typing import Final

from airweave_webhooks.stores.base import Store
from airweave_webhooks.stores.inbox import InboxStore
from airweave_webhooks.telemetry import logger

# Seconds.
PURGE_EVERY: Final = 3600.0
# `recover` replays failed messages up to 14 days old; a record that is gone by then makes one effect two.
SHORTEST_RETENTION_DAYS: Final = 16
# The sender's longest pause between two attempts is 12 h: after four of those it has given up.
ABANDONED_AFTER: Final = 48 * 3600.0
PURGE_BATCH: Final = 500


async def keep_house(store: Store, name: str, retention: float, bodies: float) -> None:
    """Purge for ever, at random times, so that many processes do not all do it at once.

    Args:
        store: what to purge.
        name: the receiver's, for the log.
        retention: seconds for which finished deliveries are kept.
        bodies: seconds for which their bodies are kept.
    """
    while True:
        await asyncio.sleep(PURGE_EVERY * random.uniform(0.01, 1.0))  # noqa: S311 - jitter
        try:
            touched = PURGE_BATCH
            while touched == PURGE_BATCH:  # in bounded batches: claims get their turn in between
                touched = await store.purge(done_for=retention, abandoned_for=ABANDONED_AFTER, most=PURGE_BATCH)
            touched = PURGE_BATCH
            while isinstance(store, InboxStore) and touched == PURGE_BATCH:
                touched = await store.forget_bodies(done_for=bodies, most=PURGE_BATCH)
        except Exception:
            logger.exception("receiver %s cannot purge its store; trying again later", name)
