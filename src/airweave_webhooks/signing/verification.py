"""The two questions asked of every request, in order: is it fresh, and did one of our keys sign it."""

from collections.abc import Sequence

from airweave_webhooks.errors import Unauthorized
from airweave_webhooks.signing.envelope import Envelope
from airweave_webhooks.signing.keys import VerificationKey


def check_freshness(envelope: Envelope, *, now: float, tolerance: float) -> None:
    """Refuse what was signed more than `tolerance` seconds before or after `now` (seconds since the epoch).

    Raises:
        Unauthorized: naming the difference between the two clocks.
    """
    age = now - envelope.timestamp
    if age > tolerance:
        raise Unauthorized(
            f"stale: signed {age:.0f} s ago by this host's clock, {tolerance:g} s are allowed"
            " (a replay, a delayed proxy, or clock skew: check this host's time)"
        )
    if -age > tolerance:
        raise Unauthorized(
            f"from the future: signed {-age:.0f} s ahead of this host's clock, {tolerance:g} s are allowed"
            " (clock skew: check this host's time)"
        )


def check_signature(envelope: Envelope, body: bytes, keys: Sequence[VerificationKey]) -> None:
    """Refuse a body that none of `keys` signed under this envelope.

    Every key is tried against every signature of its version, so a rotation on either side goes unnoticed.
    Unknown versions and malformed tokens are passed over: they never hide a good one.

    Raises:
        Unauthorized: no signature matches. `diagnose` finds out why.
    """
    if not is_signed(envelope, body, keys):
        raise Unauthorized("no signature matches")


def is_signed(envelope: Envelope, body: bytes, keys: Sequence[VerificationKey]) -> bool:
    """Whether one of `keys` signed a body under this envelope, as `check_signature` sees it."""
    content = envelope.signed_prefix + body
    tokens = envelope.signatures.split(b" ")
    for key in keys:  # noqa: SIM110 - a generator costs each request more than the loop
        if key.verifies(content, tokens):
            return True
    return False
