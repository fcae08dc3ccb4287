"""A durable store of the simplest kind, right, and wrong in one place each: its data live in another store object."""

import asyncio
import threading
from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import replace

from airweave_webhooks.errors import StoreUnavailable
from airweave_webhooks.stores.base import NO_RESULTS, Claim, Claimed, Key, Lease, Record, Settle
from sabotage.plain import PlainStore
from sabotage.registry import found_by


class Disk(PlainStore):
    """What outlives the stores."""

    def __init__(self, *, clock: Callable[[], float]) -> None:
        super().__init__(clock=clock)
        self.turns: defaultdict[Key, asyncio.Lock] = defaultdict(asyncio.Lock)

    def change(self, **changes: object) -> None:
        self._records = {key: replace(record, **changes) for key, record in self._records.items()}  # type: ignore[arg-type]


class DurableMemory(PlainStore):
    """Passes everything on to the disk while it is open."""

    durable = True
    round_trip = True

    def __init__(self, disk: Disk) -> None:
        super().__init__()
        self.at_rest = disk
        self.opened = 0

    @property
    def disk(self) -> Disk:
        if not self.opened:
            raise StoreUnavailable("closed")
        return self.at_rest

    async def open(self) -> None:
        self.opened += 1

    async def close(self) -> None:
        self.opened -= 1

    async def claim(self, claims: Sequence[Claim]) -> list[Claimed]:
        return await self.disk.claim(claims)

    async def settle(self, settles: Sequence[Settle]) -> list[bool]:
        return await self.disk.settle(settles)

    def renew(self, leases: Sequence[Lease], seconds: float) -> list[bool]:
        return self.disk.renew(leases, seconds)

    async def get(self, keys: Sequence[Key]) -> list[Record | None]:
        return await self.disk.get(keys)

    async def purge(self, *, done_for: float, abandoned_for: float, most: int) -> int:
        return await self.disk.purge(done_for=done_for, abandoned_for=abandoned_for, most=most)


@found_by("test_records_survive_a_reopening")
class LeasesEndWithTheProcess(DurableMemory):
    async def open(self) -> None:
        await super().open()
        self.disk.change(lease_until=0.0)


@found_by("test_records_survive_a_reopening")
class ResultsEndWithTheProcess(DurableMemory):
    async def open(self) -> None:
        await super().open()
        self.disk.change(results=NO_RESULTS)


@found_by("test_a_repetition_is_recognised_by_another_store")
class TokensEndWithTheProcess(DurableMemory):
    async def close(self) -> None:
        await super().close()
        self.at_rest.change(token=b"")


@found_by("test_two_stores_on_the_same_data_see_each_other")
class ReadsWhenItOpens(DurableMemory):
    async def open(self) -> None:
        await super().open()
        shared, self.at_rest = self.at_rest, Disk(clock=self.at_rest._clock)
        self.at_rest._records = {key: replace(record) for key, record in shared._records.items()}
        self.shared = shared

    async def close(self) -> None:
        self.at_rest, own = self.shared, self.at_rest
        self.at_rest._records.update(own._records)
        await super().close()


@found_by("test_one_takes_over_what_the_other_lost")
class CachesWhatItRead(DurableMemory):
    def __init__(self, disk: Disk) -> None:
        super().__init__(disk)
        self.seen: dict[Key, Record] = {}

    async def get(self, keys: Sequence[Key]) -> list[Record | None]:
        for key, record in zip(keys, await self.disk.get(keys), strict=True):
            if record is not None:
                self.seen.setdefault(key, record)
        return [self.seen.get(key) for key in keys]

    async def settle(self, settles: Sequence[Settle]) -> list[bool]:
        return [True] * len(settles) if self.seen else await super().settle(settles)

    def renew(self, leases: Sequence[Lease], seconds: float) -> list[bool]:
        super().renew(leases, seconds)
        return [True] * len(leases)


@found_by("test_batches_in_opposite_order_do_not_lock_each_other_out")
class LocksInTheOrderOfTheBatch(DurableMemory):
    async def claim(self, claims: Sequence[Claim]) -> list[Claimed]:
        held: list[asyncio.Lock] = []
        try:
            for claim in claims:
                turn = self.disk.turns[claim.key]
                await turn.acquire()
                held.append(turn)
                await asyncio.sleep(0)
            return await super().claim(claims)
        finally:
            for turn in held:
                turn.release()


@found_by("test_a_store_that_is_closed_says_so")
class WorksWhileItIsClosed(DurableMemory):
    @property
    def disk(self) -> Disk:
        return self.at_rest


@found_by("test_a_store_that_is_closed_says_so")
class RenewsWhileItIsClosed(DurableMemory):
    def renew(self, leases: Sequence[Lease], seconds: float) -> list[bool]:
        return self.at_rest.renew(leases, seconds)


@found_by("test_it_can_be_opened_and_closed_many_times")
class LeavesAThreadBehind(DurableMemory):
    async def open(self) -> None:
        await super().open()
        threading.Thread(target=threading.Event().wait, args=(1.0,), daemon=True).start()


@found_by("test_closing_finishes_what_is_under_way")
class AnswersFirstAndWritesLater(DurableMemory):
    async def claim(self, claims: Sequence[Claim]) -> list[Claimed]:
        if len(self.disk._records) >= 10:
            return [Claimed("claimed", 1)] * len(claims)
        return await super().claim(claims)


@found_by("test_the_store_works_in_one_event_loop_after_another")
class KeepsItsFirstEventLoop(DurableMemory):
    loop: asyncio.AbstractEventLoop | None = None

    async def open(self) -> None:
        await super().open()
        self.loop = self.loop or asyncio.get_running_loop()
        if self.loop is not asyncio.get_running_loop():
            raise RuntimeError("attached to a different loop")


@found_by("test_it_says_so")
class SaysNothing(DurableMemory):
    durable = False
