"""A handler that counts itself in a database of Django's, exactly once."""

from django.db import connections, transaction

from airweave_webhooks import Delivery, Router
from airweave_webhooks.integrations.django import once
from failure.crashes import die_at
from failure.ledger import Ledger


def counting(alias: str, ledger: Ledger) -> Router:
    """A router with that handler.

    Args:
        alias: the database's, which has a table of effects.
        ledger: of the test.
    """
    router = Router()

    @router.on("sync.completed", source_type="transacted")
    def transacted(delivery: Delivery) -> None:
        ledger.write("start", delivery.id)
        with transaction.atomic(using=alias):
            if once(delivery, alias):
                with connections[alias].cursor() as cursor:
                    cursor.execute("INSERT INTO effects VALUES (%s)", [delivery.id])
                die_at("before commit")
        die_at("after commit")
        ledger.write("done", delivery.id)

    return router
