"""What every request passes first: are its headers sound, is it fresh, did one of our keys sign it."""

from collections.abc import Callable

from airweave_webhooks.errors import ConfigurationError, Refused, Unauthorized, Unavailable
from airweave_webhooks.keyring import Keyring, Keys
from airweave_webhooks.signing import (
    Envelope,
    RawHeaders,
    check_freshness,
    check_signature,
    diagnose,
    read_envelope,
)
from airweave_webhooks.telemetry import OBSERVED, LogBudget, Observer, logger, tell


class Gate:
    """Lets verified requests through, and tells the operator, not the sender, why another was refused.

    Args:
        keyring: whose keys verify.
        tolerance: seconds that a signature's timestamp may be away from `clock`.
        clock: seconds since the epoch.
        observer: is told of refusals.
        name: the receiver's, for the log.
    """

    def __init__(
        self,
        keyring: Keyring,
        *,
        tolerance: float,
        clock: Callable[[], float],
        observer: Observer | None,
        name: str,
    ) -> None:
        self._keyring = keyring
        self._tolerance = tolerance
        self._clock = clock
        self._observer = observer
        self._name = name
        self._budget = LogBudget()
        # What is wrong with us must not drown in what is wrong with strangers.
        self._own_budget = LogBudget()

    def admit(self, headers: RawHeaders) -> Envelope:
        """Check what can be checked before a byte of the body is read.

        Raises:
            MalformedRequest: the signature headers are missing or unsound.
            Unauthorized: stale, or from the future.
        """
        envelope = read_envelope(headers)
        check_freshness(envelope, now=self._clock(), tolerance=self._tolerance)
        return envelope

    async def verify(self, envelope: Envelope, body: bytes, tenant: str | None) -> None:
        """Check the signature, and find out why when it does not match.

        Raises:
            Unauthorized: nothing of ours signed this, or the tenant is unknown.
            SecretLookupFailed: the user's lookup of the secrets did.
        """
        keys = self._keyring.cached(tenant)
        if keys is None:
            keys = await self._keyring.keys(tenant)
        try:
            check_signature(envelope, body, keys)
        except Unauthorized:
            newer = await self._keyring.keys_after_mismatch(tenant)
            if newer is None:
                raise self._explained(envelope, body, keys, tenant) from None
            try:
                check_signature(envelope, body, newer)
            except Unauthorized:
                raise self._explained(envelope, body, newer, tenant) from None

    def report(self, error: Refused, message_id: str | None = None) -> None:
        """Write a refusal to the log, within a budget, and tell the observer. Nothing from the body is in either."""
        if self._observer is not None:
            tell(self._observer.refused, error)
        if self._budget.take():
            logger.warning(
                "receiver %s refused a request with %d: %s%s",
                self._name,
                error.status,
                error.diagnosis,
                f" (message id {message_id[:64]!r}, unverified)" if message_id else "",
                extra=OBSERVED,
            )

    def report_unavailable(self, error: Unavailable | ConfigurationError) -> None:
        """Write to the log that a request could not be taken, within a budget of its own."""
        if self._own_budget.take():
            logger.error("receiver %s asks the sender to come again: %s", self._name, error)

    def _explained(self, envelope: Envelope, body: bytes, keys: Keys, tenant: str | None) -> Unauthorized:
        if not self._budget.affords():
            return Unauthorized("no signature matches (not looked into: too many refusals in this minute)")
        return Unauthorized(diagnose(envelope, body, keys, self._keyring.retired(tenant)))
