"""Many workers on PostgreSQL, each effect exactly once: `uvicorn postgres_app:app --workers 4`.

It needs DATABASE_URL=postgresql://… and AIRWEAVE_WEBHOOK_SECRET=whsec_….
"""

import os
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

from fastapi import FastAPI
from psycopg_pool import AsyncConnectionPool

from airweave_webhooks import Delivery, Receiver, SyncCompleted
from airweave_webhooks.integrations.fastapi import receiver_router
from airweave_webhooks.integrations.psycopg import once, once_table

ADD = "INSERT INTO sums VALUES (%s, %s) ON CONFLICT (name) DO UPDATE SET total = sums.total + excluded.total"

pool = AsyncConnectionPool(os.environ["DATABASE_URL"], open=False)
receiver = Receiver(store=os.environ["DATABASE_URL"])


@receiver.on("sync.completed")
async def count(event: SyncCompleted, delivery: Delivery) -> None:
    async with pool.connection() as connection:  # one transaction: the mark and the sum are committed together
        if await once(delivery, connection):
            await connection.execute(ADD, [event.collection_readable_id, event.entities_inserted])


@asynccontextmanager
async def lifespan(_: FastAPI) -> AsyncGenerator[None]:
    async with pool, receiver:
        async with pool.connection() as connection:
            await connection.execute("SELECT pg_advisory_xact_lock(1)")  # the workers start at the same time
            await connection.execute(once_table())
            await connection.execute("CREATE TABLE IF NOT EXISTS sums (name text PRIMARY KEY, total bigint NOT NULL)")
        yield


app = FastAPI(lifespan=lifespan)
app.include_router(receiver_router(receiver, "/webhooks/airweave"))
