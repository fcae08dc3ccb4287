"""How a secret is shown: so that people can compare two, and nobody can use one."""

import hashlib
import re
from typing import Final

_STRONG: Final = re.compile(r"(wh(?:sec|pk|sk)_)[A-Za-z0-9+/]{32,}={0,2}")


def fingerprint(secret: str) -> str | None:
    """The first 8 hex digits of a secret's SHA-256: `printf %s "$SECRET" | sha256sum | head -c 8`.

    Returns:
        None for what is no secret that can be used: a short one could be guessed, and then recognised.
    """
    return hashlib.sha256(secret.encode()).hexdigest()[:8] if _STRONG.fullmatch(secret) else None


def masked(secret: str) -> str:
    """A secret's kind and fingerprint: `whsec_… (1f3870be)`."""
    found = _STRONG.fullmatch(secret)
    return f"{found[1]}… ({fingerprint(secret)})" if found else "… (not usable)"
