"""Deliveries that change nothing, signed as the sender signs, and in the ways in which it never does."""

import json
import secrets
import time
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Final, Literal, NamedTuple

from airweave_webhooks.cli.doctor.endpoint import RawHeader
from airweave_webhooks.signing import Signer, SigningSecret, generate_secret, signature_headers

EVENT_TYPE: Final = "doctor.check"
"""Nobody handles it by name."""


class Harmless(NamedTuple):
    """A delivery that nobody handles by its name."""

    id: str
    body: bytes


def harmless(about: str = "sent by airweave-webhooks doctor") -> Harmless:
    """Make one, compact and with what an encoder could write otherwise: a letter beyond ASCII, a float, an order."""
    now = datetime.now(UTC).isoformat().replace("+00:00", "Z")
    content = {"event_type": EVENT_TYPE, "timestamp": now, "number": 1.0, "about": f"{about} \N{EN DASH} ignore it"}
    return Harmless(message_id(), json.dumps(content, separators=(",", ":"), ensure_ascii=False).encode())


def plain_spellings() -> dict[str, bytes]:
    """Bodies that an encoder leaves as they are, by what it does to others."""
    content = {"about": "sent by airweave-webhooks doctor", "event_type": EVENT_TYPE}
    return {
        "with spaces after commas and colons": json.dumps(content).encode(),
        "with other escapes, floats or order": json.dumps(content, separators=(",", ":")).encode(),
    }


def message_id() -> str:
    """Make an id like the sender's."""
    return f"msg_doctor{secrets.token_hex(10)}"


def stranger() -> SigningSecret:
    """A secret that no receiver knows."""
    return SigningSecret(generate_secret())


def signed(
    delivery: Harmless,
    signers: Sequence[Signer],
    *,
    later: float = 0.0,
    family: Literal["svix", "webhook"] = "svix",
) -> list[RawHeader]:
    """Make the signature headers.

    Args:
        delivery: what is signed.
        signers: each adds a signature, in this order.
        later: seconds from now, at which it is said to be signed.
        family: of the headers' names.
    """
    made = signature_headers(signers, delivery.id, int(time.time() + later), delivery.body, family)
    return [(name.encode(), value.encode()) for name, value in made.items()]


def envelope(
    id_: bytes, timestamp: bytes, signatures: bytes, family: Literal["svix", "webhook"] = "svix"
) -> list[RawHeader]:
    """Write the three headers with whatever values."""
    name = family.encode()
    return [(name + b"-id", id_), (name + b"-timestamp", timestamp), (name + b"-signature", signatures)]
