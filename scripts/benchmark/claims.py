"""What a claim costs among many finished records, against among few: `scripts/bench claims`."""

import argparse
import asyncio
import os
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from statistics import median
from typing import Final, Literal

from airweave_webhooks import PostgresStore, RedisStore
from airweave_webhooks.stores import Store
from airweave_webhooks.stores.base import Claim, Facts, Key
from benchmark.databases import databases
from benchmark.load import Cores

AT_MOST: Final = 1.3  # times what it costs among few
FILL_BATCH: Final = 500
FILLERS: Final = 4
BATCH: Final = 32  # what 32 connections make of it
FACTS: Final = Facts("sync.completed", "engineering-x7k2p9", "github", "0b8f3f52-94a7-4d0c-8f6e-2a9d5c7b1e30")


def claims(name: str, numbers: Sequence[int], *, finished: bool) -> list[Claim]:
    """Claims of new deliveries, which are done at once, or leased."""
    keys = [f"msg_{name}{number:022d}" for number in numbers]
    into: Literal["leased", "done"] = "done" if finished else "leased"
    return [Claim(Key("default", "", key), key, bytes(32), os.urandom(24), FACTS, 60.0, into=into) for key in keys]


async def fill(store: Store, count: int, title: str) -> None:
    """Finish so many deliveries, and show how far it is."""
    starts = iter(range(0, count, FILL_BATCH))
    done = 0

    async def work() -> None:
        nonlocal done
        for start in starts:
            numbers = range(start, min(start + FILL_BATCH, count))
            await store.claim(claims("old", numbers, finished=True))
            done += len(numbers)
            if done % 500_000 < FILL_BATCH:
                print(f"\r{title}: {done:,} of {count:,}", end="", file=sys.stderr, flush=True)

    started = time.perf_counter()
    await asyncio.gather(*(work() for _ in range(FILLERS)))
    print(f"\r{title}: {count:,} in {time.perf_counter() - started:.0f} s", file=sys.stderr)


async def microseconds_per_claim(store: Store, name: str, batches: int) -> float:
    """Claim new deliveries in batches, one after the other."""
    work = [claims(f"{name}{n:04d}", range(BATCH), finished=False) for n in range(batches)]
    started = time.perf_counter()
    for batch in work:
        answers = await store.claim(batch)
        assert {answer.verdict for answer in answers} == {"claimed"}
    return (time.perf_counter() - started) / (batches * BATCH) * 1e6


async def compare(title: str, make: Callable[[str], Store], few: int, many: int, rounds: int) -> bool:
    """Print the ratio of both, within rounds; whether it is small enough."""
    stores = {"few": make("few"), "many": make("many")}
    for store in stores.values():
        await store.open()
    try:
        await fill(stores["few"], few, f"{title}, few")
        await fill(stores["many"], many, f"{title}, many")
        ratios: list[float] = []
        costs: dict[str, list[float]] = {"few": [], "many": []}
        for number in range(-2, rounds):  # two rounds to warm up
            for size in ("few", "many") if number % 2 else ("many", "few"):
                cost = await microseconds_per_claim(stores[size], f"{size}{number:03d}", 50)
                if number >= 0:
                    costs[size].append(cost)
            if number >= 0:
                ratios.append(costs["many"][-1] / costs["few"][-1])
    finally:
        for store in stores.values():
            await store.close()
    verdict = "pass" if median(ratios) <= AT_MOST else "FAIL"
    print(
        f"{title:10} {median(costs['few']):6.1f} µs among {few:,}, {median(costs['many']):6.1f} µs among {many:,}:"
        f" {median(ratios):.2f} times ({min(ratios):.2f} to {max(ratios):.2f}), at most {AT_MOST}: {verdict}"
    )
    return verdict == "pass"


def main(arguments: Sequence[str]) -> int:
    """Compare both stores."""
    parser = argparse.ArgumentParser(prog="scripts/bench claims", description=__doc__)
    parser.add_argument("--few", type=int, default=10_000, metavar="N", help="default: 10,000")
    parser.add_argument("--many", type=int, default=10_000_000, metavar="N", help="default: 10,000,000")
    parser.add_argument("--rounds", type=int, default=21, metavar="N", help="default: 21")
    parser.add_argument("--only", choices=["postgres", "redis"], help="one of the two")
    options = parser.parse_args(arguments)
    kinds = [options.only] if options.only else ["postgres", "redis"]
    with (
        tempfile.TemporaryDirectory(prefix="bench-") as scratch,
        databases(kinds, Path(scratch), Cores(None, None)) as urls,
    ):
        makers: dict[str, Callable[[str], Store]] = {
            "postgres": lambda name: PostgresStore(urls["BENCH_POSTGRES"], schema=name),
            "redis": lambda name: RedisStore(urls["BENCH_REDIS"], prefix=name),
        }
        passed = [asyncio.run(compare(kind, makers[kind], options.few, options.many, options.rounds)) for kind in kinds]
    return 0 if all(passed) else 1
