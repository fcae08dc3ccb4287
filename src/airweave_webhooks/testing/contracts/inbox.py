"""What the inbox's tests are made of: deliveries for a worker, and the worker's takes."""

import asyncio
import contextlib
import os
from collections.abc import AsyncIterator, Sequence
from datetime import UTC, datetime, timedelta
from typing import Final, Literal

import pytest

from airweave_webhooks.errors import StoreBusy
from airweave_webhooks.stores.base import Claim, Key, Lease, Origin, Record, Settle, Verdict
from airweave_webhooks.stores.inbox import InboxStore, Take, Taken
from airweave_webhooks.testing.contracts.base import BRIEF, LONG, Contract, a_claim, lapse, opened

EVERY_BYTE: Final = bytes(range(256))
NOON: Final = datetime(2026, 11, 20, 12, tzinfo=UTC)

PUT: Final[dict[str, Verdict]] = {
    "leased": "held",
    "lost": "claimed",
    "failed": "claimed",
    "done": "duplicate",
    "ignored": "duplicate",
    "rejected": "claimed",
    "body due": "accepted",
    "body waits": "accepted",
    "body leased": "accepted",
    "body lost": "accepted",
    "body kept": "accepted",
    "body drifted": "accepted",
}
"""What whoever wants to leave a delivery to a worker is told, by `SITUATIONS`."""


def a_delivery(
    name: str = "msg_1",
    *,
    receiver: str = "default",
    tenant: str = "",
    body: bytes = b"{}",
    order: str = "",
    happened: float | None = 0.0,
    event_type: str = "sync.completed",
) -> Claim:
    """A claim that leaves a delivery to a worker. `happened` counts in seconds from noon; None says no time."""
    claim = a_claim(name, receiver=receiver, tenant=tenant, body=body)
    event_time = None if happened is None else NOON + timedelta(seconds=happened)
    return claim._replace(
        into="pending",
        body=body,
        facts=claim.facts._replace(event_type=event_type, event_time=event_time),
        origin=Origin(1_800_000_000, {"webhook-id": name}, order),
    )


def a_take(
    *,
    receiver: str = "default",
    most: int = 100,
    lease: float = LONG,
    suspects: bool = False,
    without: Sequence[str] = (),
    only: Sequence[str] = (),
) -> Take:
    """A take as a worker makes it; every call has a token of its own."""
    return Take(receiver, most, os.urandom(16), lease, "worker:1", suspects, without, only)


def names(taken: Sequence[Taken]) -> list[str]:
    """The keys of what was taken, in its order."""
    return [one.record.key.key for one in taken]


def held(taken: Taken) -> Lease:
    """The lease that a take gave."""
    return Lease(taken.record.key, taken.record.fence, taken.record.token)


class InboxTests(Contract):
    """An inbox to test, and what tests do with it."""

    def make_store(self) -> InboxStore:
        """Return a store that is not open; in one test always on the same data, which are empty at first."""
        raise NotImplementedError

    @pytest.fixture
    async def store(self) -> AsyncIterator[InboxStore]:
        """An open store."""
        async with opened(self.make_store) as store:
            yield store

    async def put(self, store: InboxStore, *claims: Claim) -> None:
        """Leave deliveries to a worker, one after the other."""
        for claim in claims:
            assert (await self.claim(store, claim)).verdict == "claimed"

    async def put_at_once(self, store: InboxStore, *claims: Claim) -> None:
        """Leave deliveries to a worker in one batch: in many stores they come at the same time."""
        answers = await store.claim(sorted(claims, key=lambda claim: claim.key))
        assert {answer.verdict for answer in answers} == {"claimed"}

    async def taken(self, store: InboxStore, name: str, *, lease: float = LONG) -> Taken:
        """Take what must be the next, and of that name."""
        (taken,) = await store.take(a_take(most=1, lease=lease))
        assert taken.record.key.key == name
        return taken

    async def ended(
        self,
        store: InboxStore,
        taken: Taken,
        state: Literal["done", "pending", "dead"] = "done",
        *,
        delay: float = 0.0,
    ) -> None:
        """Settle what was taken."""
        assert await store.settle([Settle(held(taken), state, "because", delay=delay)]) == [True]

    async def worked_off(self, store: InboxStore, claim: Claim, state: Literal["done", "dead"] = "done") -> Key:
        """Put a delivery in, as the only one that is due, and bring it to its end."""
        await self.put(store, claim)
        (taken,) = await store.take(a_take(receiver=claim.key.receiver))
        assert taken.record.key == claim.key
        await self.ended(store, taken, state)
        return claim.key

    async def suspected(self, store: InboxStore, *claims: Claim) -> None:
        """Put deliveries in, and lose their leases twice: the last one by a lease that has run out."""
        await self.put(store, *claims)
        for _ in range(2):
            assert len(await store.take(a_take(lease=BRIEF))) == len(claims)
            await lapse()

    async def read(self, store: InboxStore, *claims: Claim) -> list[Record]:
        """Read records that must exist."""
        return [await self.record(store, claim.key) for claim in claims]

    async def insisting(self, store: InboxStore, take: Take) -> list[Taken]:
        """Take; a store may ask for another try."""
        for _ in range(20):
            with contextlib.suppress(StoreBusy):
                return await store.take(take)
            await asyncio.sleep(0.01)
        raise AssertionError("the store was busy twenty times")
