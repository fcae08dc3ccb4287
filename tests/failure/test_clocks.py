"""Machines whose clocks do not agree, or step: leases go by the store's clock alone."""

import asyncio
import math
import time
from pathlib import Path

import pytest

from failure.servers import Site, body, until

pytestmark = pytest.mark.anyio

LEASE = 1.2
HOUR = 3600.0


@pytest.mark.parametrize("backend", ["postgres", "redis"], indirect=True)
@pytest.mark.parametrize(
    ("holders", "others", "steps"),
    [
        pytest.param(0.0, HOUR, False, id="other ahead"),
        pytest.param(HOUR, 0.0, False, id="holder ahead", marks=pytest.mark.long),
        pytest.param(-HOUR, HOUR, False, id="holder behind", marks=pytest.mark.long),
        pytest.param(HOUR, 0.0, True, id="holder steps back"),
        pytest.param(0.0, -HOUR, True, id="other steps ahead"),
    ],
)
async def test_nobody_takes_over_early_and_nobody_waits_for_ever(
    site: Site, tmp_path: Path, holders: float, others: float, steps: bool
) -> None:
    """A live holder keeps its lease; a dead one's ends when it should, whatever the hosts believe."""
    step = tmp_path / "step"
    holder = await site.serve(lease=LEASE, work=60, clock=holders, step=step)
    other = await site.serve(lease=LEASE, work=0.01, clock=others, step=step)
    async with site.sender(holder, timeout=90) as to_holder, site.sender(other) as to_other, asyncio.timeout(60):
        message = to_holder.message(body("awaiting"))
        first = asyncio.create_task(to_holder.attempt(message))
        await until(lambda: site.ledger.entries("start"), "the handler has started")
        end = time.monotonic() + 1.5 * LEASE
        while time.monotonic() < end:
            assert (await to_other.attempt(message)).outcome == "in_progress"
            if steps and time.monotonic() > end - LEASE:
                step.touch()
            await asyncio.sleep(0.05)
        died = holder.kill()
        await first
        while (attempt := await to_other.attempt(message)).outcome == "in_progress":
            assert attempt.retry_after is not None
            assert attempt.retry_after <= math.ceil(LEASE)
            await asyncio.sleep(0.02)
        assert attempt.outcome == "processed"
    (_, start) = site.ledger.entries("start")
    # It was renewed at the latest a round, a quarter of a lease, before it died.
    assert 0.6 * LEASE < start.at - died < LEASE + 5
    assert (await site.record(message.id)).leases_lost == 1
