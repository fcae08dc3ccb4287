"""Whether a delivery that comes more than once is done once: again, at the same time, with another body."""

import asyncio
from collections.abc import Sequence
from typing import Final

from airweave_webhooks.cli.doctor.deliveries import Harmless, harmless, signed
from airweave_webhooks.cli.doctor.endpoint import Answer, Endpoint
from airweave_webhooks.cli.doctor.findings import Verdict, ok, problem, skipped, warning

COPIES: Final = 8
AGAIN: Final = 3
"""Times that a delivery is sent again: of several processes, not always the same one answers."""
CLEARLY: Final = 0.25
"""Seconds between two answers, from which their order is no accident of the network."""

_ANSWERED_FIRST: Final = frozenset({"processed", "ignored", "rejected"})
_HELD: Final = frozenset({"duplicate", "accepted"})
_ONCE: Final = (
    "remember message ids where all processes see them (of airweave-webhooks: store='sqlite:///path', postgresql:// or"
    " redis://, and not memory:), and claim an id before working on it, in one atomic step"
)
_LATER: Final = (
    "answer a copy with 409 while the first one is worked on, and with 2xx only when it is done or its body is stored:"
    " if the first one fails, nobody sends it again"
)


async def again(endpoint: Endpoint) -> Verdict:
    """The same one, after the first was answered."""
    delivery = harmless()
    first, *others = [await _send(endpoint, delivery) for _ in range(1 + AGAIN)]
    if any(not answer.accepted for answer in (first, *others)):
        wrong = next(answer for answer in (first, *others) if not answer.accepted)
        return problem(
            f"sent {1 + AGAIN} times, one after the other, a delivery got {wrong} once",
            "answer 200 to what is done already: anything else comes again for a day",
        )
    outcomes = {answer.outcome for answer in others}
    if outcomes <= _HELD:
        return ok(f"sent again {AGAIN} times, a delivery is recognised ({' and '.join(sorted(outcomes))})")
    if outcomes & _ANSWERED_FIRST:
        return problem(f"sent again, a delivery is done again: {', '.join(map(str, others))}", _ONCE)
    if all(_speaks_of_a_copy(answer) for answer in others):
        return ok(f"sent again {AGAIN} times, a delivery is recognised, by what its answer says")
    return warning(
        f"sent again, a delivery got the same answer ({first}): whether it was done again cannot be seen",
        _ONCE,
    )


async def at_once(endpoint: Endpoint) -> Verdict:
    """Several copies at the same time. What looks wrong is tried once more: a process can be stopped at any time."""
    verdict = await _copies(endpoint)
    return verdict if verdict.level != "problem" else await _copies(endpoint)


async def _copies(endpoint: Endpoint) -> Verdict:
    delivery = harmless()
    answers = await asyncio.gather(*(_send(endpoint, delivery) for _ in range(COPIES)))
    said = ", ".join(f"{number} x {what}" for what, number in _counted(answers))
    broken = [answer for answer in answers if not answer.accepted and answer.status not in {409, 425, 429, 503}]
    if broken:
        return problem(f"of {COPIES} copies at once one got {broken[0]} ({said})", _LATER)
    accepted = [answer for answer in answers if answer.accepted]
    if not accepted:
        return problem(f"of {COPIES} copies at once none was accepted ({said})", _LATER)
    first = [answer for answer in accepted if answer.outcome in _ANSWERED_FIRST]
    if len(first) > 1:
        return problem(f"of {COPIES} copies at once {len(first)} were done ({said})", _ONCE)
    last = (first or [max(accepted, key=lambda answer: answer.ended)])[0]
    early = [answer for answer in accepted if answer.outcome != "accepted" and answer.ended < last.ended - CLEARLY]
    if early and len(early) == len(accepted) - 1:
        seconds = last.ended - min(answer.ended for answer in early)
        return problem(
            f"of {COPIES} copies at once {len(early)} were accepted up to {seconds:.1f} s before the one that was"
            f" worked on ({said})",
            _LATER,
        )
    if first or all(answer.outcome in _HELD for answer in accepted):
        return ok(f"of {COPIES} copies at once one is done ({said})")
    return skipped(
        f"of {COPIES} copies at once {len(accepted)} were accepted ({said}); how many were done cannot be seen",
        f"count the effects yourself; {_ONCE}",
    )


async def conflict(endpoint: Endpoint) -> Verdict:
    """The same id with another body, which the sender never sends."""
    delivery = harmless()
    other = Harmless(delivery.id, harmless("another body under the same id").body)
    await _send(endpoint, delivery)
    answer = await _send(endpoint, other)
    if answer.status == 409:
        return ok(f"another body under the same id is refused ({answer})")
    if answer.refused:
        return ok(f"another body under the same id is refused ({answer}; 409 would say why)")
    if answer.accepted:
        return warning(
            f"another body under the same id is accepted ({answer}): such a mistake of the sender would go unseen",
            "keep a digest of the body with the id, and answer 409 if it is another one",
        )
    return problem(f"another body under the same id got {answer}", "answer 409 to a body that contradicts its id")


async def _send(endpoint: Endpoint, delivery: Harmless) -> Answer:
    return await endpoint.post(signed(delivery, endpoint.signers), delivery.body)


def _speaks_of_a_copy(answer: Answer) -> bool:
    text = answer.text.lower()
    return "duplicate" in text or "already" in text


def _counted(answers: Sequence[Answer]) -> list[tuple[str, int]]:
    said = [str(answer) for answer in answers]
    return sorted(((what, said.count(what)) for what in set(said)), key=lambda one: (one[1], one[0]))
