"""Why a signature did not match: for the operator's log, never for the answer.

Each guess is one more HMAC over the same bytes. A forger could make us do that work, so the caller bounds how often
it asks.
"""

import base64
import json
from collections.abc import Iterator, Sequence
from itertools import chain

from standardwebhooks.webhooks import hmac_data

from airweave_webhooks.signing.envelope import Envelope
from airweave_webhooks.signing.keys import SigningSecret, VerificationKey
from airweave_webhooks.signing.verification import signatures_by_version

# A longer body is not re-encoded to look for a middleware's fingerprints.
LARGEST_RE_ENCODED = 256 * 1024


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
    tokens = signatures_by_version(envelope)
    content = envelope.signed_prefix + body
    versions = {key.version for key in keys}
    if not versions & tokens.keys():
        seen = ", ".join(sorted(version.decode("ascii", "replace") for version in tokens)) or "none readable"
        ours = ", ".join(sorted(version.decode() for version in versions)) or "none"
        return f"no signature of a version that our keys verify (sent: {seen[:80]}; ours: {ours})"
    if any(key.verifies(content, tokens.get(key.version, ())) for key in retired):
        return "signed with a retired secret: the sender still uses the one from before the rotation"
    sent = tokens.get(SigningSecret.version, ())
    if any(wrong in sent for key in keys for wrong in _signed_undecoded(key, content)):
        return (
            "signed with the right secret, but not decoded: the signer used the text of the secret as the"
            " key, where the scheme uses the base64-decoded bytes after 'whsec_'"
        )
    if not body:
        return "the body is empty: a middleware may have consumed it before the receiver saw it"
    for how, original in _re_encodings(body):
        if any(key.verifies(envelope.signed_prefix + original, tokens.get(key.version, ())) for key in keys):
            return (
                f"the body changed after signing ({how}): a middleware or proxy re-encoded it;"
                " mount the receiver before it, where the body is untouched"
            )
    if not any(_well_formed(signature) for signature in chain.from_iterable(tokens.values())):
        return "no signature is well-formed base64"
    return (
        "no secret of ours signed this: the secret is of another endpoint, or the body, id or timestamp"
        " changed after signing"
    )


def _signed_undecoded(key: VerificationKey, content: bytes) -> Iterator[bytes]:
    """Sign as somebody does who forgets to decode the secret, with and without its prefix."""
    if isinstance(key, SigningSecret):
        text = base64.b64encode(key.key)
        for raw in (b"whsec_" + text, text):
            yield base64.b64encode(hmac_data(raw, content))


def _re_encodings(body: bytes) -> Iterator[tuple[str, bytes]]:
    """What the sender may have signed, if something on the way re-encoded it."""
    if body != body.strip():
        yield "white space was added around it", body.strip()
    if len(body) > LARGEST_RE_ENCODED:
        return
    try:
        value = json.loads(body)
        for ensure_ascii in (False, True):
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
