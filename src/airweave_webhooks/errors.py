"""Every error of this package, as one tree.

WebhookError
├── ConfigurationError            the program is wrong: it shows when it starts, not when a request comes
│   ├── SecretError               a secret that is weak, malformed or of the wrong kind
│   └── RoutingError              a handler that can never run as it is written
├── Refused                       the request is wrong: the sender gets `status`, the operator gets `diagnosis`
│   ├── MalformedRequest   400
│   ├── InvalidPayload     400    signed, but not a JSON object
│   ├── Unauthorized       401    bad signature, stale, from the future, unknown tenant
│   ├── BodyTooSlow        408
│   └── BodyTooLarge       413
├── Unavailable            503    nothing is wrong with the request: the sender should come again
│   ├── Busy                      too much in flight
│   ├── ShuttingDown
│   ├── SecretLookupFailed
│   └── StoreUnavailable
│       └── StoreBusy             deadlock, lock time-out: worth an immediate second try
├── LeaseLost              409    somebody else holds, or finished, this delivery
├── OperatorError                 an operator asked for something that means nothing, or more than one thing
├── StoreDataError         500    the store cannot hold this one record; its neighbours are fine
└── HandlerVerdict                raised by handlers, to say more than success
    ├── Retry              503
    │   ├── Contended      409    somebody else holds what the handler needs: raised for you by `once()`
    │   └── UnknownCommit  503    the connection was lost, perhaps during the commit: likewise
    └── Reject             200
"""

import math
from typing import ClassVar


class WebhookError(Exception):
    """Base of every error that this package raises."""


class ConfigurationError(WebhookError):
    """The program is set up wrongly; the message names the cause and the remedy."""


class SecretError(ConfigurationError):
    """A secret cannot be used; the message says what is wrong and where a right one comes from."""


class RoutingError(ConfigurationError):
    """A handler, filter or dependency can never work as it is registered."""


class Refused(WebhookError):
    """A request that is not processed.

    Attributes:
        status: the HTTP status of the answer.
        outcome: the one word that the answer's body holds.
        diagnosis: what an operator needs to know. It goes to the log, never into the answer,
            and holds nothing from the body.
    """

    status: ClassVar[int] = 400
    outcome: ClassVar[str] = "malformed"

    def __init__(self, diagnosis: str) -> None:
        super().__init__(diagnosis)
        self.diagnosis = diagnosis


class MalformedRequest(Refused):
    """Signature headers that are missing, repeated, mixed or unreadable."""


class InvalidPayload(Refused):
    """A signed body that is not a JSON object."""

    outcome = "invalid"


class Unauthorized(Refused):
    """No secret signed this body at this time."""

    status = 401
    outcome = "unauthorized"


class BodyTooSlow(Refused):
    """The body did not arrive before the read deadline."""

    status = 408
    outcome = "too_slow"


class BodyTooLarge(Refused):
    """The body is longer than the limit."""

    status = 413
    outcome = "too_large"


class Unavailable(WebhookError):
    """The delivery cannot be taken now; the sender is asked to come again.

    Attributes:
        retry_after: seconds until the sender should try again.
    """

    status: ClassVar[int] = 503

    def __init__(self, message: str, *, retry_after: int = 5) -> None:
        super().__init__(message)
        self.retry_after = retry_after


class Busy(Unavailable):
    """A bound on the work in flight is reached."""


class ShuttingDown(Unavailable):
    """The receiver is closing and takes nothing new."""


class SecretLookupFailed(Unavailable):
    """The user's `secrets` callable raised."""


class StoreUnavailable(Unavailable):
    """The store could not be reached, or did not answer; what was asked may or may not be done."""


class StoreBusy(StoreUnavailable):
    """The store asks for a second try: a deadlock, a serialisation failure, a lock time-out."""


class LeaseLost(WebhookError):
    """The lease ended and the delivery belongs to somebody else; this holder's result is refused."""

    status: ClassVar[int] = 409


class StoreDataError(WebhookError):
    """The store cannot hold this record (a value out of its range); the rest of its batch is unharmed."""

    status: ClassVar[int] = 500


class OperatorError(WebhookError):
    """What an operator asked for means nothing, or more than one thing; the message says what would do."""


class HandlerVerdict(WebhookError):
    """Base of what a handler raises to say more than success."""


class Retry(HandlerVerdict):
    """Raised by a handler: not now, come again.

    Attributes:
        status: HTTP status of the answer, if no other handler failed or asked for another one.
        outcome: the word in the answer, likewise.

    Args:
        reason: for the record and the log.
        after: seconds until the sender should try again, at least 1.
    """

    status: ClassVar[int] = 503
    outcome: ClassVar[str] = "retry"

    def __init__(self, reason: str = "", *, after: float = 60) -> None:
        if not isinstance(reason, str):
            raise TypeError(f"write Retry(after={reason!r}): the first argument is the reason, as text")
        if not 0 < after < math.inf:
            raise ValueError(f"Retry(after=…) takes a positive number of seconds, not {after!r}")
        super().__init__(reason or f"retry after {after:g} s")
        self.after = after


class Contended(Retry):
    """A handler's transaction met another one: a lock that took too long, a deadlock, a serialisation failure.

    Nothing of it is committed. `once()` makes this of what the database driver raised.
    """

    status = 409
    outcome = "in_progress"


class UnknownCommit(Retry):
    """The connection to the database was lost before a commit was confirmed: it is done, or it is not.

    The next attempt finds out, by the mark. `once()` makes this of what the database driver raised.
    """

    outcome = "unknown_commit"


class Reject(HandlerVerdict):
    """Raised by a handler: this delivery will never work, do not send it again.

    Args:
        reason: for the record and the log.
    """

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
