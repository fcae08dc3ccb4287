"""What every request passes first: are its headers sound, is it fresh, did one of our keys sign it."""

from collections.abc import Awaitable, Callable

from airweave_webhooks.errors import ConfigurationError, Refused, Unauthorized, Unavailable
from airweave_webhooks.keyring import Keyring, Keys
from airweave_webhooks.signing import (
    Envelope,
    RawHeaders,
    check_freshness,
    diagnose,
    is_signed,
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

    def verify(self, envelope: Envelope, body: bytes, tenant: str | None) -> Awaitable[None] | None:
        """Check the signature, and find out why when it does not match.

        Returns:
            None when a key that is known signed this, so that most requests have nothing to wait for. Else what must be
            awaited: it looks up keys, and raises.

        Raises:
            Unauthorized: nothing of ours signed this, or the tenant is unknown.
            SecretLookupFailed: the user's lookup of the secrets did.
        """
        keys = self._keyring.cached(tenant)
        if keys is not None and is_signed(envelope, body, keys):
            return None
        return self._look_up_and_verify(envelope, body, tenant, keys)

    async def _look_up_and_verify(
        self, envelope: Envelope, body: bytes, tenant: str | None, mismatched: Keys | None
    ) -> None:
        keys = mismatched
        if keys is None:
            keys = await self._keyring.keys(tenant)
            if is_signed(envelope, body, keys):
                return
        newer = await self._keyring.keys_after_mismatch(tenant)
        if newer is None or not is_signed(envelope, body, newer):
            raise self._explained(envelope, body, newer or keys, tenant)

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
