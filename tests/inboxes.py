"""A receiver in inbox mode on a file, and what tests do with it."""

import asyncio
import json
import time
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from airweave_webhooks import Inbox, Observer, Receiver, Reply, SQLiteStore
from airweave_webhooks.stores.base import Key, Record
from airweave_webhooks.stores.inbox import Take
from airweave_webhooks.testing.contracts import opened
from airweave_webhooks.testing.payloads import payload
from conftest import SECRET, sign

QUICK: Mapping[str, Any] = {"first_pause": 0.02, "longest_pause": 0.05, "poll": 0.02, "shutdown_grace": 2.0}
"""A mode whose pauses a test can wait for, in seconds."""
PATIENCE = 30.0
"""Seconds for what takes an instant, on a machine that has much else to do."""


def body(event_type: str = "sync.completed", /, **changed: object) -> bytes:
    """A body like the sender's, with other values."""
    return json.dumps(json.loads(payload(event_type)) | changed).encode()


class World:
    """A receiver, and what its handlers were started for."""

    def __init__(self, path: Path, *, observer: Observer | None = None, **mode: Any) -> None:
        self.store = SQLiteStore(path / "inbox.db")
        self.receiver = Receiver(secrets=SECRET, store=self.store, mode=Inbox(**{**QUICK, **mode}), observer=observer)
        self.seen: list[Any] = []

    async def send(self, message_id: str = "msg_1", event: bytes = b"") -> Reply:
        event = event or body()
        return await self.receiver.handle(sign(event, message_id=message_id), event)

    async def accept(self, *message_ids: str, event: bytes = b"") -> None:
        """Send some that must be accepted."""
        for message_id in message_ids:
            assert (await self.send(message_id, event)).outcome == "accepted"

    async def record(self, message_id: str = "msg_1") -> Record:
        (record,) = await self.store.get([Key("default", "", message_id)])
        assert record is not None
        return record

    async def settled(self, *message_ids: str, state: str | None = None) -> Record:
        """Wait until some are finished, or in a state; return the last one's record."""
        states = {"done", "dead"} if state is None else {state}
        give_up = time.monotonic() + PATIENCE
        while True:
            records = [await self.record(message_id) for message_id in message_ids or ("msg_1",)]
            if all(record.state in states for record in records):
                return records[-1]
            assert time.monotonic() < give_up, records
            await asyncio.sleep(0.005)

    async def until(self, condition: Callable[[], object]) -> None:
        give_up = time.monotonic() + PATIENCE
        while not condition():
            assert time.monotonic() < give_up, self.seen
            await asyncio.sleep(0.002)

    async def fill(self, *messages: tuple[str, bytes]) -> None:
        """Store deliveries, and let nobody work on them yet."""
        mode = self.receiver.mode
        self.receiver.mode = Inbox(**QUICK, worker=False)
        async with self.receiver:
            for message_id, event in messages:
                await self.accept(message_id, event=event)
        self.receiver.mode = mode

    @asynccontextmanager
    async def filled(self, *messages: tuple[str, bytes]) -> AsyncIterator[None]:
        """Store deliveries before any worker looks; the block begins with a worker."""
        await self.fill(*messages)
        async with self.receiver:
            yield

    async def records_of(self, messages: Sequence[tuple[str, bytes]]) -> list[Record]:
        """Read the records of messages, when the receiver is closed."""
        async with opened(lambda: self.store):
            return [await self.record(name) for name, _ in messages]

    async def lose_leases(self, times: int) -> None:
        """Take what is due, and come to nothing, as a process does that dies."""
        async with opened(lambda: self.store):
            for n in range(times):
                assert await self.store.take(Take("default", 1, bytes([n]), 0.01, "gone", suspects=n >= 2))
                await asyncio.sleep(0.05)
