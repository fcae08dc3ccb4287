"""Processes that store deliveries and processes that work on them, on one database."""

import asyncio
import hashlib
import json
import os
import time
from collections import Counter
from collections.abc import Iterable, Sequence

from airweave_webhooks.claiming import facts_of
from airweave_webhooks.events import parse
from airweave_webhooks.stores.base import Claim, Key, Origin
from airweave_webhooks.stores.inbox import InboxStore
from airweave_webhooks.testing import Message
from airweave_webhooks.testing.payloads import payload
from failure.servers import START, LoggingSender, Port, Process, Server, Site, until

APP = "failure.inbox_app"
BATCH = 500
"""Deliveries that are stored at once."""


class InboxSite(Site):
    """What the processes of one test share."""

    async def receive(self, role: str, port: Port | None = None, **settings: object) -> Server:
        """Start a server that works on what it stores (`both`), or only stores it (`web`); wait until it is ready."""
        server = Server(port or self.port(), self._new_log(), self._environment(settings), [APP, role])
        self._processes.append(server)
        await server.ready()
        return server

    def start_worker(self, **settings: object) -> Process:
        """Start a process that only works."""
        process = Process([APP, "worker"], self._new_log(), self._environment(settings))
        self._processes.append(process)
        return process

    async def worker(self, **settings: object) -> Process:
        """Start a process that only works, and wait until it looks for work."""
        process = self.start_worker(**settings)
        await until(lambda: "works\n" in process.log() or process.exit_code is not None, "the worker works", START)
        return process

    async def fill(self, deliveries: Iterable[tuple[str, bytes]]) -> None:
        """Store deliveries as a receiver does, many at a time."""
        claims = [_claim(message_id, event) for message_id, event in deliveries]
        async with self.backend.opened() as store:
            for start in range(0, len(claims), BATCH):
                for claimed in await store.claim(claims[start : start + BATCH]):
                    assert claimed.verdict == "claimed"

    async def states(self) -> Counter[tuple[str, str | None]]:
        """How many deliveries are in each state, and for which reason."""
        async with self.backend.opened() as store:
            assert isinstance(store, InboxStore)
            tallies = await store.tally("default")
        return Counter({(one.state, one.reason): one.deliveries for one in tallies})

    async def finished(self, seconds: float = 60.0) -> Counter[tuple[str, str | None]]:
        """Wait until nothing is left to do, and return the states."""
        give_up = time.monotonic() + seconds
        async with self.backend.opened() as store:
            assert isinstance(store, InboxStore)
            while True:
                tallies = await store.tally("default")
                if {one.state for one in tallies} <= {"done", "dead"}:
                    return Counter({(one.state, one.reason): one.deliveries for one in tallies})
                assert time.monotonic() < give_up, f"not within {seconds:g} s: {tallies}"
                await asyncio.sleep(0.05)


async def accept(sender: LoggingSender, bodies: Sequence[bytes]) -> list[Message]:
    """Send deliveries that must all be accepted."""
    messages = [sender.message(event) for event in bodies]
    attempts = await asyncio.gather(*(sender.attempt(message) for message in messages))
    assert {(attempt.status, attempt.outcome) for attempt in attempts} == {(200, "accepted")}
    return messages


def of_job(job: int, second: int) -> bytes:
    """A `sync.completed` for the handler that keeps a job's events in order."""
    event = json.loads(payload("sync.completed"))
    event |= {"source_type": "ordered", "sync_job_id": f"00000000-0000-4000-8000-{job:012d}"}
    return json.dumps(event | {"timestamp": f"2026-11-20T09:{second // 60:02d}:{second % 60:02d}Z"}).encode()


def _claim(message_id: str, event: bytes) -> Claim:
    return Claim(
        Key("default", "", message_id),
        message_id,
        hashlib.sha256(event).digest(),
        os.urandom(16),
        facts_of(parse(event)),
        60.0,
        into="pending",
        body=event,
        origin=Origin(int(time.time())),
    )
