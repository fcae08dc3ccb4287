"""What a store needs besides, to hold deliveries for a worker, and to let operators look at them and replay them."""

from collections.abc import Callable, Sequence
from contextlib import AbstractAsyncContextManager
from typing import Final, NamedTuple, Protocol, Self, runtime_checkable

from airweave_webhooks.stores.base import Key, Record, State, Store

SUSPECT_AFTER: Final = 2
"""Leases lost, after which a delivery is suspected to kill the process that works on it."""


class Take(NamedTuple):
    """Asks for work: deliveries that are due, and whose body is held.

    A delivery is due that is `pending` and whose time has come, or whose lease has run out. Of those with the same
    tenant and order only the one that happened first is given, and none while another one is under lease; what has the
    same time, or none, goes by when it came. One without a time goes first.
    """

    receiver: str
    most: int
    token: bytes
    """Random. Repeating a take after an unknown commit gives what it took and was not settled, and nothing new."""
    lease: float
    """Seconds."""
    owner: str = ""
    """Host and process, for people."""
    suspects: bool = False
    """False: what has not lost its lease twice. True: at most one that has, which is to run alone."""
    without: Sequence[str] = ()
    """Event types that are left alone: nobody is free to work on them."""
    only: Sequence[str] = ()
    """Event types that are taken, and no others; empty for all."""


class Taken(NamedTuple):
    """Work that was given out: attempts and fence count this lease."""

    record: Record
    stale: bool
    """A later event of the same tenant and order is done."""


class Search(NamedTuple):
    """Says which deliveries an operator means; what is not given does not matter."""

    receiver: str
    states: Sequence[State] = ()
    event_types: Sequence[str] = ()
    collections: Sequence[str] = ()
    source_types: Sequence[str] = ()
    tenant: str | None = None
    name: str | None = None
    """A key or a message id."""
    since: float | None = None
    """Received then or later, in seconds since the epoch."""
    until: float | None = None
    """Received before."""
    replayable: bool = False
    """Only what is done or dead, and has a body."""


class Cursor(NamedTuple):
    """Where a page of a search ended."""

    received_at: float
    tenant: str
    key: str

    @classmethod
    def of(cls, record: Record) -> Self:
        """The place of a record."""
        return cls(record.received_at, record.key.tenant, record.key.key)


class Backlog(NamedTuple):
    """How far the workers are behind."""

    pending: int = 0
    """Deliveries that wait, now or until they are due."""
    oldest: float = 0.0
    """Seconds for which the next delivery that could be worked on has been due."""
    suspects: int = 0
    """Deliveries that are due and have lost their lease twice."""
    dead: int = 0
    leases_lost: int = 0
    """By all deliveries that are remembered, each since its last replay."""
    worker_seen: float | None = None
    """Seconds since a worker last said that it works; None if none ever did."""
    disk: int = 0
    """Bytes that the store's tables and indexes take."""


class Tally(NamedTuple):
    """How many deliveries are alike."""

    state: State
    reason: str | None
    event_type: str
    deliveries: int


@runtime_checkable
class InboxStore(Store, Protocol):
    """A durable store that holds deliveries until a worker has done them.

    Errors are as for `Store`. In `claim`, `into="pending"` stores the body and makes the delivery due at once; one
    whose body is held already is answered with `accepted`.
    """

    async def take(self, take: Take) -> list[Taken]:
        """Lease what is due, in the order of when it became due, in one atomic step."""
        ...

    def listening(self, receiver: str, wake: Callable[[], None]) -> AbstractAsyncContextManager[None]:
        """For a block, call `wake` in the event loop when another process puts in work.

        A store that cannot tell does nothing: workers also ask now and then.
        """
        ...

    async def beat(self, receiver: str, owner: str) -> None:
        """Note that a worker works."""
        ...

    async def backlog(self, receiver: str) -> Backlog:
        """Say how far the workers are behind."""
        ...

    async def forget_bodies(self, *, done_for: float, most: int) -> int:
        """Drop the bodies of what has been done for more than `done_for` seconds.

        Returns:
            How many; `most` at most, so call again while it is `most`.
        """
        ...

    async def search(self, search: Search, *, after: Cursor | None = None, most: int) -> list[Record]:
        """Find deliveries, the latest first: by when they were received, then by tenant and key.

        Args:
            search: which.
            after: where the last page ended.
            most: the length of a page.

        Returns:
            Records without their bodies and origins.
        """
        ...

    async def count(self, search: Search) -> int:
        """Say how many deliveries `search` finds."""
        ...

    async def replay(self, keys: Sequence[Key], *, who: str, why: str) -> list[bool]:
        """Make each due again that is done or dead and has a body; False for one that is not, or does not exist.

        It is a new generation with no attempts and no lost leases. What was done runs again as a whole; of what was
        dead, handlers that had processed it do not run again.
        """
        ...

    async def tally(self, receiver: str) -> list[Tally]:
        """Count deliveries by state, reason and event type, in that order."""
        ...
