"""One of several processes that write to a SQLite file as fast as they can: `python -m failure.writer FILE NAME`.

It says `ready`, reads when to end from its input, and then says how many records it has claimed and settled.
"""

import asyncio
import os
import sys
import time

from airweave_webhooks import SQLiteStore
from airweave_webhooks.stores.base import Claim, Facts, Key, Lease, Settle, Store

BATCH = 20
TASKS = 8
FACTS = Facts("sync.completed")


async def write(store: Store, name: str, end: float) -> int:
    """Claim and settle new records until the end, and return how many."""
    written = 0
    while time.monotonic() < end:
        claims = [
            Claim(Key("default", "", key), key, bytes(32), os.urandom(16), FACTS, 60.0)
            for key in (f"{name}-{number}" for number in range(written, written + BATCH))
        ]
        claimed = await store.claim(claims)
        assert {answer.verdict for answer in claimed} == {"claimed"}, claimed
        leases = [Lease(claim.key, answer.fence, claim.token) for claim, answer in zip(claims, claimed, strict=True)]
        settled = await store.settle([Settle(lease, "done", "processed") for lease in leases])
        assert all(settled), settled
        written += BATCH
    return written


async def main(path: str, name: str) -> None:
    store = SQLiteStore(path)
    await store.open()
    print("ready", flush=True)  # noqa: T201 - the test reads it
    end = float(sys.stdin.readline())
    async with asyncio.TaskGroup() as group:
        tasks = [group.create_task(write(store, f"{name}-{number}", end)) for number in range(TASKS)]
    await store.close()
    print(sum(task.result() for task in tasks), flush=True)  # noqa: T201 - likewise


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
