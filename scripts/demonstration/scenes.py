"""What is sent, which answer is expected, and what the answer means."""

import asyncio
import json
import time
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Final

from airweave_webhooks.events import EVENT_TYPES
from airweave_webhooks.signing import generate_secret
from airweave_webhooks.testing import Attempt, Sender
from airweave_webhooks.testing.payloads import LEGACY, payload, payload_names
from demonstration.app import INBOX_PATH, LARGE, LARGE_TAKES, PATH, SLOW_SOURCE, UNLUCKY
from demonstration.server import Server

# Seconds that a worker gets.
DONE_WITHIN: Final = 20.0
# Five seconds of the sender's schedule become half a second.
HURRY: Final = 0.1

# The sample payloads that the demo's receiver has a handler for, by that handler.
HANDLED: Final = {
    "sync.completed": "refresh",
    "sync.failed": "page",
    "source_connection.created": "connect",
    "source_connection.auth_completed": "connect",
    "source_connection.deleted": "connect",
    "collection.created": "index",
    "collection.updated": "index",
    "collection.deleted": "index",
    "organization.member_added": "welcome",
    LEGACY: "refresh",
}


@dataclass(frozen=True, slots=True)
class Row:
    """One request and its answer."""

    sent: str
    answer: str
    meaning: str
    seconds: float
    problem: str | None = None
    """What is not as it should be."""


@dataclass(slots=True)
class Section:
    title: str
    rows: list[Row] = field(default_factory=list[Row])

    def add(self, sent: str, attempt: Attempt, expected: str, meaning: str) -> None:
        if attempt.status is None:
            answer = f"none: {attempt.error}"
        else:
            answer = f"{attempt.status} {attempt.outcome or ''}".strip()
        problem = None if answer == expected else f"expected {expected}"
        self.rows.append(Row(sent, answer, meaning, attempt.seconds, problem))

    def add_handled(self, sent: str, attempt: Attempt, handler: str, ran: list[str]) -> None:
        """Add what `handler`, and no other, should have handled by now; `ran` are those that did."""
        self.add(sent, attempt, "200 processed", f"{handler}() ran")
        if ran != [handler] and self.rows[-1].problem is None:
            problem = f"expected {handler}() to run once, and what ran is {ran}"
            self.rows[-1] = replace(self.rows[-1], problem=problem)


async def play(server: Server, secret: str) -> list[Section]:
    """Send everything, one thing after the other."""
    async with Sender(server.url, secrets=secret, time_scale=HURRY) as sender:
        return [
            await _subscription(sender),
            await _every_type(sender, server),
            await _again(sender, server),
            await _failing(sender, server),
            await _inbox(server, secret),
            await _signatures(sender, server.url, secret),
        ]


async def _subscription(sender: Sender) -> Section:
    section = Section("A new subscription is probed")
    started = time.perf_counter()
    status = await sender.probe()
    seconds = time.perf_counter() - started
    problem = None if status == 200 else "expected 200"
    section.rows.append(Row("HEAD, unsigned", str(status), "the URL answers", seconds, problem))
    return section


async def _every_type(sender: Sender, server: Server) -> Section:
    section = Section("Every event type, signed, sent once")
    names = [*EVENT_TYPES, *(name for name in payload_names() if name not in EVENT_TYPES)]
    for name in names:
        message = sender.message(payload(name))
        attempt = await sender.attempt(message)
        sent = f"{name.removeprefix('legacy.')}, older shape" if name == LEGACY else name
        if name in HANDLED:
            section.add_handled(sent, attempt, HANDLED[name], server.handlers(message.id))
        else:
            section.add(sent, attempt, "200 ignored", "no handler: not kept")
    unknown = sender.message({"event_type": "sync.paused", "timestamp": "2026-11-20T09:00:00Z", "reason": "quota"})
    attempt = await sender.attempt(unknown)
    section.add_handled("sync.paused, not known yet", attempt, "notice", server.handlers(unknown.id))
    return section


async def _again(sender: Sender, server: Server) -> Section:
    section = Section("The same message again")
    message = sender.message(payload("sync.completed"))
    section.add_handled("sync.completed", await sender.attempt(message), "refresh", server.handlers(message.id))
    section.add("sent again", await sender.resend(message.id), "200 duplicate", "not run a second time")
    large = sender.message(_changed("collection.updated", collection_readable_id=LARGE))
    first, second = sorted(await sender.concurrent(large, 2), key=lambda attempt: attempt.status or 0)
    section.add_handled("collection.updated, two at once", first, "index", server.handlers(large.id))
    section.add("the other of the two", second, "409 in_progress", "in work: come again")
    section.add("which comes again", await sender.resend(large.id), "200 duplicate", "not run a second time")
    other = sender.message(_changed("sync.completed", collection_name="Another"), id=message.id)
    attempt = await sender.attempt(other)
    section.add("that id with another body", attempt, "409 conflict", "signed, but another message: not processed")
    return section


async def _failing(sender: Sender, server: Server) -> Section:
    section = Section("Handlers that fail, ask for time, or reject")
    unlucky = sender.message(_changed("sync.failed", collection_readable_id=UNLUCKY))
    failed, *rest = (await sender.deliver(unlucky)).attempts
    section.add("sync.failed, an error", failed, "500 failed", "the sender tries again")
    for attempt in rest:
        section.add_handled("retried by the sender", attempt, "page", server.handlers(unlucky.id))
    slow = sender.message(_changed("source_connection.created", source_type=SLOW_SOURCE))
    attempt = await sender.attempt(slow)
    wait = f"come again after {attempt.retry_after or 0:g} s"
    section.add("source_connection.created, Retry", attempt, "503 retry", wait)
    nobody = sender.message(_changed("organization.member_added", affected_user_emails=[]))
    attempt = await sender.attempt(nobody)
    section.add("organization.member_added, Reject", attempt, "200 rejected", "never sent again")
    return section


async def _inbox(server: Server, secret: str) -> Section:
    """A second receiver on the same store, which answers before it works."""
    section = Section("Inbox mode: acknowledged when it is stored, worked on later")
    url = server.url.replace(PATH, INBOX_PATH)
    async with Sender(url, secrets=secret, time_scale=HURRY) as sender:
        large = sender.message(_changed("collection.updated", collection_readable_id=LARGE))
        attempt = await sender.attempt(large)
        section.add(
            f"collection.updated, {LARGE_TAKES:g} s of work", attempt, "200 accepted", "answered before it is done"
        )
        section.add(
            "sent again meanwhile", await sender.resend(large.id), "200 accepted", "held, and not started twice"
        )
        unlucky = sender.message(_changed("sync.failed", collection_readable_id=UNLUCKY))
        attempt = await sender.attempt(unlucky)
        section.add("sync.failed, an error", attempt, "200 accepted", "the worker tries again, not the sender")
        for sent, message, handler in (
            ("sync.failed", unlucky, "page_later"),
            ("collection.updated", large, "index_later"),
        ):
            await _until_done(server, message.id)
            again = await sender.resend(message.id)
            section.add(f"{sent}, when it is done", again, "200 duplicate", f"{handler}() has run")
            ran = server.handlers(message.id)
            if ran != [handler] and section.rows[-1].problem is None:
                section.rows[-1] = replace(section.rows[-1], problem=f"expected {handler}() to run once: {ran}")
    return section


async def _until_done(server: Server, message_id: str) -> None:
    """Wait until a handler has done it, and a moment for the record."""
    give_up = time.monotonic() + DONE_WITHIN
    while not server.handlers(message_id) and time.monotonic() < give_up:
        await asyncio.sleep(0.05)
    await asyncio.sleep(0.2)


async def _signatures(sender: Sender, url: str, secret: str) -> Section:
    section = Section("Signatures")
    body = payload("sync.completed")

    async def send(sent: str, expected: str, meaning: str, by: Sender = sender, **options: Any) -> None:
        section.add(sent, await by.attempt(by.message(body), **options), expected, meaning)

    async with Sender(url, secrets=secret, family="webhook") as whitelabelled:
        await send("webhook-* headers", "200 processed", "as whitelabelled servers sign", whitelabelled)
    async with Sender(url, secrets=[generate_secret(), secret]) as rotating:
        await send("two signatures", "200 processed", "during a rotation; one of them is ours", rotating)
    tampered = body.replace(b'"entities_inserted":42', b'"entities_inserted":43')
    await send("tampered with", "401 unauthorized", "the body is not what was signed", body=tampered)
    rewritten = json.dumps(json.loads(body), indent=2).encode()
    await send("re-indented by a proxy", "401 unauthorized", "not the signed bytes: the log says why", body=rewritten)
    async with Sender(url, secrets=generate_secret()) as stranger:
        await send("signed by a stranger", "401 unauthorized", "no secret of ours", stranger)
    hour_ago = int(time.time()) - 3600
    await send("an hour old", "401 unauthorized", "stale, perhaps a replay", timestamp=hour_ago)
    await send("without a signature", "400 malformed", "nothing to verify", headers={"svix-signature": ""})
    return section


def _changed(name: str, **fields: object) -> Mapping[str, object]:
    """The sample payload with other values, as the sender would have written it."""
    return {**json.loads(payload(name)), **fields}
