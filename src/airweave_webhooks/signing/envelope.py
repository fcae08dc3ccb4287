"""The three signature headers, read as one consistent set before a byte of the body is."""

from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple, TypeAlias, cast

from airweave_webhooks.errors import MalformedRequest

# Names in lower case and values, as ASGI has them.
RawHeaders: TypeAlias = Iterable[tuple[bytes, bytes]]
# What other callers have: a mapping (which shows no repetition), or pairs of text or bytes.
Headers: TypeAlias = Mapping[str, str] | Iterable[tuple[str, str]] | RawHeaders

LONGEST_ID = 256

# Svix's names and the Standard Webhooks names. A sender uses one family, never both.
_SVIX = (b"svix-id", b"svix-timestamp", b"svix-signature")
_STANDARD = (b"webhook-id", b"webhook-timestamp", b"webhook-signature")
_SIGNED = frozenset(_SVIX + _STANDARD)


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


def raw_headers(headers: Headers) -> list[tuple[bytes, bytes]]:
    """Bring headers of any form into the one that ASGI has."""
    pairs = cast("Mapping[str, str]", headers).items() if isinstance(headers, Mapping) else headers
    return [(_encode(name).lower(), _encode(value)) for name, value in pairs]


def read_envelope(headers: RawHeaders) -> Envelope:
    """Read the signature headers of either family; everything else is passed over.

    Raises:
        MalformedRequest: a header is missing, repeated, of the other family, empty or unreadable.
    """
    signed = [(name, value) for name, value in headers if name in _SIGNED]
    found = dict(signed)
    if len(found) < len(signed):
        raise MalformedRequest(f"the header {_repeated(signed).decode()} is repeated")
    family = _SVIX if b"svix-id" in found else _STANDARD
    message_id, timestamp, signatures = map(found.get, family)
    if not message_id or not timestamp or not signatures or len(found) > len(family):
        raise MalformedRequest(_what_is_wrong(found))
    # Not beyond ASCII: what a store or a log makes of the id must be what the sender signed.
    if len(message_id) > LONGEST_ID or not message_id.isascii() or not (text := message_id.decode()).isprintable():
        raise MalformedRequest(f"the message id is not 1 to {LONGEST_ID} printable ASCII characters")
    # Twelve digits reach the year 33658; `int()` alone would take signs, spaces, underscores and other digits.
    if not timestamp.isdigit() or len(timestamp) > 12:
        raise MalformedRequest("the timestamp is not a plain decimal number of seconds")
    return Envelope(text, int(timestamp), b"%b.%b." % (message_id, timestamp), signatures)


def _encode(text: str | bytes) -> bytes:
    """Header text to bytes; what HTTP cannot carry cannot match anything that we look for."""
    return text if isinstance(text, bytes) else text.encode("latin-1", "replace")


def _repeated(pairs: Sequence[tuple[bytes, bytes]]) -> bytes:
    names = [name for name, _ in pairs]
    return next(name for name in names if names.count(name) > 1)


def _what_is_wrong(found: Mapping[bytes, bytes]) -> str:
    if not found:
        return (
            "no signature headers (svix-id, svix-timestamp, svix-signature): not sent by Airweave,"
            " or a proxy removed them"
        )
    families = [family for family in (_SVIX, _STANDARD) if any(name in found for name in family)]
    if len(families) > 1:
        return "both svix-* and webhook-* signature headers: a sender uses one family"
    lacking = b", ".join(name for name in families[0] if not found.get(name))
    return f"missing or empty: {lacking.decode()}"
