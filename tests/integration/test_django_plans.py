"""What a long backlog costs `DjangoStore` on PostgreSQL, which chooses other plans once it knows the table."""

import asyncio
import time

import psycopg
import pytest
from django.db import connections

from airweave_webhooks.integrations.django import DjangoStore
from airweave_webhooks.testing.contracts import a_delivery, a_take, opened

pytestmark = pytest.mark.anyio

LINE = 2000
TABLE = "airweave_webhooks_delivery"


def ask(alias: str, statement: str) -> tuple[int, ...]:
    """Ask behind Django's back."""
    settings = connections[alias].settings_dict
    address = {name.lower(): settings[name] for name in ("HOST", "PORT", "USER", "PASSWORD")}
    with psycopg.connect(**address, dbname=settings["NAME"], autocommit=True) as connection:
        cursor = connection.execute(statement.encode())
        return (cursor.fetchone() or ()) if cursor.description else ()


def rows_read(alias: str) -> tuple[int, ...]:
    """How often indexes were asked, and how many rows were read without one, as far as sessions have told."""
    return ask(alias, f"SELECT idx_scan, seq_tup_read FROM pg_stat_user_tables WHERE relname = '{TABLE}'")


async def test_a_long_line_is_not_read_for_each_of_it(django_postgres: str) -> None:
    """However many deliveries of one order came in the same moment: the first is found by the index."""
    async with opened(lambda: DjangoStore(django_postgres)) as store:
        await store.claim([a_delivery(f"msg_{number:04}", order="one") for number in range(LINE)])
    await asyncio.to_thread(ask, django_postgres, f"ANALYZE {TABLE}")
    indexed, unindexed = await asyncio.to_thread(rows_read, django_postgres)
    async with opened(lambda: DjangoStore(django_postgres)) as store:
        assert (await store.backlog("default")).pending == LINE
        assert [one.record.key.key for one in await store.take(a_take())] == ["msg_0000"]
    give_up = time.monotonic() + 20
    # Each delivery that is not the first is looked for in the index; the sessions tell so when they end.
    while (now := await asyncio.to_thread(rows_read, django_postgres))[0] < indexed + 2 * LINE:
        assert time.monotonic() < give_up, now
        await asyncio.sleep(0.05)
    assert now[1] - unindexed < 10 * LINE
