"""Whether the receiver has a secret, and whether it is one."""

from typing import Final

from airweave_webhooks.cli.doctor.findings import Verdict, ok, problem, skipped, warning
from airweave_webhooks.cli.doctor.program import Program
from airweave_webhooks.cli.words import one_line
from airweave_webhooks.errors import ConfigurationError, SecretLookupFailed, Unauthorized
from airweave_webhooks.signing import SigningSecret, VerificationKey, parse_key

PUBLIC: Final = ("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw",)
"""Secrets of examples that everybody can read."""
FEWEST_DIFFERENT: Final = 12
"""Bytes, of 24 or more: of random ones fewer are different only once in more than a million million times."""
MOST: Final = 11
"""Secrets that one sender signs with."""


async def secrets(program: Program) -> Verdict:
    """Whether there are secrets, well-formed and strong."""
    keyring = program.receiver.keyring
    try:
        keyring.open()
        if keyring.serves_tenants and program.tenant is None:
            return skipped(
                "each tenant has secrets of its own, and no tenant is named", "name one that exists: --tenant NAME"
            )
        async with program.patience():
            keys = await keyring.keys(program.tenant if keyring.serves_tenants else None)
    except ConfigurationError as error:
        return _unusable(error)
    except Unauthorized:
        return problem(
            f"the lookup of secrets knows no tenant {program.tenant!r}",
            "check the name, and the callable that was passed as secrets=",
        )
    except TimeoutError:
        return problem(
            f"the lookup of secrets did not answer within {program.timeout:g} s",
            "make the callable that was passed as secrets= quicker: deliveries get 503 meanwhile",
        )
    except SecretLookupFailed as error:
        return problem(
            one_line(str(error)), "make the callable that was passed as secrets= return 'whsec_...', or a list"
        )
    return _judged(keys)


def _unusable(error: ConfigurationError) -> Verdict:
    seen, stop, rest = one_line(str(error)).partition(": ")
    return problem(seen, rest) if stop and seen == "no webhook secret" else problem(one_line(str(error)), _WHERE)


_WHERE: Final = (
    "copy the endpoint's secret once more from Airweave, as a whole; 'whpk_' keys need the extra: pip install"
    " 'airweave-webhooks[ed25519]'"
)


def _judged(keys: tuple[VerificationKey, ...]) -> Verdict:
    public = {key.key for key in map(parse_key, PUBLIC) if isinstance(key, SigningSecret)}
    hashed = [key.key for key in keys if isinstance(key, SigningSecret)]
    if any(key in public for key in hashed):
        return problem(
            "a secret is one of a public example, so anybody can sign",
            "take the endpoint's own secret from Airweave",
        )
    if any(len(set(key)) < FEWEST_DIFFERENT for key in hashed):
        return problem(
            "a secret is not random: it repeats the same few bytes",
            "take the endpoint's own secret from Airweave, or make one: airweave_webhooks.signing.generate_secret()",
        )
    if len(keys) > MOST:
        return warning(
            f"there are {len(keys)} secrets, and a sender signs with {MOST} at most",
            "forget those that are no longer in use: each one can sign",
        )
    lengths = ", ".join(f"{8 * len(key)} bits" for key in hashed)
    public_keys = len(keys) - len(hashed)
    kinds = " and ".join(
        [f"{len(hashed)} of HMAC ({lengths})"] * bool(hashed) + [f"{public_keys} of ed25519"] * bool(public_keys)
    )
    if len(keys) == 1:
        return ok(f"there is one secret: {kinds}")
    return ok(f"there are {len(keys)} secrets, as during a rotation: {kinds}; each one can sign")
