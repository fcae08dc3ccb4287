"""What a receiver would say of a body and its headers, and how to mend it."""

from collections.abc import Mapping, Sequence
from typing import Final, NamedTuple

from airweave_webhooks.cli.masks import masked
from airweave_webhooks.cli.words import age, iso
from airweave_webhooks.errors import MalformedRequest, Unauthorized
from airweave_webhooks.keyring import SECRET_VARIABLE
from airweave_webhooks.signing import (
    Envelope,
    RawHeaders,
    VerificationKey,
    cause_of,
    check_freshness,
    parse_key,
    read_envelope,
)

REMEDIES: Final[Mapping[str, str]] = {
    "headers": "give the three headers as they came, of one request: svix-id, svix-timestamp and svix-signature",
    "retired": f"wait until the sender has the new secret; meanwhile put both into {SECRET_VARIABLE}, with a space",
    "version": "v1 is verified with a secret (whsec_…), v1a with the endpoint's public key (whpk_…): set that one",
    "undecoded": "in the signer, decode what follows whsec_ from base64 and use those bytes as the key",
    "empty": "read the body where nothing has read it before, and keep its bytes",
    "re_encoded": "verify the bytes as they came: an editor, a log or a JSON parser in between changes them",
    "malformed": "copy the signature header again, as a whole: v1,… with all that follows",
    "unknown": (
        "compare the fingerprint with that of the endpoint's secret in Airweave (`airweave-webhooks config` explains"
        " it), and take body and headers from one and the same request"
    ),
    "local": f"send to that server, or set {SECRET_VARIABLE} to its secret",
    "stale": "check this host's clock; of a request that came before, say when: --at TIME, or --tolerance SECONDS",
    "future": "check both hosts' clocks",
}


class Known(NamedTuple):
    """A secret that may have signed."""

    text: str
    source: str
    """Where it comes from, for people."""

    @property
    def name(self) -> str:
        """What to call it without showing it."""
        return f"{masked(self.text)}, from {self.source}"


class Check(NamedTuple):
    """One thing that was looked at."""

    what: str
    good: bool
    finding: str
    cause: str | None = None
    """In one word, for programs; of what is not good."""

    @property
    def remedy(self) -> str | None:
        """What to do about it."""
        return None if self.cause is None else REMEDIES[self.cause]


class Examination(NamedTuple):
    """What came of it."""

    checks: Sequence[Check]
    envelope: Envelope | None = None
    """None if the headers are not such."""

    @property
    def good(self) -> bool:
        """Whether a receiver would take it."""
        return all(check.good for check in self.checks)


def examine(
    headers: RawHeaders,
    body: bytes,
    tried: Sequence[Known],
    *,
    retired: Sequence[Known] = (),
    others: Sequence[Known] = (),
    now: float,
    tolerance: float,
) -> Examination:
    """Verify a body, and find out what is wrong with it.

    Args:
        headers: with their names in lower case.
        body: as it came.
        tried: the secrets that a receiver would try.
        retired: those from before a rotation.
        others: those of what runs on this machine.
        now: seconds since the epoch.
        tolerance: seconds that the signature's time may differ from it.

    Raises:
        SecretError: one cannot be used.
    """
    keys = [(parse_key(known.text), known) for known in tried]
    try:
        envelope = read_envelope(headers)
    except MalformedRequest as error:
        return Examination([Check("headers", False, error.diagnosis, "headers")])
    family = next(name.partition(b"-")[0].decode() for name, _ in headers if name in {b"svix-id", b"webhook-id"})
    checks = [
        Check("headers", True, f"{family}-*, consistent"),
        _signature(envelope, body, keys, retired, others),
        _time(envelope, now, tolerance),
    ]
    return Examination(checks, envelope)


def _signature(
    envelope: Envelope,
    body: bytes,
    keys: Sequence[tuple[VerificationKey, Known]],
    retired: Sequence[Known],
    others: Sequence[Known],
) -> Check:
    content, tokens = envelope.signed_prefix + body, envelope.signatures.split(b" ")
    for key, known in keys:
        if key.verifies(content, tokens):
            return Check("signature", True, f"signed with {known.name}")
    for known in others:
        if parse_key(known.text).verifies(content, tokens):
            return Check("signature", False, f"signed with another secret, {known.name}", "local")
    cause = cause_of(envelope, body, [key for key, _ in keys], [parse_key(known.text) for known in retired])
    return Check("signature", False, cause.text, cause.kind)


def _time(envelope: Envelope, now: float, tolerance: float) -> Check:
    try:
        check_freshness(envelope, now=now, tolerance=tolerance)
    except Unauthorized as error:
        return Check("time", False, error.diagnosis, "stale" if envelope.timestamp < now else "future")
    behind = now - envelope.timestamp
    relative = f"{age(behind)} ago" if behind >= 0 else f"in {age(-behind)}"
    return Check("time", True, f"signed {iso(envelope.timestamp)}, {relative}; {tolerance:g} s are allowed")
