"""Which receivers are open in this process: no two of them may be one, and a fork inherits none."""

import os
import weakref
from typing import Protocol

from airweave_webhooks.errors import ConfigurationError
from airweave_webhooks.stores import Store


class Opened(Protocol):
    """What is known of a receiver here."""

    name: str
    store: Store

    @property
    def is_open(self) -> bool:
        """Whether it still is."""
        ...

    def forget_what_a_fork_inherited(self) -> None:
        """Be closed, in the child of a fork."""
        ...


_opened: weakref.WeakSet[Opened] = weakref.WeakSet()


def note(receiver: Opened) -> None:
    """Note that a receiver opens."""
    _opened.add(receiver)


def refuse_a_twin(receiver: Opened) -> None:
    """Refuse a receiver of which another one is open.

    Raises:
        ConfigurationError: one is, of the same name and on the same store.
    """
    for other in _opened:
        if other is not receiver and other.is_open and other.name == receiver.name and other.store == receiver.store:
            raise ConfigurationError(
                f"two receivers called {receiver.name!r} share {receiver.store!r}: each would take the other's"
                " deliveries for duplicates and acknowledge them unhandled; give each a name=… of its own"
            )


def _after_fork_in_child() -> None:
    for receiver in list(_opened):
        receiver.forget_what_a_fork_inherited()


# Asking each time whether this is still the process that opened a receiver would be a system call per request.
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork_in_child)
