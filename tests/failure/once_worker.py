"""The process that `test_once_kill.py` kills: sends itself deliveries until all are acknowledged.

`python -m failure.once_worker DATABASE_URL STORE LINES COUNT`. Appends to LINES what `once()` answered, and what was
acknowledged. With GATE in the environment it says that it is ready, and begins when there is such a file.
"""

import asyncio
import os
import random
import sys
from pathlib import Path

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncSession, create_async_engine

from airweave_webhooks import Delivery, Inline, Receiver
from airweave_webhooks.integrations.sqlalchemy import once
from airweave_webhooks.testing.payloads import payload
from signing import SECRET, sign

BODY = payload("sync.completed")
CONCURRENCY = 6
LONGEST_PAUSE = 0.008
"""Seconds, on both sides of the effect and after the commit."""


async def main(url: str, store: str, lines: Path, count: int) -> None:
    """Work until everything is acknowledged."""
    engine = create_async_engine(url)
    receiver = Receiver(store=store, secrets=SECRET, mode=Inline(lease=0.5))
    descriptor = os.open(lines, os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    slots = asyncio.Semaphore(CONCURRENCY)

    def tell(what: str, message_id: str) -> None:
        os.write(descriptor, f"{what} {message_id}\n".encode())

    @receiver.on("sync.completed")
    async def handler(delivery: Delivery) -> None:
        async with AsyncSession(engine) as session, session.begin():
            first = await once(delivery, session)
            tell("first" if first else "again", delivery.id)
            if first:
                await asyncio.sleep(random.uniform(0, LONGEST_PAUSE))
                await session.execute(text("INSERT INTO effects VALUES (:id, 'effect')"), {"id": delivery.id})
                await asyncio.sleep(random.uniform(0, LONGEST_PAUSE))
        await asyncio.sleep(random.uniform(0, LONGEST_PAUSE))

    async def deliver(message_id: str) -> None:
        async with slots:
            while (await receiver.handle(sign(BODY, message_id=message_id), BODY)).status != 200:
                await asyncio.sleep(0.05)
            tell("done", message_id)

    done = {line.removeprefix("done ") for line in lines.read_text().splitlines()}
    async with receiver, asyncio.TaskGroup() as group:
        if "GATE" in os.environ:
            tell("ready", "-")
            while not Path(os.environ["GATE"]).exists():
                await asyncio.sleep(0.002)
        for number in range(count):
            if f"msg_{number}" not in done:
                group.create_task(deliver(f"msg_{number}"))
    await engine.dispose()


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], sys.argv[2], Path(sys.argv[3]), int(sys.argv[4])))
