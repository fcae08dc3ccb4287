"""What can happen to deliveries on their way, as requests to make."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final

from airweave_webhooks.testing.attempts import Message

TEST_SECRET: Final = "whsec_dGVzdHMgc2lnbiB3aXRoIHRoaXMgc2VjcmV0IQ=="  # noqa: S105 - it protects nothing
NEXT_SECRET: Final = "whsec_dGhpcyBvbmUgcmVwbGFjZXMgaXQgYWZ0ZXIgYSByb3RhdGlvbg=="  # noqa: S105 - likewise

STALE: Final = 3600.0
"""Seconds since a stale delivery was signed, unless the receiver tolerates more than half of that."""


@dataclass(frozen=True, slots=True)
class Request:
    """One request, as a sender makes it, or as somebody else does."""

    message: Message
    body: bytes | None = None
    """Sent instead of the body that is signed."""
    age: float = 0.0
    """Seconds since it was signed."""
    secrets: tuple[str, ...] = (TEST_SECRET,)
    """What it is signed with, the newest first."""


@dataclass(frozen=True, slots=True)
class Scenario:
    """Requests, one after the other or all at once."""

    requests: Sequence[Request]
    at_once: bool = False


def once(message: Message) -> Scenario:
    """As it should be."""
    return Scenario([Request(message)])


def duplicate(message: Message) -> Scenario:
    """Again after the first was answered, as when its answer was lost."""
    return Scenario([Request(message)] * 2)


def concurrent(message: Message, copies: int) -> Scenario:
    """Many at once, as when a retry meets an attempt that is still under way."""
    return Scenario([Request(message)] * copies, at_once=True)


def reorder(messages: Iterable[Message]) -> Scenario:
    """The last one first."""
    return Scenario([Request(message) for message in messages][::-1])


def tampered(message: Message) -> Scenario:
    """Changed after it was signed."""
    return Scenario([Request(message, body=message.body + b"tampered")])


def stale(message: Message, tolerance: float) -> Scenario:
    """Signed an hour ago; or earlier, if the receiver tolerates that."""
    return Scenario([Request(message, age=max(STALE, 2 * tolerance))])


def rotated_secret(message: Message) -> Scenario:
    """Signed with a new secret and with the one before, as during a rotation."""
    return Scenario([Request(message, secrets=(NEXT_SECRET, TEST_SECRET))])
