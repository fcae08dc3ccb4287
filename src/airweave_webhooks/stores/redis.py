"""`redis://host:6379/0`, for many machines: Redis, Valkey, and clusters of either."""

import asyncio
import os
import re
import threading
import weakref
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import TYPE_CHECKING, Final, Union

from airweave_webhooks.errors import ConfigurationError, StoreDataError, StoreUnavailable
from airweave_webhooks.stores import redis_records as records
from airweave_webhooks.stores.base import Claim, Claimed, Key, Lease, Record, Settle

if TYPE_CHECKING:
    import redis.asyncio

    from airweave_webhooks.stores.redis_session import Item, Session

MOST_PARTITIONS: Final = 1024

# Stores that are open in this process, each by its `id` (stores in one place are equal), and what a fork inherited: it
# is not let go, because whatever ends with it would be the parent's.
_open_stores: Final["weakref.WeakValueDictionary[int, RedisStore]"] = weakref.WeakValueDictionary()
_inherited: Final["list[Session]"] = []


class _Opened:
    """What a store has on one event loop."""

    def __init__(self, session: "Session") -> None:
        self.session = session
        self.count = 0
        self.connecting = asyncio.Lock()
        self.is_ready = False


class RedisStore:
    """Keeps records in Redis or Valkey, 6.2 or later, on one server or in a cluster. Any number of machines share them.

    A record changes in a Lua script that checks fence and token, by the server's clock. What is done expires by itself
    after `Claim.keep` seconds; nothing else does. What a crash of the server can cost is said in the log on opening.

    Args:
        target: a URL (`redis://user:password@host:6379/0`, `rediss://…`, `unix:///path`), or your own client, whose
            settings are used: the connections are the store's own. A server that is a node of a cluster is recognised.
        prefix: every key begins with it.
        partitions: how many parts the records are spread over, 16 by default. It stays as it was at first.

    Raises:
        ConfigurationError: the driver is missing, or an argument cannot work; the message says what to do.
    """

    round_trip = True
    # The server is another process. Whether it survives a crash of its own is a matter of its settings.
    durable = True

    def __init__(
        self,
        target: Union[str, "redis.asyncio.Redis", "redis.asyncio.RedisCluster"],
        *,
        prefix: str = "airweave-webhooks",
        partitions: int | None = None,
    ) -> None:
        try:
            # Only who uses Redis needs its driver.
            from airweave_webhooks.stores.redis_session import Item, Session  # noqa: PLC0415
            from airweave_webhooks.stores.redis_target import target_of  # noqa: PLC0415
        except ModuleNotFoundError:
            raise ConfigurationError("the Redis store needs a driver: pip install 'airweave-webhooks[redis]'") from None
        if not re.fullmatch(r"[\w.:/-]+", prefix, re.ASCII):
            raise ConfigurationError(f"RedisStore(prefix={prefix!r}): takes letters, digits and any of _ - . : /")
        if partitions is not None and not 1 <= partitions <= MOST_PARTITIONS:
            raise ConfigurationError(f"RedisStore(partitions={partitions!r}): takes 1 to {MOST_PARTITIONS}")
        parsed = target_of(target)
        self._name = f"RedisStore({parsed.address!r}, prefix={prefix!r})"
        self._wanted = partitions
        self._item = Item
        self._new_session: Callable[[], Session] = lambda: Session(parsed, prefix)
        self._start_anew()

    def _start_anew(self) -> None:
        # Opening and closing can come from the event loops of several threads.
        self._lock = threading.Lock()
        self._opened: dict[asyncio.AbstractEventLoop, _Opened] = {}
        self._renewing: set[Session] = set()

    def __repr__(self) -> str:
        return self._name

    def __eq__(self, other: object) -> bool:
        """Two stores with one address and prefix are the same store."""
        return isinstance(other, RedisStore) and self._name == other._name

    def __hash__(self) -> int:
        return hash(self._name)

    async def open(self) -> None:
        """Connect, and look at what the server promises. Each event loop has connections of its own.

        Raises:
            ConfigurationError: the server cannot be used; the message says what to do.
            StoreUnavailable: it cannot be reached.
        """
        loop = asyncio.get_running_loop()
        with self._lock:
            for ended in [other for other in self._opened if other.is_closed()]:
                del self._opened[ended]
            if loop not in self._opened:
                self._opened[loop] = _Opened(self._new_session())
            opened = self._opened[loop]
            opened.count += 1
            _open_stores[id(self)] = self
        try:
            async with opened.connecting:
                if not opened.is_ready:
                    await opened.session.open(self._wanted)
                    opened.is_ready = True
        except BaseException:
            await self.close()
            raise

    async def close(self) -> None:
        """Finish what is under way, and disconnect."""
        with self._lock:
            opened = self._opened.get(asyncio.get_running_loop())
            if opened is None:
                return
            opened.count -= 1
            if opened.count:
                return
            del self._opened[asyncio.get_running_loop()]
            if not self._opened:
                _open_stores.pop(id(self), None)
        await opened.session.close()

    async def claim(self, claims: Sequence[Claim]) -> list[Claimed]:
        """Claim each, in one step per partition."""
        items = self._items((claim.key, partial(records.claim_values, claim)) for claim in claims)
        return [records.claimed(answer) for answer in await self._session().run("claim", items)]

    async def settle(self, settles: Sequence[Settle]) -> list[bool]:
        """Settle each whose lease is current, in one step per partition."""
        items = self._items((wish.lease.key, partial(records.settle_values, wish)) for wish in settles)
        return [answer == 1 for answer in await self._session().run("settle", items)]

    def renew(self, leases: Sequence[Lease], seconds: float) -> list[bool]:
        """Renew each that is current, on an event loop and connections that are made for it.

        It is asked for a few times in the length of a lease: nothing is kept for that in between.
        """
        with self._lock:
            ready = [opened.session for opened in self._opened.values() if opened.is_ready]
        if not ready:
            raise self._not_open()
        items = self._items((lease.key, partial(records.lease_values, lease, seconds)) for lease in leases)
        with ThreadPoolExecutor(1, thread_name_prefix="airweave-redis") as thread:
            return thread.submit(asyncio.run, self._renew(ready[0].twin, items)).result()

    async def _renew(self, make_session: "Callable[[], Session]", items: "list[Item]") -> list[bool]:
        session = make_session()
        self._renewing.add(session)
        try:
            return [answer == 1 for answer in await session.run("renew", items)]
        finally:
            await session.close()
            self._renewing.discard(session)

    async def get(self, keys: Sequence[Key]) -> list[Record | None]:
        """Read records."""
        found = await self._session().run("read", self._items((key, tuple) for key in keys), records.FIELDS)
        return [records.record(key, values) for key, values in zip(keys, found, strict=True)]

    async def purge(self, *, done_for: float, abandoned_for: float, most: int) -> int:
        """Remove what is finished, give up what is abandoned; what had expired by itself counts as removed."""
        ages = [records.microseconds(min(age, records.LONGEST)) for age in (done_for, abandoned_for)]
        return await self._session().purge(ages, most)

    def _session(self) -> "Session":
        opened = self._opened.get(asyncio.get_running_loop())
        if opened is None or not opened.is_ready:
            raise self._not_open()
        return opened.session

    def _not_open(self) -> StoreUnavailable:
        return StoreUnavailable(f"{self!r} is not open in this process and event loop")

    def _items(self, parts: Iterable[tuple[Key, Callable[[], tuple[records.Value, ...]]]]) -> "list[Item]":
        try:
            return [self._item(records.name_of(key), values()) for key, values in parts]
        except (TypeError, ValueError, OverflowError, AttributeError) as error:
            raise StoreDataError(f"Redis cannot store this record: {error}") from error

    def start_anew_after_fork(self) -> None:
        """Be closed, in the child, and leave the parent's connections alone."""
        sessions = [*(opened.session for opened in self._opened.values()), *self._renewing]
        for session in sessions:
            session.sever()
        _inherited.extend(sessions)
        self._start_anew()


def _after_fork_in_child() -> None:
    for store in list(_open_stores.values()):
        store.start_anew_after_fork()
    _open_stores.clear()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork_in_child)
