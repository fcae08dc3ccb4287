"""`DjangoStore` and `once()` with whatever a project may say about its databases."""

import asyncio
from collections.abc import Iterator
from typing import Any

import pytest
from django.db import connections, transaction
from django.test import override_settings

from airweave_webhooks.integrations import django as airweave
from airweave_webhooks.integrations.django import DjangoStore
from airweave_webhooks.stores.base import Settle
from airweave_webhooks.stores.inbox import Search
from airweave_webhooks.testing.contracts import a_claim, a_delivery, a_take, lease_of, opened
from airweave_webhooks.testing.contracts.inbox import held
from databases import a_delivery as handed_over
from django_databases import known

pytestmark = pytest.mark.anyio

ODD = bytes(range(256)) + b"\\'\"%s\x00"
"""A body with all that can be quoted wrongly."""

EVERYWHERE = {
    "kept": {"CONN_MAX_AGE": None, "CONN_HEALTH_CHECKS": True},
    "in requests": {"CONN_MAX_AGE": 0, "ATOMIC_REQUESTS": True},
    "by hand": {"AUTOCOMMIT": False},
}
POSTGRES = {
    "time zone": {"TIME_ZONE": "Asia/Kathmandu"},
    "pool": {"OPTIONS": {"pool": {"min_size": 1, "max_size": 1, "timeout": 5}}},
    "bound by the server": {"OPTIONS": {"server_side_binding": True}},
    "proxy": {"DISABLE_SERVER_SIDE_CURSORS": True, "OPTIONS": {"prepare_threshold": None}},
    "serializable": {"OPTIONS": {"isolation_level": 4}},
    "not durable": {"OPTIONS": {"options": "-c synchronous_commit=off"}},
}
MODES = ["", "ANSI", "TRADITIONAL", "NO_BACKSLASH_ESCAPES", "ORACLE", "ONLY_FULL_GROUP_BY,PAD_CHAR_TO_FULL_LENGTH"]
MARIADB = {
    "time zone": {"TIME_ZONE": "Asia/Kathmandu"},
    "serializable": {"OPTIONS": {"isolation_level": "serializable"}},
    **{f"mode {mode}": {"OPTIONS": {"init_command": f"SET sql_mode = '{mode}'"}} for mode in MODES},
}
SQLITE = {
    "wal": {"OPTIONS": {"init_command": "PRAGMA journal_mode = WAL; PRAGMA synchronous = OFF"}},
    "exclusive": {"OPTIONS": {"transaction_mode": "EXCLUSIVE"}},
}
CASES = [
    pytest.param((alias, settings), id=f"{alias}-{name}")
    for alias, own in (("sqlite", SQLITE), ("postgres", POSTGRES), ("mariadb", MARIADB))
    for name, settings in (EVERYWHERE | own).items()
]


class Elsewhere:
    """A router that would lead every query to a database that has no tables."""

    def db_for_read(self, *_: Any, **__: Any) -> str:
        return "default"

    db_for_write = db_for_read


@pytest.fixture
def alias(request: pytest.FixtureRequest) -> Iterator[str]:
    """A database whose settings say more than where it is."""
    where, settings = request.param
    plain: str = request.getfixturevalue(f"django_{where}")
    # Django takes a TIME_ZONE only with USE_TZ.
    elsewhere = override_settings(DATABASE_ROUTERS=[Elsewhere()], USE_TZ="TIME_ZONE" in settings)
    with known("special", connections[plain].settings_dict | settings) as alias, elsewhere:
        yield alias
        if "pool" in settings.get("OPTIONS", {}):
            connections[alias].close_pool()  # type: ignore[attr-defined]


@pytest.mark.parametrize("alias", CASES, indirect=True)
async def test_what_a_project_may_set(alias: str) -> None:
    """Whatever it is: what was claimed and settled is committed, and comes back as it was; orders are kept."""
    async with opened(lambda: DjangoStore(alias)) as store:
        claim = a_claim()
        lease = lease_of(claim, (await store.claim([claim]))[0])
        assert await asyncio.to_thread(store.renew, [lease], 60.0) == [True]
        assert await store.settle([Settle(lease, "done")]) == [True]
        first, second = a_delivery("a", body=ODD, order="one"), a_delivery("b", body=ODD, order="one")
        for one in first, second:
            await store.claim([one])
        (taken,) = await store.take(a_take())
        assert taken.record.body == ODD
        assert await store.settle([Settle(held(taken), "done")]) == [True]
        assert [one.record.key.key for one in await store.take(a_take())] == ["b"]
        assert [record.key.key for record in await store.search(Search("default", states=["done"]), most=9)]
        assert (await store.backlog("default")).pending == 0
    async with opened(lambda: DjangoStore(alias)) as store:
        assert [record and record.state for record in await store.get([claim.key, second.key])] == ["done", "leased"]


def mark(alias: str) -> list[bool]:
    """Ask for a mark, in a transaction of its own each time: one rolled back, two committed."""
    answers: list[bool] = []
    for commit in False, True, True:
        with transaction.atomic(using=alias):
            answers.append(airweave.once(handed_over(), alias))
            with connections[alias].cursor() as cursor:
                cursor.execute("SELECT count(*) FROM airweave_webhooks_delivery")  # the transaction goes on as before
            transaction.set_rollback(not commit, using=alias)
        if not connections[alias].get_autocommit():
            (transaction.commit if commit else transaction.rollback)(using=alias)
    connections[alias].close()
    return answers


@pytest.mark.parametrize("alias", CASES, indirect=True)
def test_what_a_project_may_set_and_once(alias: str) -> None:
    """A mark is there once it is committed, and the transaction in which it was found goes on."""
    assert mark(alias) == [True, True, False]
