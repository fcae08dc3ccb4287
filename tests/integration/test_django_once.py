"""`once()` in Django's transactions: one effect, whatever comes twice, and what the sender gets meanwhile."""

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from django.core.exceptions import SynchronousOnlyOperation
from django.db import IntegrityError, connections, transaction

from airweave_webhooks import ConfigurationError, Delivery, Receiver, Reply
from airweave_webhooks.errors import Contended, UnknownCommit
from airweave_webhooks.integrations import django as airweave
from conftest import SECRET, sign
from databases import BODY, a_delivery
from django_databases import known, mariadb_database, migrate, sqlite_settings
from servers.mariadb import MariaDBServer

pytestmark = pytest.mark.anyio

once = airweave.once  # which imports a model: by now Django knows its apps


def marks(alias: str) -> int:
    """How many are committed."""
    from airweave_webhooks.integrations.django.models import Once

    found = Once._default_manager.using(alias).count()
    connections[alias].close()
    return found


def attempt(alias: str, **changed: Any) -> bool:
    with transaction.atomic(using=alias):
        first = once(a_delivery(**changed), alias)
    connections[alias].close()
    return first


def test_once_is_true_once(django_alias: str) -> None:
    """The first attempt has its effect; those after it are told that there is nothing to do."""
    assert [attempt(django_alias) for _ in range(3)] == [True, False, False]
    assert marks(django_alias) == 1


@pytest.mark.parametrize(
    "changed",
    [
        {"key": "MSG_1"},
        {"key": "msg_1 "},
        {"handler": "other"},
        {"generation": 1},
        {"tenant": "acme"},
        {"key": "\0\ud800"},
    ],
    ids=repr,
)
def test_marks_do_not_meet(django_alias: str, changed: dict[str, Any]) -> None:
    """Every part of a mark tells it apart, on databases that compare as they like, too."""
    assert attempt(django_alias)
    assert [attempt(django_alias, **changed) for _ in range(2)] == [True, False]


def test_a_rollback_takes_the_mark_along(django_alias: str) -> None:
    """The mark is in the handler's transaction and in no other."""
    with pytest.raises(ZeroDivisionError), transaction.atomic(using=django_alias):
        assert once(a_delivery(), django_alias)
        raise ZeroDivisionError
    connections[django_alias].close()
    assert marks(django_alias) == 0
    assert attempt(django_alias)


def test_a_transaction_goes_on_after_a_mark_that_was_there(django_alias: str) -> None:
    """On PostgreSQL an error ends a transaction, unless it is in a savepoint: it is."""
    assert attempt(django_alias)
    with transaction.atomic(using=django_alias):
        assert not once(a_delivery(), django_alias)
        assert once(a_delivery("another"), django_alias)
    connections[django_alias].close()
    assert marks(django_alias) == 2


def test_outside_of_a_transaction_it_is_refused(django_alias: str) -> None:
    """The mark would be committed before the writes; the error shows what to write."""
    with pytest.raises(ConfigurationError, match=rf"with transaction.atomic\(using='{django_alias}'\):"):
        once(a_delivery(), django_alias)
    connections[django_alias].close()
    assert marks(django_alias) == 0


async def test_in_an_event_loop_it_is_refused(django_sqlite: str) -> None:
    """By Django itself, which says what to do."""
    with pytest.raises(SynchronousOnlyOperation):
        once(a_delivery(), django_sqlite)


def test_a_second_mark_of_one_attempt_needs_a_name(django_sqlite: str) -> None:
    """What the second one guards would never be done."""
    delivery = a_delivery()
    with transaction.atomic(using=django_sqlite):
        assert once(delivery, django_sqlite)
        assert once(delivery, django_sqlite, name="audit")
        with pytest.raises(ConfigurationError, match="asked once\\(\\) twice"):
            once(delivery, django_sqlite)


def test_without_the_table(tmp_path: Path) -> None:
    """The error names the command."""
    with (
        known("empty", sqlite_settings(tmp_path / "empty.sqlite")),
        pytest.raises(ConfigurationError, match=r"run `python manage.py migrate airweave_webhooks --database=empty`"),
        transaction.atomic(using="empty"),
    ):
        once(a_delivery(), "empty")


@pytest.mark.parametrize("commits", [True, False])
@pytest.mark.parametrize("server", ["postgres", "mariadb"])
def test_it_waits_for_another_transactions_mark(request: pytest.FixtureRequest, server: str, commits: bool) -> None:
    """And is told what became of it."""
    alias: str = request.getfixturevalue(f"django_{server}")
    with ThreadPoolExecutor(1) as thread, ThreadPoolExecutor(1) as other:

        def begin() -> None:
            connections[alias].set_autocommit(False)
            assert once(a_delivery(), alias)

        def end() -> None:
            (connections[alias].commit if commits else connections[alias].rollback)()
            connections[alias].close()

        thread.submit(begin).result()
        waiting = other.submit(attempt, alias)
        with pytest.raises(TimeoutError):
            waiting.result(0.5)
        thread.submit(end).result()
        assert waiting.result(30) is not commits


async def reply_of(handler: Callable[[Delivery], None]) -> Reply:
    receiver = Receiver(secrets=SECRET, store="memory:")
    receiver.on("sync.completed")(handler)
    async with receiver:
        return await receiver.handle(sign(BODY), BODY)


@pytest.mark.parametrize(
    ("alias", "wait"),
    [("postgres", "SET LOCAL lock_timeout = 200"), ("mariadb", "SET SESSION innodb_lock_wait_timeout = 1")],
)
async def test_a_lock_that_takes_too_long(request: pytest.FixtureRequest, alias: str, wait: str) -> None:
    """The sender is told to come again: another attempt is at work on it."""
    request.getfixturevalue(f"django_{alias}")
    keys: list[Delivery] = []

    def handler(delivery: Delivery) -> None:
        keys.append(delivery)
        with ThreadPoolExecutor(1) as thread:

            def begin() -> None:
                connections[alias].set_autocommit(False)
                assert once(a_delivery(delivery.key, handler=delivery.handler), alias)

            def end() -> None:
                connections[alias].rollback()
                connections[alias].close()

            thread.submit(begin).result()
            try:
                with transaction.atomic(using=alias):
                    with connections[alias].cursor() as cursor:
                        cursor.execute(wait)
                    once(delivery, alias)
            finally:
                connections[alias].close()
                thread.submit(end).result()

    reply = await reply_of(handler)
    assert (reply.status, reply.outcome) == (409, Contended.outcome)


async def test_a_server_that_is_killed_in_mid_transaction(fragile_mariadb: MariaDBServer) -> None:
    """Nobody knows whether it was committed: the sender is told so, and the next attempt finds out."""
    with mariadb_database(fragile_mariadb.address) as settings, known("fragile", settings):
        await asyncio.to_thread(migrate, "fragile")

        def handler(delivery: Delivery) -> None:
            try:
                with transaction.atomic(using="fragile"):
                    assert once(delivery, "fragile")
                    fragile_mariadb.kill()
            finally:
                connections["fragile"].close()

        reply = await reply_of(handler)
        assert (reply.status, reply.outcome) == (503, UnknownCommit.outcome)
        await asyncio.to_thread(fragile_mariadb.start)
        assert await asyncio.to_thread(marks, "fragile") == 0


def test_the_handlers_own_errors_stay(django_postgres: str) -> None:
    """A violation that the handler causes is its own, and no mark."""
    from airweave_webhooks.integrations.django.models import Queue

    with pytest.raises(IntegrityError), transaction.atomic(using=django_postgres):
        assert once(a_delivery(), django_postgres)
        for _ in range(2):
            Queue._default_manager.using(django_postgres).create(id="1", receiver="")
    connections[django_postgres].close()
    assert marks(django_postgres) == 0
