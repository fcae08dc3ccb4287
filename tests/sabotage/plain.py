"""The stores that the sabotaged ones are made of: right, and as plain as can be."""

from airweave_webhooks.testing import plain
from airweave_webhooks.testing.plain import PlainStore

__all__ = ["PlainInbox", "PlainStore"]


class PlainInbox(plain.PlainInbox):
    """Not called durable: what is, the contract and the model open twice, and expect to be the same."""

    durable = False
