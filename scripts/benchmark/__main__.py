"""Run the contenders in turn, round after round, and print their ratios."""

import argparse
import json
import os
import platform
import random
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from importlib.metadata import version
from pathlib import Path
from typing import Final

from benchmark import claims, inbox
from benchmark.apps import CONTENDERS
from benchmark.databases import databases
from benchmark.load import RATE, TOLERANCE, BenchError, Cores, Pool, PoolDryError, fill, require_tools, send
from benchmark.report import Sample, outcomes, text
from benchmark.server import served

WARM_UP: Final = 1  # seconds of load before anything is counted


def main() -> int:
    if sys.argv[1:2] == ["claims"]:
        return claims.main(sys.argv[2:])
    if sys.argv[1:2] == ["inbox"]:
        return inbox.main(sys.argv[2:])
    options = _options()
    # The last core serves and the first sends, because the kernel's own work gathers on the first.
    available = sorted(os.sched_getaffinity(0))
    cores = Cores(available[-1], available[0]) if len(available) > 1 else Cores(None, None)
    try:
        require_tools(cores)
        with tempfile.TemporaryDirectory(prefix="bench-") as scratch:
            machine = _machine(len(available), Path(scratch))
            print(machine, end="\n\n", flush=True)
            with databases(options.only, Path(scratch), cores) as urls:
                samples = _run(
                    options.only,
                    rounds=options.rounds,
                    seconds=options.seconds,
                    scratch=Path(scratch),
                    cores=cores,
                    urls=urls,
                )
    except BenchError as error:
        print(f"the run is void: {error}", file=sys.stderr)
        return 1
    samples.sort(key=lambda sample: (options.only.index(sample.contender), sample.round))
    print(text(samples))
    if options.json is not None:
        found = {
            "machine": machine,
            "seconds": options.seconds,
            "samples": [asdict(sample) for sample in samples],
            "outcomes": [outcome.as_json() for outcome in outcomes(samples)],
        }
        options.json.write_text(json.dumps(found, indent=2) + "\n")
    return 0


def _run(
    names: Sequence[str], *, rounds: int, seconds: int, scratch: Path, cores: Cores, urls: Mapping[str, str]
) -> list[Sample]:
    samples = []
    rate = RATE
    for number in range(1, rounds + 1):
        print(f"round {number} of {rounds}:", end="", file=sys.stderr, flush=True)
        # Signed anew each round, or the requests would be stale in a later one.
        pool = fill(scratch / "requests", rate * (WARM_UP + seconds))
        try:
            for name in random.sample(names, len(names)):
                print(f" {name}", end="", file=sys.stderr, flush=True)
                try:
                    sample = _measure(name, number, pool, seconds=seconds, cores=cores, urls=urls)
                except PoolDryError:
                    rate *= 2
                    pool = fill(pool.file, rate * (WARM_UP + seconds))
                    sample = _measure(name, number, pool, seconds=seconds, cores=cores, urls=urls)
                samples.append(sample)
        finally:
            print(file=sys.stderr)
    return samples


def _measure(name: str, number: int, pool: Pool, *, seconds: int, cores: Cores, urls: Mapping[str, str]) -> Sample:
    """Measure one contender once.

    Its server is new: no round inherits the records, the heap or the database of the one before, so that the
    rounds are alike and their spread is noise. Nothing else of ours runs meanwhile.
    """
    with (
        tempfile.TemporaryDirectory(prefix="server-", dir=pool.file.parent) as directory,
        served(name, pool, Path(directory), cores, urls) as server,
    ):
        warm = pool.count * WARM_UP // (WARM_UP + seconds)
        send(pool, 1, warm, port=server.port, seconds=WARM_UP, cores=cores)
        before = server.cpu_seconds()
        load = send(pool, warm, pool.count, port=server.port, seconds=seconds, cores=cores)
        cpu = server.cpu_seconds() - before
    return Sample(
        name,
        number,
        requests_per_second=load.requests / load.seconds,
        p50_ms=load.p50_ms,
        p99_ms=load.p99_ms,
        cpu_us=cpu / load.requests * 1e6,
        core=cpu / load.seconds,
    )


def _machine(cores: int, scratch: Path) -> str:
    """Say what the numbers depend on."""
    with (scratch / "fsync").open("wb") as file:
        started = time.perf_counter()
        for _ in range(50):
            file.write(bytes(4096))
            file.flush()
            os.fsync(file.fileno())
        fsync = (time.perf_counter() - started) / 50
    packages = [f"{name} {version(name)}" for name in ("uvicorn", "uvloop", "httptools", "starlette")]
    placed = "server and wrk pinned apart" if cores > 1 else "shared by server and wrk"
    return (
        f"Python {platform.python_version()}, {', '.join(packages)}\n"
        f"cores: {cores}, {placed}; fsync in {scratch.parent}: {fsync * 1e3:.2f} ms"
    )


def _options() -> argparse.Namespace:
    # A round has to end before its signatures do, and signing and starting servers are part of it.
    longest = TOLERANCE // len(CONTENDERS) - WARM_UP - 10
    every = list(CONTENDERS)
    parser = argparse.ArgumentParser(prog="scripts/bench", description=__doc__)
    option = parser.add_argument
    option("--rounds", type=_within(1, 100), metavar="N", default=5, help="default: 5")
    option("--seconds", type=_within(1, longest), metavar="N", default=4, help="for each, default: 4")
    option("--only", type=_names, metavar="NAME,NAME", default=every, help=f"of {', '.join(every)}")
    option("--json", type=Path, metavar="FILE", help="write every sample there too")
    return parser.parse_args()


def _within(least: int, most: int) -> Callable[[str], int]:
    def number(value: str) -> int:
        if not value.isdecimal() or not least <= int(value) <= most:
            raise argparse.ArgumentTypeError(f"not a whole number from {least} to {most}: {value}")
        return int(value)

    return number


def _names(value: str) -> list[str]:
    names = value.split(",")
    unknown = [name for name in names if name not in CONTENDERS]
    if unknown or len(set(names)) < len(names):
        raise argparse.ArgumentTypeError(f"unknown or named twice: {', '.join(unknown or names)}")
    return names


if __name__ == "__main__":
    sys.exit(main())
