"""Hosts whose processes stand still between requests, where nothing that was put off is ever sure to be done."""

import os

from airweave_webhooks.errors import ConfigurationError
from airweave_webhooks.modes import Inbox
from airweave_webhooks.stores import SQLiteStore, Store


def refuse_an_inbox_that_stands_still(mode: Inbox, store: Store) -> None:
    """Refuse, on AWS Lambda, an inbox that would acknowledge what nobody works on, or what is gone with the instance.

    Raises:
        ConfigurationError: it is one.
    """
    # Set by Lambda itself, in every runtime and container image.
    if not os.environ.get("AWS_LAMBDA_FUNCTION_NAME"):
        return
    if isinstance(store, SQLiteStore):
        raise ConfigurationError(
            f"the disk of an AWS Lambda function is gone with its instance, and so would be what {store!r} has"
            " acknowledged: use store='postgresql://…', or the mode Inline()"
        )
    if mode.worker:
        raise ConfigurationError(
            "an AWS Lambda function stands still when it has answered, and a worker with it: use Inbox(worker=False),"
            " and run `airweave-webhooks worker` on another host, or a scheduled function that awaits receiver.drain()"
        )
