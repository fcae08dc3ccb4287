"""Who sent this, and when: the Standard Webhooks scheme, made strict. No I/O.

The scheme is described at https://www.standardwebhooks.com (section "Webhook signatures"); Svix, which sends
Airweave's webhooks, uses the same one under `svix-*` header names.
"""

from airweave_webhooks.signing.diagnosis import Cause, cause_of, diagnose
from airweave_webhooks.signing.envelope import Envelope, Headers, RawHeaders, raw_headers, read_envelope
from airweave_webhooks.signing.keys import (
    PrivateKey,
    PublicKey,
    SigningSecret,
    VerificationKey,
    generate_secret,
    parse_key,
)
from airweave_webhooks.signing.signatures import Signer, parse_signer, signature_headers
from airweave_webhooks.signing.verification import check_freshness, check_signature, is_signed

__all__ = [
    "Cause",
    "Envelope",
    "Headers",
    "PrivateKey",
    "PublicKey",
    "RawHeaders",
    "Signer",
    "SigningSecret",
    "VerificationKey",
    "cause_of",
    "check_freshness",
    "check_signature",
    "diagnose",
    "generate_secret",
    "is_signed",
    "parse_key",
    "parse_signer",
    "raw_headers",
    "read_envelope",
    "signature_headers",
]
