"""Which handlers an event goes to, and with which arguments."""

from airweave_webhooks.routing.patterns import EventGlob, EventName, Filters, Pattern
from airweave_webhooks.routing.router import Router
from airweave_webhooks.routing.table import Handler, Matched, Table

__all__ = ["EventGlob", "EventName", "Filters", "Handler", "Matched", "Pattern", "Router", "Table"]
