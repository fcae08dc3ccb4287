"""What a run says: each contender's numbers, and the ratios that are promised."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from statistics import median
from typing import Final


@dataclass(frozen=True, slots=True)
class Sample:
    """One contender in one round."""

    contender: str
    round: int
    requests_per_second: float
    p50_ms: float
    p99_ms: float
    cpu_us: float  # the server's, per request
    core: float  # the share of its core the server got; well below 1 it waited, or others were in the way


@dataclass(frozen=True, slots=True)
class Promise:
    """Two contenders set against each other, round by round."""

    title: str
    ours: str
    theirs: str
    at_least: float
    aim: float
    compare: Callable[[Sample, Sample], float]
    unit: str = ""
    less_is_better: bool = False

    def verdict(self, value: float) -> str:
        sign = -1 if self.less_is_better else 1
        if sign * value >= sign * self.aim:
            return "pass, aim met"
        return "pass" if sign * value >= sign * self.at_least else "FAIL"


@dataclass(frozen=True, slots=True)
class Outcome:
    """A promise and what came of it, over the rounds."""

    promise: Promise
    median: float
    least: float
    most: float
    by_cpu: float  # the median ratio in CPU time instead of requests: what waiting does not change
    disturbed: bool

    @property
    def verdict(self) -> str:
        return self.promise.verdict(self.median) + (", disturbed" if self.disturbed else "")

    def as_json(self) -> dict[str, str | float]:
        return {
            "title": self.promise.title,
            "median": self.median,
            "min": self.least,
            "max": self.most,
            "by_cpu": self.by_cpu,
            "at_least": self.promise.at_least,
            "aim": self.promise.aim,
            "verdict": self.verdict,
        }


def _rate(ours: Sample, theirs: Sample) -> float:
    return ours.requests_per_second / theirs.requests_per_second


def _extra_cpu(ours: Sample, theirs: Sample) -> float:
    return ours.cpu_us - theirs.cpu_us


RATIOS: Final = (
    Promise("memory / bare ASGI app", "memory", "bare", 0.55, 0.70, _rate),
    Promise("memory / hand-written", "memory", "handwritten", 2.6, 3.8, _rate),
    Promise("memory-route / starlette", "memory-route", "starlette", 0.75, 0.90, _rate),
    Promise("sqlite / starlette", "sqlite", "starlette", 0.30, 0.45, _rate),
    Promise("inbox / starlette", "inbox", "starlette", 0.30, 0.45, _rate),
    Promise("inbox-worker / starlette", "inbox-worker", "starlette", 0.30, 0.45, _rate),
    Promise("postgres / starlette", "postgres", "starlette", 0.30, 0.45, _rate),
    Promise("redis / starlette", "redis", "starlette", 0.30, 0.45, _rate),
    Promise("postgres / hand-written", "postgres", "handwritten-asyncpg", 2.5, 2.5, _rate),
    Promise("redis / hand-written", "redis", "handwritten-redis", 2.5, 2.5, _rate),
    Promise("memory - bare, CPU", "memory", "bare", 12, 7, _extra_cpu, unit=" µs", less_is_better=True),
    # Nothing is promised of these: they say what no receiver can avoid.
    Promise("floor - bare, CPU", "floor", "bare", 12, 7, _extra_cpu, unit=" µs", less_is_better=True),
    Promise("floor-inbox / starlette", "floor-inbox", "starlette", 0.30, 0.45, _rate),
    Promise("floor-postgres / starlette", "floor-postgres", "starlette", 0.30, 0.45, _rate),
    Promise("floor-redis / starlette", "floor-redis", "starlette", 0.30, 0.45, _rate),
)
UNDISTURBED: Final = 0.9  # of its core, that a server got which had no reason to wait
NOTE: Final = (
    "A verdict is on the median. Disturbed: something else used the server's core, so run it again on a quiet\n"
    "machine; until then the ratio by CPU says more, except for what waits for a disk."
)


def outcomes(samples: Sequence[Sample]) -> list[Outcome]:
    """Compare within each round, never across: what slows a whole round then cancels out."""
    by_place = {(sample.contender, sample.round): sample for sample in samples}
    found = []
    for promise in RATIOS:
        pairs = [
            (sample, by_place[promise.theirs, sample.round])
            for sample in samples
            if sample.contender == promise.ours and (promise.theirs, sample.round) in by_place
        ]
        if pairs:
            values = [promise.compare(ours, theirs) for ours, theirs in pairs]
            by_cpu = median(theirs.cpu_us / ours.cpu_us for ours, theirs in pairs)
            # What we are compared with never waits: without its whole core, something else was on it.
            disturbed = median(theirs.core for _, theirs in pairs) < UNDISTURBED
            found.append(Outcome(promise, median(values), min(values), max(values), by_cpu, disturbed))
    return found


def text(samples: Sequence[Sample]) -> str:
    """Lay the whole report out as aligned text."""
    names = list(dict.fromkeys(sample.contender for sample in samples))
    numbers: list[tuple[str, ...]] = [("contender", "req/s", "min", "max", "p50 ms", "p99 ms", "CPU µs", "least core")]
    for name in names:
        own = [sample for sample in samples if sample.contender == name]
        rates = [sample.requests_per_second for sample in own]
        numbers.append(
            (
                name,
                f"{median(rates):,.0f}",
                f"{min(rates):,.0f}",
                f"{max(rates):,.0f}",
                f"{median(sample.p50_ms for sample in own):.2f}",
                f"{median(sample.p99_ms for sample in own):.2f}",
                f"{median(sample.cpu_us for sample in own):.1f}",
                f"{min(sample.core for sample in own):.0%}",
            )
        )
    ratios: list[tuple[str, ...]] = [("within a round", "median", "min", "max", "by CPU", "at least", "aim", "")]
    for outcome in outcomes(samples):
        promise = outcome.promise
        middle, least, most, at_least, aim = (
            f"{value:.2f}{promise.unit}"
            for value in (outcome.median, outcome.least, outcome.most, promise.at_least, promise.aim)
        )
        by_cpu = "" if promise.compare is _extra_cpu else f"{outcome.by_cpu:.2f}"
        ratios.append((promise.title, middle, least, most, by_cpu, at_least, aim, outcome.verdict))
    tables = [_aligned(numbers), _aligned(ratios)] if len(ratios) > 1 else [_aligned(numbers)]
    return "\n\n".join([*tables, NOTE])


def _aligned(rows: Iterable[Sequence[str]]) -> str:
    rows = list(rows)
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return "\n".join(
        "  ".join([row[0].ljust(widths[0]), *map(str.rjust, row[1:], widths[1:])]).rstrip() for row in rows
    )
