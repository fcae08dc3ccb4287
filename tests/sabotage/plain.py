"""The stores that the sabotaged ones are made of: right, and as plain as can be."""

from airweave_webhooks.testing.plain import PlainInbox, PlainStore

__all__ = ["PlainInbox", "PlainStore"]
