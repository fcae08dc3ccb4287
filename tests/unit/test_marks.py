"""What the errors of databases mean to the sender, and what a mark consists of."""

import sqlite3
from collections.abc import Callable
from typing import Any

import psycopg
import pytest
from sqlalchemy.exc import DBAPIError, IntegrityError, OperationalError, PendingRollbackError

from airweave_webhooks import ConfigurationError, Delivery, Reject, Retry
from airweave_webhooks.errors import Contended, UnknownCommit
from airweave_webhooks.events import parse
from airweave_webhooks.execution import run_handlers
from airweave_webhooks.integrations.marks import Marks, asking
from airweave_webhooks.integrations.psycopg import _cause_of as cause_by_psycopg
from airweave_webhooks.integrations.sqlalchemy import _cause_of as cause_by_sqlalchemy
from airweave_webhooks.routing import Router
from airweave_webhooks.testing.payloads import payload

pytestmark = pytest.mark.anyio

BODY = payload("sync.completed")


def of_postgres(sqlstate: str) -> psycopg.Error:
    return psycopg.errors.lookup(sqlstate)("as the server says")


def of_sqlite(code: int) -> sqlite3.Error:
    error = sqlite3.OperationalError("as SQLite says")
    error.sqlite_errorcode = code
    return error


def wrapped(error: Exception, *, lost: bool = False) -> DBAPIError:
    kind = OperationalError if "Operational" in type(error).__mro__[1].__name__ + type(error).__name__ else DBAPIError
    return kind("INSERT", {}, error, connection_invalidated=lost)


class AsOtherDrivers(Exception):
    """psycopg2 calls it `pgcode`, and has none when the connection is lost."""

    def __init__(self, pgcode: str | None) -> None:
        self.pgcode = pgcode


# fmt: off
MEANINGS: list[tuple[BaseException, type[Retry] | None]] = [
    # raised                                                   meaning
    (of_postgres("40001"),                                     Contended),      # serialization_failure
    (of_postgres("40P01"),                                     Contended),      # deadlock_detected
    (of_postgres("55P03"),                                     Contended),      # lock_not_available
    (of_postgres("57P01"),                                     UnknownCommit),  # admin_shutdown
    (of_postgres("57P02"),                                     UnknownCommit),  # crash_shutdown
    (of_postgres("57P03"),                                     UnknownCommit),  # cannot_connect_now
    (of_postgres("40003"),                                     UnknownCommit),  # statement_completion_unknown
    (of_postgres("08006"),                                     UnknownCommit),  # connection_failure
    (psycopg.OperationalError("the connection is lost"),       UnknownCommit),
    (of_postgres("57014"),                                     None),           # query_canceled, of a slow query
    (of_postgres("23505"),                                     None),           # unique_violation
    (of_postgres("42P01"),                                     None),           # undefined_table
    (of_postgres("53100"),                                     None),           # disk_full
    (psycopg.InterfaceError("misused"),                        None),
    (wrapped(of_postgres("40001")),                            Contended),
    (wrapped(of_postgres("40P01")),                            Contended),
    (wrapped(of_postgres("55P03")),                            Contended),
    (wrapped(of_postgres("57P01"), lost=True),                 UnknownCommit),
    (wrapped(psycopg.OperationalError("no answer")),           UnknownCommit),
    (wrapped(psycopg.OperationalError("no answer"), lost=True), UnknownCommit),
    (wrapped(of_postgres("57014")),                            None),
    (wrapped(psycopg.InterfaceError("misused")),               None),
    (IntegrityError("INSERT", {}, of_postgres("23505")),       None),
    (wrapped(of_sqlite(sqlite3.SQLITE_BUSY)),                  Contended),
    (wrapped(of_sqlite(sqlite3.SQLITE_BUSY_SNAPSHOT)),         Contended),
    (wrapped(of_sqlite(sqlite3.SQLITE_LOCKED)),                Contended),
    (wrapped(of_sqlite(sqlite3.SQLITE_FULL)),                  None),
    (wrapped(of_sqlite(sqlite3.SQLITE_IOERR)),                 None),
    (wrapped(sqlite3.OperationalError("has no code")),         None),
    (OperationalError("", {}, AsOtherDrivers("40001")),        Contended),
    (OperationalError("", {}, AsOtherDrivers(None)),           UnknownCommit),
    (DBAPIError("", {}, AsOtherDrivers(None)),                 None),
    (DBAPIError("", {}, AsOtherDrivers(None), connection_invalidated=True), UnknownCommit),
    (PendingRollbackError("an earlier error was swallowed"),   None),
    (ZeroDivisionError(),                                      None),
    (Retry(after=7),                                           None),
    (Reject("no"),                                             None),
]
# fmt: on


def explained(error: BaseException) -> BaseException:
    marks = Marks()
    marks.knows(cause_by_psycopg)
    marks.knows(cause_by_sqlalchemy)
    return marks(error)


@pytest.mark.parametrize(("raised", "meaning"), MEANINGS, ids=lambda value: repr(value)[:60])
def test_what_errors_mean(raised: BaseException, meaning: type[Retry] | None) -> None:
    """What coming again can heal becomes a `Retry`, with the driver's error as its cause; the rest stays."""
    result = explained(raised)
    if meaning is None:
        assert result is raised
    else:
        assert type(result) is meaning
        assert result.__cause__ is raised
        assert type(raised).__name__ in str(result)


DEADLOCK, LOST, BUG = of_postgres("40P01"), psycopg.OperationalError("lost"), ZeroDivisionError()


@pytest.mark.parametrize(
    ("errors", "meaning"),
    [
        ([DEADLOCK], Contended),
        ([DEADLOCK, of_postgres("40001")], Contended),
        ([DEADLOCK, LOST], UnknownCommit),
        ([DEADLOCK, ExceptionGroup("inner", [LOST])], UnknownCommit),
        ([DEADLOCK, BUG], None),
        ([ExceptionGroup("inner", [DEADLOCK, ExceptionGroup("innermost", [BUG])])], None),
        ([DEADLOCK, Retry()], None),
    ],
)
def test_groups_of_errors(errors: list[Exception], meaning: type[Retry] | None) -> None:
    """A task group's errors mean something together only if each does."""
    group = ExceptionGroup("task group", errors)
    assert type(explained(group)) is (meaning or ExceptionGroup)


@pytest.mark.parametrize(
    ("kind", "status", "outcome"), [(Contended, 409, "in_progress"), (UnknownCommit, 503, "unknown_commit")]
)
async def test_the_answers(kind: type[Retry], status: int, outcome: str) -> None:
    """Each has an answer of its own; two that differ add up to a plain `Retry`."""
    router = Router()

    @router.on("sync.completed", id="1")
    async def first() -> None:
        raise kind(after=4.2)

    reply = (await run_handlers(router.table.handlers, a_delivery(), {}, no_threads, None)).reply
    assert (reply.status, reply.outcome, reply.retry_after) == (status, outcome, 5)

    @router.on("sync.completed", id="2")
    async def second() -> None:
        raise Retry(after=9)

    reply = (await run_handlers(router.table.handlers, a_delivery(), {}, no_threads, None)).reply
    assert (reply.status, reply.outcome, reply.retry_after) == (503, "retry", 9)


def a_delivery(**changed: Any) -> Delivery:
    fields: dict[str, Any] = {"tenant": None, "receiver": "default", "key": "msg_1", "handler": "count", **changed}
    return Delivery(id="msg_1", sent_at=1_800_000_000, _raw_headers=[], body=BODY, event=parse(BODY), **fields)


async def no_threads(_: Callable[[], Any]) -> None:
    """All handlers here are async."""


def the_mark(name: str = "", **changed: Any) -> str:
    with asking(a_delivery(**changed), name, lambda _: None) as answer:
        answer.first = True
    return answer.mark.mark


def test_the_mark_stays_what_it_is() -> None:
    """A later version must find what an earlier one has marked."""
    assert the_mark() == "3ca60077b506a2ddf8b6d135af56bbba03661922f240150b536e98b70a8f7775"
    assert (
        the_mark("audit", tenant="acme", generation=3)
        == "519f1e5b5d3832348dcb7ecddcc12159053641b6d3708c8b3261ae994d9c3168"
    )


def test_marks_differ() -> None:
    """However the parts are cut."""
    parts = [{}, {"key": "msg_1count", "handler": "x"}, {"key": "msg_1", "handler": "countx"}, {"tenant": "default"}]
    assert len({the_mark(**part) for part in parts} | {the_mark("count")}) == len(parts) + 1


async def test_explanations_end_with_their_handler() -> None:
    """The next handler's errors are its own, and errors of the one that asked are explained."""
    router = Router()
    seen: list[object] = []

    @router.on("sync.completed", id="1")
    async def asks(delivery: Delivery) -> None:
        with asking(delivery, "", cause_by_psycopg) as answer:
            answer.first = True
        raise DEADLOCK

    @router.on("sync.completed", id="2")
    async def does_not(delivery: Delivery) -> None:
        seen.append(delivery.explain)
        raise DEADLOCK

    outcome = await run_handlers(router.table.handlers, a_delivery(), {}, no_threads, None)
    assert seen == [None]
    assert outcome.failures == [DEADLOCK]
    assert (outcome.error or "").startswith("Contended: DeadlockDetected")


async def test_a_statement_timeout_while_waiting_for_the_mark() -> None:
    """Is contention; its error is there as the cause."""
    error = of_postgres("57014")
    with pytest.raises(Contended) as raised, asking(a_delivery(), "", cause_by_psycopg):
        raise error
    assert raised.value.__cause__ is error


async def test_a_missing_table() -> None:
    """Is the program's fault, and the message says what to do."""
    with pytest.raises(ConfigurationError, match="once_table"), asking(a_delivery(), "", cause_by_psycopg):
        raise of_postgres("42P01")
