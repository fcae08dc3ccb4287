"""What the contracts' tests are made of: a store to test, claims to make, and deliveries in every situation."""

import asyncio
import contextlib
import os
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Mapping
from datetime import UTC, datetime
from typing import Final, Literal, TypeVar

import pytest

from airweave_webhooks.stores.base import NO_RESULTS, Claim, Claimed, Facts, Key, Lease, Record, Settle, Store, Verdict
from airweave_webhooks.stores.history import Note

AnyStore = TypeVar("AnyStore", bound=Store)

# So that a test which fails shows the values, in whoever's project. Named before any of them is imported.
pytest.register_assert_rewrite(
    *(
        f"airweave_webhooks.testing.contracts.{subject}"
        for subject in (
            *("batches", "claims", "clocks", "durability", "holding", "inbox", "leases", "orders", "records"),
            *("replays", "retention", "searches", "settles", "taking", "workers"),
        )
    )
)

BRIEF: Final = 0.01
"""Seconds: a lease that has run out after `lapse()`."""
SHORT: Final = 0.4
"""Seconds: a lease that holds for a moment, and that a test waits for."""
LONG: Final = 60.0
"""Seconds: a lease that outlives the test."""
HOUR: Final = 3600.0
"""Seconds."""
CLOSE: Final = 2.0
"""Seconds by which two readings of the store's clock in one test may differ, on a machine that is busy."""

SITUATIONS: Final[Mapping[str, Verdict]] = {
    "leased": "held",
    "lost": "claimed",
    "failed": "claimed",
    "done": "duplicate",
    "ignored": "duplicate",
    "rejected": "claimed",
    "body due": "claimed",
    "body waits": "accepted",
    "body leased": "accepted",
    "body lost": "claimed",
    "body kept": "accepted",
    "body drifted": "accepted",
}
"""What a delivery can have come to, and what a claim with the same body is told then."""


def a_claim(
    key: str = "msg_1", *, receiver: str = "default", tenant: str = "", lease: float = LONG, body: bytes = b"{}"
) -> Claim:
    """A claim as a receiver makes it; every call has a token of its own."""
    facts = Facts(
        "sync.completed",
        "docs-x1",
        "github",
        "0f8fad5b-d9cb-469f-a165-70867728950e",
        datetime(2026, 11, 20, 9, 3, 41, 803112, UTC),
    )
    digest = body.ljust(32, b"\0")[:32]
    return Claim(Key(receiver, tenant, key), key, digest, os.urandom(16), facts, lease, owner="test:1")


def lease_of(claim: Claim, claimed: Claimed) -> Lease:
    """The lease that a granted claim gave."""
    return Lease(claim.key, claimed.fence, claim.token)


async def lapse(lease: float = BRIEF) -> None:
    """Wait until a lease of so many seconds has run out."""
    await asyncio.sleep(lease + 0.05)


def noted(before: Record, after: Record) -> list[Note]:
    """What was added to a record's history. Its times are looked at here, and left out."""
    old = len(before.notes)
    assert after.notes[:old] == before.notes
    for note in after.notes[old:]:
        # A note has milliseconds, the record perhaps more.
        assert -0.001 <= note.at - after.received_at < CLOSE
    return [note._replace(at=0.0) for note in after.notes[old:]]


@contextlib.asynccontextmanager
async def opened(make_store: Callable[[], AnyStore]) -> AsyncGenerator[AnyStore]:
    """Open a store for a block."""
    store = make_store()
    await store.open()
    try:
        yield store
    finally:
        await store.close()


class Contract:
    """A store to test, and what tests do with one delivery."""

    pytestmark: pytest.MarkDecorator = pytest.mark.anyio

    def make_store(self) -> Store:
        """Return a store that is not open; in one test always on the same data, which are empty at first."""
        raise NotImplementedError

    @pytest.fixture
    def anyio_backend(self) -> str:
        """Run on asyncio only."""
        return "asyncio"

    @pytest.fixture
    async def store(self) -> AsyncIterator[Store]:
        """An open store."""
        async with opened(self.make_store) as store:
            yield store

    async def claim(self, store: Store, claim: Claim) -> Claimed:
        """Claim one."""
        (claimed,) = await store.claim([claim])
        return claimed

    async def record(self, store: Store, key: Key) -> Record:
        """Read one that must exist."""
        (record,) = await store.get([key])
        assert record is not None
        return record

    async def leased(self, store: Store, claim: Claim) -> Lease:
        """Claim one that must be granted."""
        claimed = await self.claim(store, claim)
        assert claimed.verdict == "claimed"
        return lease_of(claim, claimed)

    async def settled(
        self,
        store: Store,
        claim: Claim,
        state: Literal["done", "pending", "dead"] = "done",
        *,
        results: Mapping[str, str] = NO_RESULTS,
        error: str | None = None,
        body: bytes | None = None,
        delay: float = 0.0,
    ) -> Lease:
        """Claim and settle one."""
        lease = await self.leased(store, claim)
        assert await store.settle([Settle(lease, state, "because", results, error, delay, body)]) == [True]
        return lease

    async def brought_into(self, store: Store, situation: str, key: str) -> Claim:
        """Bring a new delivery into one of `SITUATIONS`; what is lost is so after `lapse()`.

        Returns:
            The claim that brought it there.
        """
        claim = a_claim(key)
        match situation:
            case "leased":
                await self.leased(store, claim)
            case "lost":
                claim = claim._replace(lease=BRIEF)
                await self.leased(store, claim)
            case "failed":
                await self.settled(store, claim, "pending", delay=HOUR)
            case "done":
                await self.settled(store, claim)
            case "ignored":
                claim = claim._replace(into="done", reason="ignored")
                await self.leased(store, claim)
            case "rejected":
                await self.settled(store, claim, "dead")
            case "body due":
                await self.settled(store, claim, "pending", body=b"{}")
            case "body waits":
                await self.settled(store, claim, "pending", body=b"{}", delay=HOUR)
            case "body leased" | "body lost":
                await self.settled(store, claim, "pending", body=b"{}")
                claim = a_claim(key, lease=LONG if situation == "body leased" else BRIEF)
                await self.leased(store, claim)
            case "body kept":
                await self.settled(store, claim, "dead", body=b"{}")
            case _:
                claim = claim._replace(into="dead", reason="drift", body=b"{}")
                await self.leased(store, claim)
        return claim
