"""Who sent this, and when: the Standard Webhooks scheme, made strict. No I/O.

The scheme is described at https://www.standardwebhooks.com (section "Webhook signatures"); Svix, which sends
Airweave's webhooks, uses the same one under `svix-*` header names.
"""

from airweave_webhooks.signing.diagnosis import diagnose
from airweave_webhooks.signing.envelope import Envelope, Headers, RawHeaders, raw_headers, read_envelope
from airweave_webhooks.signing.keys import (
    PrivateKey,
    PublicKey,
    SigningSecret,
    VerificationKey,
    generate_secret,
    parse_key,
)
from airweave_webhooks.signing.verification import check_freshness, check_signature

__all__ = [
    "Envelope",
    "Headers",
    "PrivateKey",
    "PublicKey",
    "RawHeaders",
    "SigningSecret",
    "VerificationKey",
    "check_freshness",
    "check_signature",
    "diagnose",
    "generate_secret",
    "parse_key",
    "raw_headers",
    "read_envelope",
]
