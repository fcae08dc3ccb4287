"""What signs the doctor's deliveries: the secret that is set, or that of a server of ours on this machine."""

from collections.abc import Sequence
from typing import NamedTuple

from airweave_webhooks.cli.destinations import signed_for
from airweave_webhooks.cli.settings import Settings
from airweave_webhooks.errors import ConfigurationError
from airweave_webhooks.keyring import SECRET_VARIABLE
from airweave_webhooks.signing import Signer, parse_signer


class Signers(NamedTuple):
    """What signs, or why nothing does."""

    signers: Sequence[Signer]
    source: str
    """For people."""
    none: tuple[str, str] = ("", "")
    """Why there are none, and what to do about it."""


def signers_for(settings: Settings, url: str) -> Signers:
    """Find the secrets for an endpoint.

    Raises:
        ConfigurationError: what is set cannot be used as a secret.
    """
    try:
        found = signed_for(settings, url)
    except ConfigurationError:
        if settings.secret is not None:
            raise
        why = (
            "no secret is known here, so nothing can be signed",
            f"set {SECRET_VARIABLE} in the environment or in .env to the endpoint's secret",
        )
        return Signers((), "", why)
    signing = [text for text in found.secrets if not text.startswith("whpk_")]
    if not signing:
        why = (
            f"the secret from {found.source} is a public key (whpk_...), which verifies and cannot sign",
            f"for this look only, set {SECRET_VARIABLE} to a private key (whsk_...) of a test endpoint",
        )
        return Signers((), found.source, why)
    try:
        signers = [parse_signer(text) for text in signing]
    except ConfigurationError as error:
        raise type(error)(f"{found.source}: {error}") from None
    return Signers(signers, found.source)
