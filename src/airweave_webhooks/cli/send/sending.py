"""Sending messages once each, in order or on a schedule, and counting what comes back."""

import asyncio
import time
from collections import Counter
from collections.abc import Callable, Iterable
from typing import Final, NamedTuple

from airweave_webhooks.cli.send.expectations import How, Target, problems
from airweave_webhooks.cli.send.payloads import event_type_of
from airweave_webhooks.testing import Attempt, Message, Sender

AGED: Final = 3600
"""Seconds by which a stale signature is too old."""
MOST_IN_FLIGHT: Final = 64
"""Messages on their way at once where a rate is asked for."""


class Judged(NamedTuple):
    """An attempt, and what is wrong with its answer."""

    attempt: Attempt
    event_type: str
    problem: str | None


class Tally:
    """What was sent, and what came of it.

    Args:
        total: messages to send.
    """

    def __init__(self, total: int) -> None:
        self.total: int = total
        self.messages: int = 0
        """Sent, and answered or given up."""
        self.answers: Counter[tuple[int | None, str]] = Counter()
        """By status and the answer's word; without an answer by why there is none."""
        self.problems: Counter[str] = Counter()
        self.wrong: Counter[int | None] = Counter()
        """Attempts whose answer was not as it must be, by status."""
        self.seconds: float = 0.0
        """From the first request to the last answer."""

    @property
    def reached(self) -> bool:
        """Whether anything has answered."""
        return any(status is not None for status, _ in self.answers)

    def count(self, judged: Judged) -> None:
        """Add an attempt."""
        attempt, _, problem = judged
        self.answers[attempt.status, attempt.outcome or attempt.error or ""] += 1
        if problem is not None:
            self.problems[problem] += 1
            self.wrong[attempt.status] += 1


async def send_messages(
    sender: Sender,
    messages: Iterable[Message],
    how: How,
    target: Target,
    tally: Tally,
    *,
    rate: float | None,
    told: Callable[[Judged], None],
) -> None:
    """Send each message: the next one when the one before is answered, or so many a second.

    Ends early when the first one shows that there is nobody. What is done is in `tally`, also when this is cancelled.

    Args:
        sender: signs and sends.
        messages: in their order; are made when they are needed.
        how: each is sent.
        target: for what is said about answers.
        tally: counts.
        rate: messages a second.
        told: is told of each attempt.
    """
    loop = asyncio.get_running_loop()
    began = loop.time()

    async def send(message: Message) -> None:
        attempts = await _attempts(sender, message, how)
        for attempt, problem in zip(attempts, problems(attempts, how, target), strict=True):
            judged = Judged(attempt, event_type_of(message.body), problem)
            tally.count(judged)
            tally.seconds = loop.time() - began
            told(judged)
        tally.messages += 1

    if rate is None:
        for message in messages:
            await send(message)
            if not tally.reached:
                return
        return
    slots = asyncio.Semaphore(MOST_IN_FLIGHT)

    async def send_and_free(message: Message) -> None:
        try:
            await send(message)
        finally:
            slots.release()

    async with asyncio.TaskGroup() as group:
        for place, message in enumerate(messages):
            await asyncio.sleep(began + place / rate - loop.time())
            await slots.acquire()
            if tally.messages and not tally.reached:
                slots.release()
                return
            group.create_task(send_and_free(message))


async def _attempts(sender: Sender, message: Message, how: How) -> list[Attempt]:
    body = tampered(message.body) if how.tamper else None
    timestamp = int(time.time()) - AGED if how.stale else None
    if how.concurrent > 1:
        async with asyncio.TaskGroup() as group:
            tasks = [
                group.create_task(sender.attempt(message, body=body, timestamp=timestamp))
                for _ in range(how.concurrent)
            ]
        return [task.result() for task in tasks]
    return [await sender.attempt(message, body=body, timestamp=timestamp) for _ in range(how.attempts)]


def tampered(body: bytes) -> bytes:
    """Change a body as a forger would: it stays what it is, with a field more."""
    if body.startswith(b"{") and body.endswith(b"}"):
        return body[:-1].rstrip(b",") + (b"," if len(body) > 2 else b"") + b'"tampered":true}'
    return body + b" tampered"
