"""What every store must keep to, as tests: they are the long form of the docstrings of `Store`.

Prove a store of your own with a subclass:

    class TestMyStore(DurableStoreContract):
        def make_store(self) -> Store:
            return MyStore(...)   # not opened; each call in one test gives a store on the same, at first empty, data

- `StoreContract` is for every store;
- `DurableStoreContract` is for stores that outlive the process, and can be opened by several;
- `SharedStoreContract` is for those that several machines share, whose clocks differ;
- `InboxContract` is for those that hold deliveries for a worker, and can be bound together with `SharedStoreContract`.

Needs pytest; the async tests run by the plugin of anyio, which airweave-webhooks depends on. Leases are short and
waited for, because a shared store uses its own clock and not the test's.
"""

from airweave_webhooks.testing.contracts.base import BRIEF, LONG, SHORT, a_claim, lapse, lease_of, opened
from airweave_webhooks.testing.contracts.batches import BatchContract
from airweave_webhooks.testing.contracts.claims import ClaimContract
from airweave_webhooks.testing.contracts.clocks import ClockContract
from airweave_webhooks.testing.contracts.durability import DurabilityContract
from airweave_webhooks.testing.contracts.holding import HoldingContract
from airweave_webhooks.testing.contracts.inbox import a_delivery, a_take
from airweave_webhooks.testing.contracts.leases import LeaseContract
from airweave_webhooks.testing.contracts.orders import OrderContract
from airweave_webhooks.testing.contracts.records import RecordContract
from airweave_webhooks.testing.contracts.replays import ReplayContract
from airweave_webhooks.testing.contracts.retention import RetentionContract
from airweave_webhooks.testing.contracts.searches import SearchContract
from airweave_webhooks.testing.contracts.settles import SettleContract
from airweave_webhooks.testing.contracts.taking import TakingContract
from airweave_webhooks.testing.contracts.workers import WorkerContract

__all__ = [
    "BRIEF",
    "LONG",
    "SHORT",
    "BatchContract",
    "ClaimContract",
    "ClockContract",
    "DurabilityContract",
    "DurableStoreContract",
    "HoldingContract",
    "InboxContract",
    "LeaseContract",
    "OrderContract",
    "RecordContract",
    "ReplayContract",
    "RetentionContract",
    "SearchContract",
    "SettleContract",
    "SharedStoreContract",
    "StoreContract",
    "TakingContract",
    "WorkerContract",
    "a_claim",
    "a_delivery",
    "a_take",
    "lapse",
    "lease_of",
    "opened",
]


class StoreContract(ClaimContract, LeaseContract, SettleContract, RetentionContract, BatchContract, RecordContract):
    """For every store. Binds to it by `make_store`."""


class DurableStoreContract(StoreContract, DurabilityContract):
    """For stores that outlive the process, and can be opened by several."""


class SharedStoreContract(DurableStoreContract, ClockContract):
    """For stores that several machines share: time is the store's, not that of whoever asks."""


class InboxContract(
    HoldingContract,
    TakingContract,
    OrderContract,
    ReplayContract,
    SearchContract,
    WorkerContract,
    DurableStoreContract,
):
    """For durable stores that hold deliveries for a worker. Binds to one by a `make_store` of an `InboxStore`."""
