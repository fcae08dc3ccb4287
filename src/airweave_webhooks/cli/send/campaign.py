"""A run of `trigger` or `send`: many messages, their answers, and how it ends."""

import asyncio
from collections.abc import Callable, Iterable
from typing import cast

import anyio.lowlevel
import httpcore

from airweave_webhooks.cli.destinations import Destination
from airweave_webhooks.cli.progress import Progress
from airweave_webhooks.cli.send.expectations import How, Target
from airweave_webhooks.cli.send.reports import Report
from airweave_webhooks.cli.send.sending import Judged, Tally, send_messages
from airweave_webhooks.cli.words import redacted
from airweave_webhooks.testing import Message, Sender


def run(
    destination: Destination,
    messages: Callable[[Sender], Iterable[Message]],
    total: int,
    how: How,
    *,
    rate: float | None,
    as_json: bool,
) -> Tally:
    """Send, say what comes back, and end the command if something is wrong.

    Args:
        destination: where to, and what to sign with.
        messages: makes them, as they are needed.
        total: how many they are.
        how: each is sent.
        rate: messages a second; without it the next one waits for the answer to the one before.
        as_json: objects instead of text.

    Raises:
        ConfigurationError: a secret cannot be used.
        typer.Exit: it did not go as it must.
    """
    tally = Tally(total)
    target = Target(redacted(destination.url), destination.source)
    report = Report(tally, how, target, as_json=as_json)
    progress = Progress("sending")
    sender = Sender(destination.url, secrets=destination.secrets, schedule=())

    def told(judged: Judged) -> None:
        report.attempt(judged)
        progress.update(tally.messages + 1, total)

    async def send() -> None:
        # What the first request would import must not be measured as the receiver's time.
        _ = httpcore.AnyIOBackend
        await anyio.lowlevel.checkpoint()
        async with sender:
            await send_messages(sender, messages(sender), how, target, tally, rate=rate, told=told)

    interrupted = None
    with progress.shown(unless=as_json or report.in_lines):
        try:
            asyncio.run(send())
        except ExceptionGroup as errors:
            raise _first(errors) from None
        except KeyboardInterrupt:
            interrupted = f"interrupted after {tally.messages:,} of {total:,}"
    report.whole(sender.statistics)
    report.end(interrupted)
    return tally


def _first(error: Exception) -> Exception:
    """What went wrong in one of the tasks, such as that nobody reads what is said any more."""
    while isinstance(error, ExceptionGroup):
        error = cast("ExceptionGroup[Exception]", error).exceptions[0]
    return error
