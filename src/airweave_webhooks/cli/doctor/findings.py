"""What the doctor finds, and how it goes through its checks."""

from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Final, Generic, Literal, NamedTuple, TypeAlias, TypeVar

P = TypeVar("P")
"""What is examined."""

Level: TypeAlias = Literal["ok", "warning", "problem", "skipped"]

LEVELS: Final[Sequence[Level]] = ("ok", "warning", "problem", "skipped")


class Verdict(NamedTuple):
    """What a check comes to."""

    level: Level
    seen: str
    """One sentence."""
    remedy: str = ""
    """What to do about it; empty where it is ok."""
    details: Mapping[str, str] = {}
    """A table of what was seen."""


class Finding(NamedTuple):
    """A verdict, and on what."""

    group: str
    name: str
    verdict: Verdict


@dataclass(frozen=True, slots=True)
class Check(Generic[P]):
    """One thing to look at.

    Args:
        group: the heading that it stands under.
        name: what it is called, for people and scripts.
        look: looks at it.
        after: checks that must have found nothing wrong, or this one would mean nothing.
    """

    group: str
    name: str
    look: Callable[[P], Awaitable[Verdict | list[Verdict]]]
    after: tuple[str, ...] = ()


def ok(seen: str, details: Mapping[str, str] | None = None) -> Verdict:
    """Say what is as it should be."""
    return Verdict("ok", seen, details=details or {})


def warning(seen: str, remedy: str) -> Verdict:
    """Say what works, and will not always."""
    return Verdict("warning", seen, remedy)


def problem(seen: str, remedy: str) -> Verdict:
    """Say what is wrong."""
    return Verdict("problem", seen, remedy)


def skipped(seen: str, remedy: str) -> Verdict:
    """Say why something could not be looked at."""
    return Verdict("skipped", seen, remedy)


async def examine(
    checks: Sequence[Check[P]], patient: P, showing: Callable[[str], AbstractContextManager[object]]
) -> AsyncGenerator[Finding]:
    """Go through checks, one after the other.

    Args:
        checks: in an order in which each stands behind those that it needs.
        patient: what is examined.
        showing: tells people which check runs, inside of a block.
    """
    levels: dict[str, Verdict] = {}
    for check in checks:
        barrier = next((name for name in check.after if levels[name].level in {"problem", "skipped"}), None)
        if barrier is None:
            with showing(check.name):
                found = await _look(check, patient)
        else:
            found = _barred(barrier, levels[barrier])
        verdicts = found if isinstance(found, list) else [found]
        levels[check.name] = max(
            verdicts, key=lambda verdict: ("ok", "warning", "skipped", "problem").index(verdict.level)
        )
        for verdict in verdicts:
            yield Finding(check.group, check.name, verdict)


async def _look(check: Check[P], patient: P) -> Verdict | list[Verdict]:
    try:
        return await check.look(patient)
    except Exception as error:  # noqa: BLE001 - it can be the user's program that raises, and the others count
        return problem(
            f"looking at it raised {type(error).__name__}: {error}",
            "see what of the program raises it: a store, a lookup, a handler's name; if nothing does, report it to us",
        )


def _barred(name: str, verdict: Verdict) -> Verdict:
    if verdict.level == "skipped":
        return verdict
    return skipped(f"means nothing before {name!r} is in order", f"do first what {name!r} says")
