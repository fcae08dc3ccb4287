"""`once()`, so that a handler's writes through Django are done exactly once. On any database that Django runs on."""

from django.db import Error, IntegrityError, connections, transaction

from airweave_webhooks.delivery import Delivery
from airweave_webhooks.errors import ConfigurationError
from airweave_webhooks.integrations.django.models import Once
from airweave_webhooks.integrations.django.store_errors import cause_of, is_no_table, migrate_command
from airweave_webhooks.integrations.marks import asking


def once(delivery: Delivery, using: str = "default", *, name: str = "") -> bool:
    """Mark this delivery as done by the running handler, in the transaction of `transaction.atomic()`.

    The mark and what else the transaction writes are committed together or not at all. If another transaction holds
    the mark, this waits until that one ends; the database's lock time-out bounds it.

    Args:
        delivery: the handler's.
        using: the database's alias, as in `transaction.atomic(using=…)`.
        name: tells apart several marks of one handler.

    Returns:
        True the first time, False when it was done before: then there is nothing left to do.

    Raises:
        ConfigurationError: outside of `transaction.atomic()`; the table is missing; no handler runs; or the same mark
            was asked for, and found, twice in one attempt.
        Contended: a statement time-out while it waited. It may leave the handler, as may all of Django's database
            errors: those that mean "come again" are answered so.
        SynchronousOnlyOperation: called in an event loop. Write the handler as `def`, or use `sync_to_async`.
    """
    with asking(delivery, name, cause_of) as answer:
        connection = connections[using]
        if connection.get_autocommit() and not connection.in_atomic_block:
            how = "transaction.atomic()" if using == "default" else f"transaction.atomic(using={using!r})"
            raise ConfigurationError(
                f"once() outside of a transaction would commit the mark before the handler's writes: call it inside"
                f" `with {how}:`"
            )
        answer.where = ("django", using)
        try:
            # In a savepoint: where the mark is found, the rest of the transaction is as good as before.
            with transaction.atomic(using=using):
                Once.objects.using(using).create(**answer.mark._asdict())
        except IntegrityError:
            answer.first = False
        except Error as error:
            if is_no_table(error):
                raise ConfigurationError(f"the table of once() is missing: run `{migrate_command(using)}`") from error
            raise
        else:
            answer.first = True
    return answer.first
