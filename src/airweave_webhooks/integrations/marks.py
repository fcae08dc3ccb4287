"""What `once()` is on every driver: a mark that says "this handler has done this delivery", in the user's transaction.

The driver's module inserts the mark and says what its errors are about; here is what the mark consists of, and what
those errors mean to the sender.
"""

import contextlib
import hashlib
import json
from collections.abc import Callable, Generator, Hashable, Iterator
from typing import Final, Literal, NamedTuple, TypeAlias, cast

from airweave_webhooks.delivery import Delivery
from airweave_webhooks.errors import ConfigurationError, Contended, Retry, UnknownCommit

TABLE: Final = "airweave_webhook_once"

# Seconds until the sender should come again: a commit that is under way has ended by then.
COME_AGAIN: Final = 5

Cause: TypeAlias = Literal["contended", "cancelled", "lost", "no table"]
"""What a driver's error is about, so far as it matters here."""

# PostgreSQL's SQLSTATEs: https://www.postgresql.org/docs/current/errcodes-appendix.html
_SQLSTATES: Final[dict[str, Cause]] = {
    "40001": "contended",  # serialization_failure
    "40P01": "contended",  # deadlock_detected
    "55P03": "contended",  # lock_not_available: lock_timeout, NOWAIT
    "57014": "cancelled",  # query_canceled: statement_timeout, also of a query that is merely slow
    "40003": "lost",  # statement_completion_unknown
    "57P01": "lost",  # admin_shutdown
    "57P02": "lost",  # crash_shutdown
    "57P03": "lost",  # cannot_connect_now
    "42P01": "no table",  # undefined_table
}


class Mark(NamedTuple):
    """One row of the table, but for the time."""

    mark: str
    """The primary key: SHA-256 of the rest, in hex. It is short, and no collation takes two for the same."""
    receiver: str
    tenant: str
    """Empty where a receiver serves no tenants."""
    key: str
    handler: str
    name: str
    """Tells apart several marks of one handler; empty where there is one."""
    generation: int


class Marks:
    """The marks that one handler asks for in one attempt: its `Delivery.explain`."""

    def __init__(self) -> None:
        self._asked: set[tuple[str, Hashable]] = set()
        self._causes: list[Callable[[BaseException], Cause | None]] = []

    def knows(self, cause_of: Callable[[BaseException], Cause | None]) -> None:
        """Explain also the errors of this driver."""
        if cause_of not in self._causes:
            self._causes.append(cause_of)

    def asked_before(self, name: str, where: Hashable) -> bool:
        """Whether the mark `name` was asked for in this database before; from now on it was."""
        before = (name, where) in self._asked
        self._asked.add((name, where))
        return before

    def __call__(self, raised: BaseException) -> BaseException:
        """Turn what a handler raised into a `Retry`, if coming again is all that it takes."""
        causes = {self._cause_of(error) for error in _leaves(raised)}
        if not causes or not causes <= {"contended", "lost"}:
            return raised
        kind = UnknownCommit if "lost" in causes else Contended
        return _retry(kind, raised)

    def _cause_of(self, error: BaseException) -> Cause | None:
        return next((cause for cause_of in self._causes if (cause := cause_of(error))), None)


class Answer:
    """Filled in by the driver's module: whether the mark was new, and which database it is in."""

    def __init__(self, mark: Mark) -> None:
        self.mark = mark
        self.first = False
        self.where: Hashable = None


@contextlib.contextmanager
def asking(delivery: Delivery, name: str, cause_of: Callable[[BaseException], Cause | None]) -> Generator[Answer]:
    """Surround the insert of a mark.

    Args:
        delivery: whose mark.
        name: of the mark.
        cause_of: what the driver's errors are about.

    Raises:
        ConfigurationError: no handler runs, the table is missing, or the mark was asked for twice.
        Contended: a statement time-out while it waited for another transaction.
    """
    if not delivery.handler:
        raise ConfigurationError("once() marks what a handler has done: call it in a handler, while a receiver runs it")
    marks = delivery.explain if isinstance(delivery.explain, Marks) else Marks()
    delivery.explain = marks
    marks.knows(cause_of)
    answer = Answer(_mark_of(delivery, name))
    try:
        yield answer
    except Exception as error:
        cause = cause_of(error)
        if cause == "no table":
            raise ConfigurationError(
                "the table of once() is missing: create it with once_table(), see docs/exactly-once.md"
            ) from error
        if cause == "cancelled":
            raise _retry(Contended, error) from error
        raise
    if marks.asked_before(name, answer.where) and not answer.first:
        raise ConfigurationError(
            f"handler {delivery.handler} asked once() twice for the same mark in one attempt: what the second one"
            " guards would never be done; give each a name of its own, as in once(…, name='audit')"
        )


def cause_of_sqlstate(code: str) -> Cause | None:
    """What an error of PostgreSQL is about."""
    return "lost" if code.startswith("08") else _SQLSTATES.get(code)


def _mark_of(delivery: Delivery, name: str) -> Mark:
    parts = (delivery.receiver, delivery.tenant or "", delivery.key, delivery.handler, name)
    digest = hashlib.sha256(json.dumps([*parts, delivery.generation]).encode()).hexdigest()
    receiver, tenant, key, handler, name = map(_readable, parts)
    return Mark(digest, receiver, tenant, key, handler, name, delivery.generation)


def _readable(text: str) -> str:
    """Make text that every database can hold: no NUL, no lone surrogates."""
    return text.replace("\0", "\N{REPLACEMENT CHARACTER}").encode("utf-8", "replace").decode()


def _leaves(error: BaseException) -> Iterator[BaseException]:
    if isinstance(error, BaseExceptionGroup):
        for part in cast("BaseExceptionGroup[BaseException]", error).exceptions:
            yield from _leaves(part)
    else:
        yield error


def _retry(kind: type[Retry], error: BaseException) -> Retry:
    retry = kind(f"{type(error).__name__}: {error}", after=COME_AGAIN)
    retry.__cause__ = error
    return retry
