"""Deliveries that change nothing, signed as the sender signs, and in the ways in which it never does."""

import json
import random
import string
import time
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Final, Literal, NamedTuple

from airweave_webhooks.cli.doctor.endpoint import RawHeader, Signer
from airweave_webhooks.signing import SigningSecret, generate_secret

EVENT_TYPE: Final = "doctor.check"
"""Nobody handles it by name."""
BASE62: Final = string.digits + string.ascii_letters


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
    return "msg_doctor" + "".join(random.choices(BASE62, k=21))  # noqa: S311 - no secret


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
    timestamp = b"%d" % int(time.time() + later)
    content = b"%b.%b.%b" % (delivery.id.encode(), timestamp, delivery.body)
    signatures = b" ".join(signer.sign(content) for signer in signers)
    return envelope(delivery.id.encode(), timestamp, signatures, family)


def envelope(
    id_: bytes, timestamp: bytes, signatures: bytes, family: Literal["svix", "webhook"] = "svix"
) -> list[RawHeader]:
    """Write the three headers with whatever values."""
    name = family.encode()
    return [(name + b"-id", id_), (name + b"-timestamp", timestamp), (name + b"-signature", signatures)]
