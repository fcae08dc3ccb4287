"""What a store is: a few verbs that take and return batches, and the values they speak in.

A store keeps one record per delivery and moves it between states. Who may move it is decided by the fence: a number
that grows with every lease, so that a holder which was stopped, and has lost its lease without noticing, cannot
write over the work of the next one.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from types import MappingProxyType
from typing import Final, Literal, NamedTuple, Protocol, TypeAlias

from airweave_webhooks.stores.history import Note, notes_of

State: TypeAlias = Literal["pending", "leased", "queued", "done", "dead"]


NO_RESULTS: Final[Mapping[str, str]] = MappingProxyType({})


class Key(NamedTuple):
    """What a record is found by."""

    receiver: str
    tenant: str
    """Empty where a receiver serves no tenants."""
    key: str


class Facts(NamedTuple):
    """What the record says about the event, for people to search by."""

    event_type: str
    collection: str | None = None
    source_type: str | None = None
    job_id: str | None = None
    event_time: datetime | None = None
    """Aware."""


class Origin(NamedTuple):
    """What a worker makes the delivery of again, besides the body: kept where a body is kept."""

    sent_at: int
    """When the sender signed it, in seconds since the epoch."""
    headers: Mapping[str, str] = NO_RESULTS
    """Those worth keeping. Never authorization, cookies or signatures."""
    order: str = ""
    """Deliveries of one tenant with the same order run one at a time. Empty: in no order."""


class Claim(NamedTuple):
    """Asks for a delivery: "it came; may I work on it?".

    `into` says which state a delivery takes that nobody holds: `leased` to work on it, `done` when there is nothing
    to do, `dead` when nothing can be done (then with a body, for a replay), `pending` (with a body, on an
    `InboxStore`) when a worker shall do it.
    """

    key: Key
    message_id: str
    digest: bytes
    """SHA-256 of the body."""
    token: bytes
    """Random. A claim that is repeated after an unknown commit is recognised by it."""
    facts: Facts
    lease: float
    """Seconds."""
    owner: str = ""
    """Host and process, for people."""
    into: Literal["leased", "done", "dead", "pending"] = "leased"
    reason: str | None = None
    body: bytes | None = None
    """Stored with it, unless it is `leased`."""
    keep: float = 30 * 86_400.0
    """Seconds for which it is remembered once it is done: for stores that expire records by themselves."""
    origin: Origin | None = None
    """Stored with the body."""


Verdict: TypeAlias = Literal["claimed", "held", "accepted", "duplicate", "conflict"]


class Claimed(NamedTuple):
    """The answer to a `Claim`.

    - `claimed`: it is yours, in the state you asked for;
    - `held`: somebody else works on it, for at most `retry_after` more seconds, and only the sender has the body;
    - `accepted`: its body is in the store, and whoever works on it will;
    - `duplicate`: it is done;
    - `conflict`: the same message id came with another body.
    """

    verdict: Verdict
    fence: int = 0
    attempt: int = 1
    generation: int = 0
    results: Mapping[str, str] = NO_RESULTS
    """Handler id to `processed` or `rejected`, from earlier attempts. After `dead`, only `processed` ones."""
    retry_after: float = 0.0
    """Seconds."""


class Lease(NamedTuple):
    """The right to work on a record: what `renew` and `settle` are allowed by."""

    key: Key
    fence: int
    token: bytes


class Settle(NamedTuple):
    """Ends a lease with what came of it."""

    lease: Lease
    state: Literal["done", "pending", "dead"]
    reason: str | None = None
    """`processed`, `rejected`, `drift`, …"""
    results: Mapping[str, str] = NO_RESULTS
    error: str | None = None
    """The last error, for people."""
    delay: float = 0.0
    """For `pending`: seconds until it is due."""
    body: bytes | None = None
    """For `dead`: kept for a replay."""
    started: bool = True
    """Whether a handler was started: if not, the lease counts as no attempt."""


@dataclass(slots=True)
class Record:
    """One delivery, as the store knows it. Times are seconds since the epoch, by the store's clock."""

    key: Key
    message_id: str
    digest: bytes
    facts: Facts
    received_at: float
    state: State = "pending"
    reason: str | None = None
    settled_at: float | None = None
    due_at: float | None = None
    fence: int = 0
    token: bytes = b""
    owner: str = ""
    lease_until: float | None = None
    leases_lost: int = 0
    attempts: int = 0
    """How often handlers were started, since the last replay."""
    generation: int = 0
    results: Mapping[str, str] = field(default_factory=lambda: NO_RESULTS)
    error: str | None = None
    body: bytes | None = None
    origin: Origin | None = None
    history: str = ""
    """What happened to it, if not only good: see `notes`."""

    @property
    def notes(self) -> Sequence[Note]:
        """What happened to it, the latest last: attempts that failed, leases that were lost, replays."""
        return notes_of(self.history)


class Store(Protocol):
    """One record per delivery. Safe for many tasks, threads, processes, and, if it says so, machines.

    Verbs raise `StoreUnavailable` when the store cannot be reached or did not answer (what was asked may or may not
    be done; asking again is safe), `StoreBusy` when an immediate second try is worth it, and `StoreDataError` when
    a value in the batch cannot be stored: then nothing of the batch was done.

    Attributes:
        round_trip: whether a call costs a trip (to a disk, a server), so that concurrent calls are worth gathering
            into one batch. A batch holds a key at most once, sorted.
        durable: whether what is settled survives the process.
    """

    round_trip: bool

    @property
    def durable(self) -> bool:
        """See above."""
        ...

    async def open(self) -> None:
        """Connect, and bring the schema up to date. Counted: each `open` needs its `close`.

        Raises:
            ConfigurationError: saying what to do.
        """
        ...

    async def close(self) -> None:
        """Let go of everything; what is under way is finished first."""
        ...

    async def claim(self, claims: Sequence[Claim]) -> list[Claimed]:
        """Claim each, in one atomic step per claim. Repeating a claim with the same token changes nothing."""
        ...

    async def settle(self, settles: Sequence[Settle]) -> list[bool]:
        """Settle each whose lease is still the current one; False for one that is not.

        A settle is durable when this returns. Repeating one changes nothing and gives True again.
        """
        ...

    def renew(self, leases: Sequence[Lease], seconds: float) -> list[bool]:
        """Make each lease that is still current last `seconds` from now; False for one that is not.

        Not async: it is called from a thread of its own, and must not wait for the event loop nor share a
        connection with it, because a handler that blocks the loop must not lose its lease.
        """
        ...

    async def get(self, keys: Sequence[Key]) -> list[Record | None]:
        """Read records, None for each that does not exist."""
        ...

    async def purge(self, *, done_for: float, abandoned_for: float, most: int) -> int:
        """Remove records done for more than `done_for` seconds.

        What has no body and was neither settled nor under lease for `abandoned_for` seconds becomes `dead`,
        reason `abandoned`; no other state ends by time.

        Returns:
            How many records it touched; `most` at most, so call again while it is `most`.
        """
        ...
