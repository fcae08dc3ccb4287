"""Whose time it is."""

import asyncio
import contextlib
import gc
import time
from collections.abc import Callable, Generator
from types import FunctionType
from typing import Any

import pytest

from airweave_webhooks.stores.base import Settle, Store
from airweave_webhooks.testing.contracts.base import CLOSE, HOUR, LONG, SHORT, Contract, a_claim, lapse, opened


class HostClock:
    """`time.time` and `time.time_ns` with an error, wherever in this process they are held."""

    def __init__(self) -> None:
        self.error: float = 0.0
        """Seconds by which they are ahead."""

    @contextlib.contextmanager
    def in_place(self) -> Generator[None]:
        """Take the place of the functions: in modules, as default arguments, in attributes."""
        seconds, nanoseconds = time.time, time.time_ns

        def wrong_time() -> float:
            return seconds() + self.error

        def wrong_time_ns() -> int:
            return nanoseconds() + int(self.error * 1e9)

        _replace(seconds, wrong_time)
        _replace(nanoseconds, wrong_time_ns)
        try:
            yield
        finally:
            _replace(wrong_time, seconds)
            _replace(wrong_time_ns, nanoseconds)


def _replace(old: Callable[[], Any], new: Callable[[], Any]) -> None:
    for holder in gc.get_referrers(old):
        held: Any = holder  # of whatever types
        if isinstance(holder, tuple):  # default arguments, perhaps
            defaults = tuple(new if value is old else value for value in held)
            for function in gc.get_referrers(holder):
                if isinstance(function, FunctionType) and function.__defaults__ is holder:
                    function.__defaults__ = defaults
            continue
        names: Any = held if isinstance(holder, dict) else getattr(holder, "__dict__", None)
        if names is not None:
            for name in [name for name, value in names.items() if value is old]:
                names[name] = new


class ClockContract(Contract):
    """Machines' clocks are wrong by an hour, and are put right while leases run: nobody notices.

    What a store reads from `datetime.now()` or from a C library, these tests cannot put wrong.
    """

    @pytest.fixture
    def host(self) -> Generator[HostClock]:
        """The clock of this machine; in place before the store is made."""
        clock = HostClock()
        with clock.in_place():
            yield clock

    @pytest.fixture(params=[-HOUR, HOUR], ids=["behind", "ahead"])
    def error(self, request: pytest.FixtureRequest) -> float:
        """Seconds by which a machine's clock is wrong."""
        error: float = request.param
        return error

    async def test_a_record_has_the_stores_time(self, host: HostClock, store: Store, error: float) -> None:
        """Whichever machine wrote it."""
        for name, wrong in (("right", 0.0), ("wrong", error)):
            host.error = wrong
            await self.settled(store, a_claim(name), "pending", delay=LONG)
        right, wrong_one = await store.get([a_claim("right").key, a_claim("wrong").key])
        assert right is not None
        assert wrong_one is not None
        assert wrong_one.received_at == pytest.approx(right.received_at, abs=CLOSE)
        assert wrong_one.settled_at == pytest.approx(right.settled_at, abs=CLOSE)
        assert wrong_one.due_at == pytest.approx(right.due_at, abs=CLOSE)

    async def test_a_wrong_clock_takes_nothing_over_early(self, host: HostClock, store: Store, error: float) -> None:
        """A lease holds against machines whose clocks say that it is over."""
        lease = await self.leased(store, a_claim())
        host.error = error
        answer = await self.claim(store, a_claim())
        assert answer.verdict == "held"
        assert answer.retry_after == pytest.approx(LONG, abs=CLOSE)
        assert await asyncio.to_thread(store.renew, [lease], LONG) == [True]
        host.error = 0.0
        answer = await self.claim(store, a_claim())
        assert answer.verdict == "held"
        assert answer.retry_after == pytest.approx(LONG, abs=CLOSE)

    async def test_a_lease_from_a_wrong_clock_is_as_long_as_any(
        self, host: HostClock, store: Store, error: float
    ) -> None:
        """Given or renewed by a machine that is ahead it ends, by one that is behind it holds."""
        host.error = error
        await self.leased(store, a_claim("claimed", lease=SHORT))
        lease = await self.leased(store, a_claim("renewed", lease=LONG))
        assert await asyncio.to_thread(store.renew, [lease], SHORT) == [True]
        host.error = 0.0
        claims = [a_claim("claimed"), a_claim("renewed")]
        assert [answer.verdict for answer in await store.claim(claims)] == ["held", "held"]
        await lapse(SHORT)
        assert [answer.verdict for answer in await store.claim(claims)] == ["claimed", "claimed"]

    async def test_a_clock_that_is_put_right_in_mid_lease(self, host: HostClock, store: Store, error: float) -> None:
        """Stepped while the lease runs: it ends when it was to end, neither at once nor never."""
        await self.leased(store, a_claim(lease=SHORT))
        host.error = error
        assert (await self.claim(store, a_claim())).verdict == "held"
        await lapse(SHORT)
        assert (await self.claim(store, a_claim())).verdict == "claimed"

    async def test_what_waits_is_due_by_the_stores_clock(self, host: HostClock, store: Store, error: float) -> None:
        """A back-off is as long as it was said, whoever wrote it and whoever asks."""
        await self.settled(store, a_claim("asked wrongly"), "pending", body=b"{}", delay=SHORT)
        host.error = error
        await self.settled(store, a_claim("written wrongly"), "pending", body=b"{}", delay=SHORT)
        assert (await self.claim(store, a_claim("asked wrongly"))).verdict == "accepted"
        host.error = 0.0
        assert (await self.claim(store, a_claim("written wrongly"))).verdict == "accepted"
        await lapse(SHORT)
        host.error = error
        assert (await self.claim(store, a_claim("asked wrongly"))).verdict == "claimed"
        host.error = 0.0
        assert (await self.claim(store, a_claim("written wrongly"))).verdict == "claimed"

    async def test_a_wrong_clock_forgets_nothing_early(self, host: HostClock, store: Store, error: float) -> None:
        """Nor does it keep things for ever."""
        await self.settled(store, a_claim("right"))
        await self.settled(store, a_claim("failed"), "pending")
        host.error = error
        await self.settled(store, a_claim("wrong"))
        assert await store.purge(done_for=HOUR / 2, abandoned_for=HOUR / 2, most=100) == 0
        host.error = 0.0
        assert await store.purge(done_for=HOUR / 2, abandoned_for=HOUR / 2, most=100) == 0
        await lapse()
        host.error = error
        assert await store.purge(done_for=0.02, abandoned_for=0.02, most=100) == 3

    async def test_two_machines_with_different_clocks(self, host: HostClock, error: float) -> None:
        """Two stores, one on each: leases pass between them in the store's time."""
        async with opened(self.make_store) as here:
            host.error = error
            async with opened(self.make_store) as there:
                await self.leased(there, a_claim(lease=SHORT))
                host.error = 0.0
                assert (await self.claim(here, a_claim())).verdict == "held"
                await lapse(SHORT)
                lease = await self.leased(here, a_claim(lease=SHORT))
                host.error = error
                assert (await self.claim(there, a_claim())).verdict == "held"
                await lapse(SHORT)
                await self.leased(there, a_claim())
                assert await there.settle([Settle(lease, "done")]) == [False]
