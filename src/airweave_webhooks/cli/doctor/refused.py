"""Why a delivery that is signed rightly was refused: by trying what would be accepted instead."""

import base64
import statistics
from collections.abc import Sequence
from typing import Final

from standardwebhooks.webhooks import hmac_data

from airweave_webhooks.cli.doctor.deliveries import Harmless, harmless, message_id, plain_spellings, signed
from airweave_webhooks.cli.doctor.endpoint import Answer, Endpoint
from airweave_webhooks.cli.doctor.findings import Verdict, problem
from airweave_webhooks.signing import SigningSecret

SHIFTS: Final = (-600.0, 600.0, -3600.0, 3600.0, -7200.0, 7200.0)
"""Seconds by which clocks are off: wrong ones by anything, wrong time zones by hours."""


class _Undecoded:
    """Signs as somebody does who takes the secret's text for the key."""

    def __init__(self, secret: SigningSecret, prefix: bytes) -> None:
        self._key = prefix + base64.b64encode(secret.key)

    def sign(self, content: bytes) -> bytes:
        return b"v1," + base64.b64encode(hmac_data(self._key, content))


async def why_refused(endpoint: Endpoint, answer: Answer) -> Verdict:
    """Find out."""
    seen = f"a delivery that is signed with the secret from {endpoint.source} is refused ({answer})"
    for how, body in plain_spellings().items():
        delivery = Harmless(message_id(), body)
        if (await endpoint.post(signed(delivery, endpoint.signers), body)).accepted:
            return problem(
                f"{seen}, and accepted if its JSON is written as an encoder writes it: something writes the body anew"
                f" ({how})",
                "verify the raw bytes of the body: mount the receiver before any middleware or proxy that parses it",
            )
    for later in _shifts(endpoint):
        delivery = harmless()
        if (await endpoint.post(signed(delivery, endpoint.signers, later=later), delivery.body)).accepted:
            return problem(
                f"{seen}, and accepted if it is signed {abs(later):.0f} s {'ahead' if later > 0 else 'ago'}: the clock"
                f" that it is checked by is about as much {'fast' if later > 0 else 'slow'}",
                "synchronise that machine's clock (NTP); in code, compare with time.time(), which knows no time zones",
            )
    for prefix in (b"whsec_", b""):
        signers: Sequence[_Undecoded] = [
            _Undecoded(signer, prefix) for signer in endpoint.signers if isinstance(signer, SigningSecret)
        ]
        delivery = harmless()
        if signers and (await endpoint.post(signed(delivery, signers), delivery.body)).accepted:
            return problem(
                f"{seen}, and accepted if the text of the secret is the key",
                "decode the secret: the key is what the base64 after 'whsec_' holds",
            )
    return problem(
        seen,
        "compare the secret here with the receiver's, which has to be that of this endpoint; its log says why it"
        " refuses. Also, a proxy may remove the signature headers or change the body",
    )


def _shifts(endpoint: Endpoint) -> list[float]:
    told = statistics.median(sample.ahead for sample in endpoint.samples) if endpoint.samples else 0.0
    return ([round(told)] if abs(told) > 30 else []) + list(SHIFTS)
