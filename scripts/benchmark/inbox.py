"""How fast an inbox is emptied, and how soon a handler starts: `scripts/bench inbox`."""

import argparse
import asyncio
import json
import os
import random
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from statistics import median, quantiles
from typing import Final
from urllib.request import urlopen

from airweave_webhooks import Inbox, PostgresStore, Receiver, SQLiteStore, SyncCompleted
from airweave_webhooks.stores.base import Claim, Facts, Key, Origin
from airweave_webhooks.stores.inbox import InboxStore
from benchmark.databases import databases
from benchmark.load import CONNECTIONS, SECRET, Cores, Pool, body, fill
from benchmark.server import served

DRAIN_AT_LEAST: Final = 5_000  # events per second
START_WITHIN: Final = 20.0  # milliseconds, for 99 of 100
RATE: Final = 500  # events per second that come in meanwhile
FILL_BATCH: Final = 500
FACTS: Final = Facts("sync.completed", "engineering-x7k2p9", "github", "0b8f3f52-94a7-4d0c-8f6e-2a9d5c7b1e30")


async def fill_inbox(store: InboxStore, count: int) -> None:
    """Acknowledge so many deliveries, as a receiver does."""
    origin = Origin(int(time.time()), {"content-type": "application/json", "user-agent": "Svix-Webhooks/1.100.0"})
    await store.open()
    for start in range(0, count, FILL_BATCH):
        claims = [
            Claim(
                Key("default", "", f"msg_{number:024d}"),
                f"msg_{number:024d}",
                bytes(32),
                os.urandom(24),
                FACTS,
                60.0,
                into="pending",
                body=body(number),
                origin=origin,
            )
            for number in range(start, min(start + FILL_BATCH, count))
        ]
        await store.claim(claims)
    await store.close()


async def drain(store: InboxStore, count: int) -> tuple[float, float]:
    """Fill an inbox, and let a worker of this process empty it.

    Returns:
        Events per second, and seconds until the first handler started.
    """
    await fill_inbox(store, count)
    receiver = Receiver(store=store, secrets=SECRET, mode=Inbox())
    starts: list[float] = []
    all_done = asyncio.Event()

    @receiver.on("sync.completed")
    async def handle(event: SyncCompleted) -> None:  # noqa: ARG001 - the event is made, and nothing is done with it
        starts.append(time.perf_counter())
        if len(starts) == count:
            all_done.set()

    began = time.perf_counter()
    working = asyncio.create_task(receiver.work(stop=all_done))
    await working  # which settles the last ones, too
    took = time.perf_counter() - began
    await store.open()
    backlog = await store.backlog("default")
    await store.close()
    assert (backlog.pending, len(starts)) == (0, count), "each runs once, and nothing is left"
    return count / took, starts[0] - began


async def send_at_a_rate(pool: Pool, port: int, seconds: float) -> None:
    """Send the pool's requests at random moments, `RATE` a second on average, over connections that stay open."""
    free: asyncio.Queue[tuple[asyncio.StreamReader, asyncio.StreamWriter]] = asyncio.Queue()
    for _ in range(CONNECTIONS):
        free.put_nowait(await asyncio.open_connection("127.0.0.1", port))

    async def send(request: bytes) -> None:
        reader, writer = await free.get()
        writer.write(request)
        head = await reader.readuntil(b"\r\n\r\n")
        assert head.startswith(b"HTTP/1.1 200 "), head
        await reader.readexactly(len(b'{"status":"accepted"}'))
        free.put_nowait((reader, writer))

    with pool.file.open("rb") as requests:
        requests.seek(pool.size)  # the first proved that the server is ready
        began = moment = time.perf_counter()
        async with asyncio.TaskGroup() as group:
            while moment < began + seconds:
                moment += random.expovariate(RATE)
                await asyncio.sleep(max(0.0, moment - time.perf_counter()))
                group.create_task(send(requests.read(pool.size)))
    while not free.empty():
        free.get_nowait()[1].close()


def latencies(seconds: float, scratch: Path) -> list[float]:
    """Milliseconds from each acknowledgement to the start of its handler; below zero if the handler was first."""
    available = sorted(os.sched_getaffinity(0))
    cores = Cores(available[-1], available[0]) if len(available) > 1 else Cores(None, None)
    pool = fill(scratch / "requests", int(RATE * (seconds + 2) * 1.2))
    with served("inbox-timed", pool, scratch, cores, {}) as server:
        asyncio.run(send_at_a_rate(pool, server.port, seconds))
        time.sleep(1)
        with urlopen(f"http://127.0.0.1:{server.port}/latencies") as answer:
            found: list[float] = json.load(answer)
    return found


def main(arguments: Sequence[str]) -> int:
    """Measure both, and say whether it is enough."""
    parser = argparse.ArgumentParser(prog="scripts/bench inbox", description=__doc__)
    parser.add_argument("--events", type=int, default=100_000, metavar="N", help="to drain; default: 100,000")
    parser.add_argument("--rounds", type=int, default=3, metavar="N", help="default: 3")
    parser.add_argument("--seconds", type=float, default=20, metavar="N", help="of latencies; default: 20")
    parser.add_argument("--only", choices=["sqlite", "postgres"], help="one of the two")
    options = parser.parse_args(arguments)
    kinds = [options.only] if options.only else ["sqlite", "postgres"]
    rates: dict[str, list[float]] = {kind: [] for kind in kinds}
    first: dict[str, list[float]] = {kind: [] for kind in kinds}
    with (
        tempfile.TemporaryDirectory(prefix="bench-") as scratch,
        databases(kinds, Path(scratch), Cores(None, None)) as urls,
    ):
        for number in range(options.rounds):
            for name in kinds:
                print(f"round {number + 1} of {options.rounds}: {name}", file=sys.stderr)
                store: InboxStore = (
                    SQLiteStore(Path(scratch) / f"{number}.db")
                    if name == "sqlite"
                    else PostgresStore(urls["BENCH_POSTGRES"], schema=f"round_{number}")
                )
                rate, start = asyncio.run(drain(store, options.events))
                rates[name].append(rate)
                first[name].append(start)
        waits = latencies(options.seconds, Path(scratch))
    passed = True
    for name in kinds:
        verdict = ""
        if name == "sqlite":
            passed = median(rates[name]) >= DRAIN_AT_LEAST
            verdict = f", at least {DRAIN_AT_LEAST:,}: {'pass' if passed else 'FAIL'}"
        print(
            f"drain, {name:9} {median(rates[name]):8,.0f} events/s ({min(rates[name]):,.0f} to"
            f" {max(rates[name]):,.0f}), the first after {median(first[name]):.2f} s{verdict}"
        )
    p99 = quantiles(waits, n=100)[98]
    print(
        f"from the acknowledgement to the handler's start, at {RATE} events/s over {len(waits):,} events: median"
        f" {median(waits):.2f} ms, p99 {p99:.2f} ms, at most {max(waits):.2f} ms; p99 at most {START_WITHIN:.0f} ms:"
        f" {'pass' if p99 <= START_WITHIN else 'FAIL'}"
    )
    return 0 if passed and p99 <= START_WITHIN else 1
