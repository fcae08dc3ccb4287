"""Whether the receiver's limits fit the sender's."""

from typing import Final

from airweave_webhooks.cli.doctor.accepting import SENDER_WAITS
from airweave_webhooks.cli.doctor.findings import Verdict, ok, problem, warning
from airweave_webhooks.cli.doctor.program import Program
from airweave_webhooks.cli.doctor.refusing import LARGEST

DAY: Final = 86_400.0
NARROW, WIDE = 60.0, 900.0
"""Seconds of tolerance that are unusual."""


async def limits(program: Program) -> list[Verdict]:
    """Time, size and tolerance."""
    receiver, found = program.receiver, list[Verdict]()
    within, largest, tolerance = receiver.mode.answer_within, receiver.body_limits.most_bytes, receiver.tolerance
    if within >= SENDER_WAITS:
        found.append(
            problem(
                f"answers may take {within:g} s (answer_within), and the sender gives up after {SENDER_WAITS:g} s",
                "leave answer_within at 12 s",
            )
        )
    if largest < LARGEST:
        found.append(
            problem(
                f"bodies of more than {largest:,} bytes get 413, and the sender's can have {LARGEST:,}",
                "leave BodyLimits(most_bytes) at 4 MiB",
            )
        )
    if not NARROW <= tolerance <= WIDE:
        found.append(
            warning(
                f"timestamps may be {tolerance:g} s off (tolerance)",
                "leave it at 300 s: less refuses clocks that are a little off, more lets old deliveries be sent again",
            )
        )
    if program.inbox is not None and program.inbox.keep_bodies_days * DAY > receiver.retention:
        found.append(
            warning(
                f"bodies are kept for {program.inbox.keep_bodies_days:g} days, and their records, which take them"
                f" along, for {receiver.retention / DAY:g}",
                "give the receiver retention_days= of at least as many",
            )
        )
    return found or [
        ok(f"answers within {within:g} s, bodies of up to {largest:,} bytes, timestamps within {tolerance:g} s")
    ]
