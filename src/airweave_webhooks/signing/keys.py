"""Secrets and keys, read strictly: a weak or mistyped one is refused when the receiver opens, by name."""

import base64
import binascii
import hmac
import secrets
from collections.abc import Sequence
from types import ModuleType
from typing import TYPE_CHECKING, Protocol

from airweave_webhooks.errors import ConfigurationError, SecretError

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

# What Svix's server accepts as the key of an HMAC endpoint, in decoded bytes.
SHORTEST_SECRET = 24
LONGEST_SECRET = 75
ED25519_BYTES = 32
ED25519_SIGNATURE_BYTES = 64

WHERE_FROM = (
    "Take the endpoint's secret from Airweave (the subscription's page, or"
    " `GET /webhooks/subscriptions/{id}?include_secret=true`), or make one for tests with"
    " `airweave_webhooks.signing.generate_secret()`."
)


class VerificationKey(Protocol):
    """What checks the signatures of one version."""

    version: bytes

    def verifies(self, content: bytes, tokens: Sequence[bytes]) -> bool:
        """Say whether one of `tokens` (`<version>,<base64>`) signs `content`; others are passed over."""
        ...


class SigningSecret:
    """A symmetric secret, `whsec_…`: signs and verifies `v1` (HMAC-SHA256).

    Args:
        text: `whsec_` and the padded base64 of 24 to 75 bytes.

    Raises:
        SecretError: saying what is wrong with it.
    """

    version = b"v1"

    def __init__(self, text: str) -> None:
        self.key: bytes = _decode(text, "whsec_")
        if len(self.key) < SHORTEST_SECRET:
            raise SecretError(
                f"the secret is too weak: it holds {len(self.key)} bytes and the sender's server takes no"
                f" fewer than {SHORTEST_SECRET} (the example in Airweave's documentation is such a one)."
                f" {WHERE_FROM}"
            )
        if len(self.key) > LONGEST_SECRET:
            raise SecretError(
                f"the secret is too long: it holds {len(self.key)} bytes and the sender's server takes no"
                f" more than {LONGEST_SECRET}. {WHERE_FROM}"
            )

    def sign(self, content: bytes) -> bytes:
        """Return the token that signs `content`: `v1,<base64>`."""
        # As `standardwebhooks` does it, but in one call of OpenSSL, which costs a third: every request pays for it.
        return b"v1," + base64.b64encode(hmac.digest(self.key, content, "sha256"))

    def verifies(self, content: bytes, tokens: Sequence[bytes]) -> bool:
        """Say whether one of `tokens` signs `content`; base64 that is not canonical never does."""
        expected = self.sign(content)
        for token in tokens:  # noqa: SIM110 - a generator would cost as much as the comparison
            if hmac.compare_digest(expected, token):
                return True
        return False


class PublicKey:
    """An ed25519 public key, `whpk_…`: verifies `v1a`. Needs the `ed25519` extra.

    Raises:
        SecretError: saying what is wrong with it.
        ConfigurationError: the `cryptography` package is missing.
    """

    version = b"v1a"

    # A sender has at most 11 live keys; each check costs some 100 µs, which a forger must not multiply.
    most_checked = 16

    def __init__(self, text: str) -> None:
        raw = _decode(text, "whpk_")
        if len(raw) != ED25519_BYTES:
            raise SecretError(
                f"the public key holds {len(raw)} bytes, an ed25519 key has {ED25519_BYTES}. {WHERE_FROM}"
            )
        self._key: Ed25519PublicKey = _ed25519().Ed25519PublicKey.from_public_bytes(raw)

    def verifies(self, content: bytes, tokens: Sequence[bytes]) -> bool:
        """Say whether one of the first 16 well-formed `tokens` signs `content`."""
        from cryptography.exceptions import InvalidSignature  # noqa: PLC0415 - an extra

        checked = 0
        for token in tokens:
            raw = _decoded_signature(token.removeprefix(b"v1a,")) if token.startswith(b"v1a,") else None
            if raw is None:
                continue
            checked += 1
            if checked > self.most_checked:
                return False
            try:
                self._key.verify(raw, content)
            except InvalidSignature:
                continue
            return True
        return False


class PrivateKey:
    """An ed25519 private key, `whsk_…`: signs `v1a`, as a sender does. Needs the `ed25519` extra.

    Raises:
        SecretError: saying what is wrong with it.
        ConfigurationError: the `cryptography` package is missing.
    """

    version = b"v1a"

    def __init__(self, text: str) -> None:
        raw = _decode(text, "whsk_")
        # Standard Webhooks keeps the seed alone or, as libsodium does, the seed followed by the public key.
        if len(raw) not in {ED25519_BYTES, 2 * ED25519_BYTES}:
            raise SecretError(f"the private key holds {len(raw)} bytes, an ed25519 seed has {ED25519_BYTES}")
        self.text = text
        self._key: Ed25519PrivateKey = _ed25519().Ed25519PrivateKey.from_private_bytes(raw[:ED25519_BYTES])

    @classmethod
    def generate(cls) -> "PrivateKey":
        """Make a fresh key."""
        return cls("whsk_" + base64.b64encode(secrets.token_bytes(ED25519_BYTES)).decode())

    @property
    def public(self) -> str:
        """The `whpk_…` text that a receiver verifies with."""
        return "whpk_" + base64.b64encode(self._key.public_key().public_bytes_raw()).decode()

    def sign(self, content: bytes) -> bytes:
        """Return the token that signs `content`: `v1a,<base64>`."""
        return b"v1a," + base64.b64encode(self._key.sign(content))


def parse_key(text: str) -> VerificationKey:
    """Read `whsec_…` or `whpk_…`; white space around it (a trailing newline in a file) is ignored.

    Raises:
        SecretError: what is wrong with it, and where a right one comes from.
        ConfigurationError: an ed25519 key without the `ed25519` extra.
    """
    if not isinstance(text, str):
        raise SecretError(f"a secret is a string such as 'whsec_…', not {type(text).__name__}. {WHERE_FROM}")
    text = text.strip()
    if not text:
        raise SecretError(f"the secret is empty. {WHERE_FROM}")
    if text.startswith("whsk_"):
        raise SecretError(
            "this is the sender's private key (whsk_…), which a receiver must never hold:"
            " use the endpoint's public key (whpk_…), and replace the pair."
        )
    if text.startswith("whpk_"):
        return PublicKey(text)
    if text.startswith("whsec_"):
        return SigningSecret(text)
    raise SecretError(f"the secret does not begin with 'whsec_' (or 'whpk_' for ed25519). {WHERE_FROM}")


def generate_secret() -> str:
    """Make a fresh `whsec_…` secret of 32 random bytes, for tests and local work."""
    return "whsec_" + base64.b64encode(secrets.token_bytes(32)).decode()


def _decode(text: str, prefix: str) -> bytes:
    if not text.startswith(prefix):
        raise SecretError(f"the key does not begin with {prefix!r}. {WHERE_FROM}")
    try:
        return base64.b64decode(text.removeprefix(prefix), validate=True)
    except (binascii.Error, ValueError) as error:
        raise SecretError(
            f"what follows {prefix!r} is not padded standard base64 ({error}): was it cut short or changed"
            f" in copying? {WHERE_FROM}"
        ) from None


def _decoded_signature(signature: bytes) -> bytes | None:
    try:
        raw = base64.b64decode(signature, validate=True)
    except (binascii.Error, ValueError):
        return None
    return raw if len(raw) == ED25519_SIGNATURE_BYTES else None


def _ed25519() -> ModuleType:
    try:
        from cryptography.hazmat.primitives.asymmetric import ed25519  # noqa: PLC0415 - an extra
    except ModuleNotFoundError:
        raise ConfigurationError(
            "ed25519 keys need the `cryptography` package: pip install 'airweave-webhooks[ed25519]'"
        ) from None
    return ed25519
