"""Receivers that run in the background of a Django process: one event loop for each, whichever views lead to it."""

import threading
import weakref
from typing import Final

from airweave_webhooks.integrations.background import Background
from airweave_webhooks.receiver import Receiver

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
