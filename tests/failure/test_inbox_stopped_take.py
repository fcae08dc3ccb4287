"""A worker on PostgreSQL that is stopped in the midst of a take, with the lock under which all takes go."""

import contextlib
import os
import time

import psycopg
import pytest

from airweave_webhooks import PostgresStore
from airweave_webhooks.errors import StoreBusy
from airweave_webhooks.stores.inbox import Take

pytestmark = pytest.mark.anyio

FREE_WITHIN = 10.0
"""Seconds."""


async def test_a_take_that_is_never_finished_stops_nobody_for_long(postgres_url: str, schema: str) -> None:
    """The server ends a transaction whose client says nothing more; then the others get their turn."""
    store = PostgresStore(postgres_url, schema=schema)
    await store.open()
    try:
        with contextlib.closing(psycopg.connect(postgres_url)) as stopped:
            stopped.execute(store._inbox_sql.lock_for_take("default"))
            give_up = time.monotonic() + FREE_WITHIN
            free = False
            while not free:
                assert time.monotonic() < give_up, "a stopped process keeps all others from working"
                with contextlib.suppress(StoreBusy):
                    free = await store.take(Take("default", 1, os.urandom(16), 1.0)) == []
            with pytest.raises(psycopg.errors.IdleInTransactionSessionTimeout):
                stopped.execute("SELECT 1")
    finally:
        await store.close()
