"""The three signature headers, read as one consistent set before a byte of the body is."""

from collections.abc import Iterable, Mapping
from typing import NamedTuple, TypeAlias

from airweave_webhooks.errors import MalformedRequest

# Header names and values as a mapping (no repetition) or as pairs, of `str` or, as ASGI has them, `bytes`.
Headers: TypeAlias = Mapping[str, str] | Iterable[tuple[str, str]] | Iterable[tuple[bytes, bytes]]

LONGEST_ID = 256

# Svix's name and the Standard Webhooks name of each part. A sender uses one family, never both.
_PARTS = {
    b"svix-id": (0, 0),
    b"svix-timestamp": (0, 1),
    b"svix-signature": (0, 2),
    b"webhook-id": (1, 0),
    b"webhook-timestamp": (1, 1),
    b"webhook-signature": (1, 2),
}
_FAMILIES = ("svix", "webhook")
_NAMES = ("id", "timestamp", "signature")


class Envelope(NamedTuple):
    """What the signature headers say. Nothing in it is to be believed before `check_signature`."""

    id: str
    """The message id, the same over all attempts (`svix-id`)."""
    timestamp: int
    """When this attempt was signed, in whole seconds since the epoch."""
    signed_prefix: bytes
    """What stands before the body in the signed bytes: `id.timestamp.`"""
    signatures: bytes
    """The signature list as it came: `v1,<base64> v1,<base64> v1a,<base64>`."""


def read_envelope(headers: Headers) -> Envelope:
    """Read the signature headers of either family; everything else is passed over.

    Raises:
        MalformedRequest: a header is missing, repeated, of the other family, empty or unreadable.
    """
    found: list[bytes | None] = [None, None, None]
    family = -1
    for name, value in headers.items() if isinstance(headers, Mapping) else headers:
        raw_name = name if isinstance(name, bytes) else _encode(name)
        part = _PARTS.get(raw_name) or _PARTS.get(raw_name.lower())
        if part is None:
            continue
        if family not in {-1, part[0]}:
            raise MalformedRequest("both svix-* and webhook-* signature headers: a sender uses one family")
        family, place = part
        if found[place] is not None:
            raise MalformedRequest(f"the header {_FAMILIES[family]}-{_NAMES[place]} is repeated")
        found[place] = value if isinstance(value, bytes) else _encode(value)

    message_id, timestamp, signatures = found
    if not message_id or not timestamp or not signatures:
        raise MalformedRequest(_what_is_missing(family, found))
    if len(message_id) > LONGEST_ID or not message_id.isascii() or not message_id.decode().isprintable():
        raise MalformedRequest(f"the message id is not 1 to {LONGEST_ID} printable ASCII characters")
    # Twelve digits reach the year 33658; `int()` alone would take signs, spaces, underscores and other digits.
    if not timestamp.isdigit() or len(timestamp) > 12:
        raise MalformedRequest("the timestamp is not a plain decimal number of seconds")
    return Envelope(message_id.decode(), int(timestamp), b"%b.%b." % (message_id, timestamp), signatures)


def _encode(text: str) -> bytes:
    """Header text to bytes; what HTTP cannot carry cannot match anything that we look for."""
    return text.encode("latin-1", "replace")


def _what_is_missing(family: int, found: list[bytes | None]) -> str:
    if family == -1:
        return (
            "no signature headers (svix-id, svix-timestamp, svix-signature): not sent by Airweave,"
            " or a proxy removed them"
        )
    lacking = [f"{_FAMILIES[family]}-{name}" for name, value in zip(_NAMES, found, strict=True) if not value]
    return f"missing or empty: {', '.join(lacking)}"
