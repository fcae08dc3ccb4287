"""What a sender puts into the three headers."""

from collections.abc import Sequence
from typing import Literal, Protocol, TypeAlias

from airweave_webhooks.signing.keys import PrivateKey, SigningSecret

Family: TypeAlias = Literal["svix", "webhook"]


class Signer(Protocol):
    """What signs."""

    def sign(self, content: bytes) -> bytes:
        """Return the token that signs `content`: `<version>,<base64>`."""
        ...


def parse_signer(text: str) -> Signer:
    """Read `whsec_…` or `whsk_…`; white space around it is ignored.

    Raises:
        SecretError: what is wrong with it.
        ConfigurationError: an ed25519 key without the `ed25519` extra.
    """
    text = text.strip()
    return PrivateKey(text) if text.startswith("whsk_") else SigningSecret(text)


def signature_headers(
    signers: Sequence[Signer], message_id: str, timestamp: int, body: bytes, family: Family = "svix"
) -> dict[str, str]:
    """Sign a body.

    Args:
        signers: every one signs, as during a rotation.
        message_id: the same over all attempts.
        timestamp: seconds since the epoch.
        body: the bytes that are sent.
        family: the names: `svix-*`, or `webhook-*` as whitelabelled servers send them.
    """
    content = b"%b.%d.%b" % (message_id.encode(), timestamp, body)
    return {
        f"{family}-id": message_id,
        f"{family}-timestamp": str(timestamp),
        f"{family}-signature": b" ".join(signer.sign(content) for signer in signers).decode(),
    }
