"""A process that forks after it has opened a receiver: `python -m failure.forking DATABASE LEDGER MODE`.

MODE says who is the last to use the database (`parent` or `child`), that the child is and the parent has another
receiver open on the same file (`pair`), or that the parent forks in the midst of its transactions (`busy`). Parent and
child get deliveries of their own, and copies of the same ones.
"""

import asyncio
import multiprocessing
import os
import sys
import time
from datetime import UTC, datetime
from multiprocessing.synchronize import Event
from pathlib import Path

from standardwebhooks import Webhook

from airweave_webhooks import Delivery, Receiver
from airweave_webhooks.stores.base import Claim, Facts, Key, Lease, Settle, Store
from airweave_webhooks.testing.payloads import payload
from failure.ledger import Ledger

SECRET = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
BODY = payload("sync.completed")
EACH = 10
"""Deliveries per name."""
CHILDREN = 5
"""Forks in the midst of transactions, so that one is sure to hit."""
BATCH = 2000

fork = multiprocessing.get_context("fork")


def make_receiver(database: str, ledger: Ledger, name: str = "default") -> Receiver:
    receiver = Receiver(name=name, secrets=SECRET, store=f"sqlite:///{database}")

    @receiver.on("sync.completed")
    async def note(delivery: Delivery) -> None:
        ledger.write("effect", delivery.id)

    return receiver


async def take(receiver: Receiver, *names: str) -> None:
    """Get deliveries until each is done."""
    for message_id in (f"{name}-{number}" for number in range(EACH) for name in names):
        now = datetime.now(UTC)
        headers = {
            "svix-id": message_id,
            "svix-timestamp": str(int(now.timestamp())),
            "svix-signature": Webhook(SECRET).sign(message_id, now, BODY.decode()),
        }
        give_up = time.monotonic() + 30
        while (reply := await receiver.handle(headers, BODY)).status != 200:
            assert reply.outcome == "in_progress", reply
            assert time.monotonic() < give_up
            await asyncio.sleep(0.01)


async def child(receiver: Receiver, name: str, half_way: Event, may_go_on: Event) -> None:
    async with receiver:
        await take(receiver, name, "shared")
        half_way.set()
        assert await asyncio.to_thread(may_go_on.wait, 30)
        await take(receiver, f"{name}-later")


def run_child(receiver: Receiver, name: str, half_way: Event, may_go_on: Event) -> None:
    asyncio.run(child(receiver, name, half_way, may_go_on))


async def write(store: Store, stop: asyncio.Event) -> int:
    """Keep the writer in its transactions."""
    written = 0
    while not stop.is_set():
        claims = [
            Claim(Key("busy", "", key), key, bytes(32), os.urandom(16), Facts("sync.completed"), 60.0)
            for key in (f"busy-{number}" for number in range(written, written + BATCH))
        ]
        claimed = await store.claim(claims)
        leases = [Lease(claim.key, answer.fence, claim.token) for claim, answer in zip(claims, claimed, strict=True)]
        assert all(await store.settle([Settle(lease, "done", "processed") for lease in leases]))
        written += BATCH
    return written


async def last(receiver: Receiver, who: str) -> None:
    """Fork once; the one goes on after the other has closed the database."""
    half_way, may_go_on = fork.Event(), fork.Event()
    async with receiver:
        await take(receiver, "before")
        forked = fork.Process(target=run_child, args=(receiver, "child", half_way, may_go_on), daemon=True)
        forked.start()
        await take(receiver, "parent", "shared")
        assert await asyncio.to_thread(half_way.wait, 30)
        if who == "parent":
            may_go_on.set()
            await end(forked)
            await take(receiver, "parent-later")
    if who == "child":
        may_go_on.set()
        await end(forked)


async def busy(receiver: Receiver) -> int:
    """Fork again and again while the writer is at work."""
    stop = asyncio.Event()
    at_once = fork.Event()
    at_once.set()
    async with receiver:
        writing = asyncio.create_task(write(receiver.store, stop))
        for number in range(CHILDREN):
            await asyncio.sleep(0.05)
            forked = fork.Process(
                target=run_child, args=(receiver, f"child-{number}", fork.Event(), at_once), daemon=True
            )
            forked.start()
            await take(receiver, f"parent-{number}")
            await end(forked)
        stop.set()
        return await writing


async def end(process: "multiprocessing.context.ForkProcess") -> None:
    await asyncio.to_thread(process.join, 40)
    code = process.exitcode
    process.kill()
    assert code == 0, f"the child ended with {code}"


async def pair(receiver: Receiver, other: Receiver) -> None:
    """Fork while two receivers have the same file open."""
    async with other:
        await last(receiver, "child")


async def main(database: str, path: str, mode: str) -> None:
    ledger = Ledger(Path(path))
    receiver = make_receiver(database, ledger)
    match mode:
        case "busy":
            print(await busy(receiver))  # noqa: T201 - the test reads it
        case "pair":
            await pair(receiver, make_receiver(database, ledger, "other"))
        case _:
            await last(receiver, mode)


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
