"""Many workers on Redis: REDIS_URL=redis://… AIRWEAVE_WEBHOOK_SECRET=whsec_… uvicorn redis_app:app --workers 4."""

import os

from redis.asyncio import Redis
from starlette.applications import Starlette

from airweave_webhooks import CollectionEvent, Delivery, Receiver, RedisStore, SyncCompleted

cache = Redis.from_url(os.environ["REDIS_URL"])  # pyright: ignore[reportUnknownMemberType]
receiver = Receiver(store=RedisStore(cache, prefix="webhooks"))  # with the settings of your client


@receiver.on("sync.completed")
async def refresh(event: SyncCompleted) -> None:
    await cache.delete(f"answers:{event.collection_readable_id}")


@receiver.on("collection.*")
async def notice(event: CollectionEvent, delivery: Delivery) -> None:
    # Safe to repeat: the same delivery adds the same member.
    await cache.sadd(f"changes:{event.event_type}", delivery.idempotency_key)


app = Starlette(lifespan=receiver.lifespan, routes=[receiver.route("/webhooks/airweave")])
