"""What goes in, `Delivery`, and what comes out, `Reply`."""

import functools
import hashlib
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from types import MappingProxyType

from airweave_webhooks.events import AnyEvent
from airweave_webhooks.signing import RawHeaders

_KEPT_HEADERS = {b"content-type": "content-type", b"user-agent": "user-agent"}

# Stripe, the strictest of those that take an idempotency key, allows 255 characters.
LONGEST_IDEMPOTENCY_KEY = 255


@dataclass(slots=True, eq=False)
class Delivery:
    """One verified message, as handlers see it. Treat it as read-only: all handlers share it."""

    id: str
    """The sender's message id (`svix-id`): the same over all attempts, a manual resend included."""
    sent_at: int
    """When the sender signed this attempt, in seconds since the epoch."""
    tenant: str | None
    """Whose secret signed it, on receivers that serve tenants."""
    _raw_headers: RawHeaders = field(repr=False)
    body: bytes = field(repr=False)
    """The signed bytes, untouched."""
    event: AnyEvent = field(repr=False)
    receiver: str
    """The receiver's name."""
    key: str
    """What the delivery is deduplicated by: the message id, or what the receiver's `key=` made of it."""
    attempt: int = 1
    """How often handlers were started for it, this time included."""
    generation: int = 0
    """How often an operator replayed it."""
    handler: str = ""
    """The id of the handler that runs now: they run one after another."""
    explain: Callable[[BaseException], BaseException] | None = field(default=None, repr=False)
    """For integrations: turns what a handler raised into what it means, such as a `Retry` for a lost connection."""

    @property
    def headers(self) -> Mapping[str, str]:
        """The headers worth keeping: content type and user agent. Never authorization, cookies or signatures."""
        return dict(self.kept_headers)

    @property
    def kept_headers(self) -> Mapping[str, str]:
        """The same, shared by all deliveries that have the same: for what is made of each of them."""
        return _as_texts(tuple([(name, value) for name, value in self._raw_headers if name in _KEPT_HEADERS]))

    @property
    def timestamp(self) -> datetime:
        """When the sender signed this attempt, as an aware datetime. The event has a timestamp of its own."""
        return datetime.fromtimestamp(self.sent_at, UTC)

    @property
    def idempotency_key(self) -> str:
        """Stable over all attempts, fresh for every replay: pass it to third parties that deduplicate.

        At most 255 characters. It names the delivery: when one handler makes two such calls, or two handlers make
        one each, add a word of your own.
        """
        text = ":".join([self.receiver, self.tenant or "", self.key, str(self.generation)])
        if len(text) <= LONGEST_IDEMPOTENCY_KEY and text.isascii() and text.isprintable():
            return text
        return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()


@functools.lru_cache(maxsize=256)
def _as_texts(pairs: tuple[tuple[bytes, bytes], ...]) -> Mapping[str, str]:
    return MappingProxyType({_KEPT_HEADERS[name]: value.decode("latin-1") for name, value in pairs})


def natural_key(delivery: Delivery) -> str:
    """Deduplicate by what the event is about, `Receiver(key=natural_key)`.

    The publisher makes a new message id for each of its own retries, so one logical event can arrive under two
    ids; this catches both. Events without an identity of their own fall back to the message id.
    """
    return delivery.event.natural_key or delivery.id


@dataclass(frozen=True, slots=True)
class Reply:
    """The answer to one request, ready for any framework.

    Attributes:
        status: HTTP status.
        outcome: one word, the only thing in the body that differs.
        retry_after: seconds, for the `Retry-After` header.
        body: compact JSON, `{"status":"<outcome>"}`; empty for a probe.
        raw_headers: names and values as ASGI wants them.
    """

    status: int
    outcome: str
    retry_after: int | None = None
    body: bytes = field(init=False, repr=False)
    raw_headers: tuple[tuple[bytes, bytes], ...] = field(init=False, repr=False)

    def __post_init__(self) -> None:
        body = json.dumps({"status": self.outcome}, separators=(",", ":")).encode()
        headers = [(b"content-type", b"application/json"), (b"content-length", b"%d" % len(body))]
        if self.retry_after is not None:
            headers.append((b"retry-after", b"%d" % self.retry_after))
        object.__setattr__(self, "body", body)
        object.__setattr__(self, "raw_headers", tuple(headers))

    @property
    def headers(self) -> dict[str, str]:
        """The headers as text."""
        return {name.decode(): value.decode() for name, value in self.raw_headers}


PROCESSED = Reply(200, "processed")
IGNORED = Reply(200, "ignored")
DUPLICATE = Reply(200, "duplicate")
ACCEPTED = Reply(200, "accepted")
REJECTED = Reply(200, "rejected")
CONFLICT = Reply(409, "conflict")
FAILED = Reply(500, "failed")
