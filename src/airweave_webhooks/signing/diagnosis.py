"""Why a signature did not match: for the operator's log, never for the answer.

Each guess is one more HMAC over the same bytes. A forger could make us do that work, so the caller bounds how often
it asks.
"""

import base64
import json
from collections.abc import Iterator, Sequence
from typing import Literal, NamedTuple, TypeAlias

from standardwebhooks.webhooks import hmac_data

from airweave_webhooks.signing.envelope import Envelope
from airweave_webhooks.signing.keys import SigningSecret, VerificationKey

# A longer body is not re-encoded to look for a middleware's fingerprints.
LARGEST_RE_ENCODED = 256 * 1024


Kind: TypeAlias = Literal["retired", "version", "undecoded", "empty", "re_encoded", "malformed", "unknown"]


class Cause(NamedTuple):
    """Why a signature did not match."""

    kind: Kind
    text: str
    """One sentence, which quotes nothing from the body."""


def diagnose(
    envelope: Envelope,
    body: bytes,
    keys: Sequence[VerificationKey],
    retired: Sequence[VerificationKey] = (),
) -> str:
    """Say in one sentence why no key of `keys` verified this request; quotes nothing from the body.

    Args:
        envelope: the signature headers.
        body: the body as it reached us.
        keys: the keys that were tried.
        retired: keys that were in use before.
    """
    return cause_of(envelope, body, keys, retired).text


def cause_of(
    envelope: Envelope,
    body: bytes,
    keys: Sequence[VerificationKey],
    retired: Sequence[VerificationKey] = (),
) -> Cause:
    """As `diagnose`, for programs too."""
    tokens = envelope.signatures.split(b" ")
    content = envelope.signed_prefix + body
    if any(key.verifies(content, tokens) for key in retired):
        return Cause("retired", "signed with a retired secret: the sender still uses the one from before the rotation")
    versions = {key.version for key in keys}
    if not any(token.partition(b",")[0] in versions for token in tokens):
        return Cause("version", _other_versions(tokens, versions))
    if any(wrong in tokens for key in keys for wrong in _signed_undecoded(key, content)):
        return Cause(
            "undecoded",
            "signed with the right secret, but not decoded: the signer used the text of the secret as the"
            " key, where the scheme uses the base64-decoded bytes after 'whsec_'",
        )
    if not body:
        return Cause("empty", "the body is empty: a middleware may have consumed it before the receiver saw it")
    for how, original in _re_encodings(body):
        if any(key.verifies(envelope.signed_prefix + original, tokens) for key in keys):
            return Cause(
                "re_encoded",
                f"the body changed after signing ({how}): a middleware or proxy re-encoded it;"
                " mount the receiver before it, where the body is untouched",
            )
    if not any(_well_formed(token.partition(b",")[2]) for token in tokens):
        return Cause("malformed", "no signature is well-formed base64")
    return Cause(
        "unknown",
        "no secret of ours signed this: the secret is of another endpoint, or the body, id or timestamp"
        " changed after signing",
    )


def _other_versions(tokens: Sequence[bytes], versions: set[bytes]) -> str:
    sent = sorted({version for version, comma, _ in (token.partition(b",") for token in tokens) if comma})
    readable = (
        ", ".join(version.decode() for version in sent[:5] if version.isalnum() and len(version) < 10)
        or "none readable"
    )
    ours = ", ".join(sorted(version.decode() for version in versions))
    return f"no signature of a version that our keys verify (sent: {readable}; ours: {ours})"


def _signed_undecoded(key: VerificationKey, content: bytes) -> Iterator[bytes]:
    """Sign as somebody does who forgets to decode the secret, with and without its prefix."""
    if isinstance(key, SigningSecret):
        text = base64.b64encode(key.key)
        for raw in (b"whsec_" + text, text):
            yield b"v1," + base64.b64encode(hmac_data(raw, content))


def _re_encodings(body: bytes) -> Iterator[tuple[str, bytes]]:
    """What the sender may have signed, if something on the way re-encoded it."""
    if body != body.strip():
        yield "white space was added around it", body.strip()
    if len(body) > LARGEST_RE_ENCODED:
        return
    try:
        value = json.loads(body)
        for ensure_ascii in (True, False):  # a lone surrogate can only be written escaped
            yield (
                "its JSON was written anew",
                json.dumps(value, separators=(",", ":"), ensure_ascii=ensure_ascii).encode(),
            )
    except (ValueError, RecursionError):
        return


def _well_formed(signature: bytes) -> bool:
    try:
        return len(base64.b64decode(signature, validate=True)) in {32, 64}
    except ValueError:
        return False
