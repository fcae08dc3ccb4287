"""Receivers that run in the background of a Django process: one event loop for each, whichever views lead to it."""

import threading
import weakref
from typing import Final

from django.db.backends.base.base import NO_DB_ALIAS, BaseDatabaseWrapper
from django.db.backends.signals import connection_created

from airweave_webhooks.integrations.background import Background
from airweave_webhooks.integrations.django import connections
from airweave_webhooks.receiver import Receiver
from airweave_webhooks.telemetry import logger

# A background holds its receiver, so an id stands for the same receiver as long as it is in here.
_running: Final[weakref.WeakValueDictionary[int, Background]] = weakref.WeakValueDictionary()
_changing: Final = threading.Lock()


def background_of(receiver: Receiver) -> Background:
    """Where a receiver runs in this process. Whoever asks keeps it."""
    with _changing:
        background = _running.get(id(receiver))
        if background is None:
            background = _running[id(receiver)] = Background(receiver)
        return background


def close_all() -> None:
    """Close what runs, each within its grace, also if another cannot be closed. What comes later opens it again."""
    for background in list(_running.values()):
        try:
            background.close()
        except Exception:
            logger.exception("%r cannot be closed", background)


def _close_for_the_test_runner(*, connection: BaseDatabaseWrapper, **_: object) -> None:
    """Close what runs before a test database is dropped, which no server does to one that is in use.

    Nothing else connects to a server without a database. What comes later opens what it needs again.
    """
    if connection.alias == NO_DB_ALIAS:
        close_all()
        connections.close_those_of_async_handlers()


connection_created.connect(_close_for_the_test_runner, dispatch_uid=__name__)
