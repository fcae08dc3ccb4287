"""How a secret is shown: so that people can compare two, and nobody can use one."""

import hashlib
from typing import Final

PREFIXES: Final = ("whsec_", "whpk_", "whsk_")


def fingerprint(secret: str) -> str:
    """The first 8 hex digits of a secret's SHA-256: `printf %s "$SECRET" | sha256sum | head -c 8`."""
    return hashlib.sha256(secret.strip().encode("utf-8", "surrogateescape")).hexdigest()[:8]


def masked(secret: str) -> str:
    """A secret's kind and fingerprint: `whsec_… (1f3870be)`."""
    kind = next((prefix for prefix in PREFIXES if secret.strip().startswith(prefix)), "")
    return f"{kind}… ({fingerprint(secret)})"
