"""What a test expects of a receiver, and what it reads when it was wrong."""

from collections import Counter
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from typing import Final

from airweave_webhooks.stores.base import Record
from airweave_webhooks.testing.journal import Journal, Run, Sent

MOST_LINES: Final = 20
"""Of one kind, in the report of a failure."""


def check_handled_once(sent: Sequence[Sent], journal: Journal, records: Sequence[Record]) -> None:
    """Fail unless each delivery was handled, and each handler that ran for it succeeded exactly once.

    What has the same key is one delivery, also under several message ids.
    """
    _check_given(sent)
    keys = {journal.key_of(one) for one in sent}
    ours = [run for run in journal.runs if run.key in keys]
    successes = Counter((run.key, run.handler) for run in ours if run.error is None)
    for key, handler in dict.fromkeys((run.key, run.handler) for run in ours):
        if successes[key, handler] != 1:
            times = _times(successes[key, handler])
            raise AssertionError(f"{handler} succeeded {times}, not once{_report(sent, journal, records)}")
    unhandled = keys - {run.key for run in ours}
    if unhandled:
        missed = [one for one in sent if journal.key_of(one) in unhandled]
        raise AssertionError(f"no handler ran{_report(missed, journal, records)}")


def check_rejected(sent: Sequence[Sent], journal: Journal, records: Sequence[Record]) -> None:
    """Fail unless each was turned away: refused and not stored, or rejected by its handlers."""
    _check_given(sent)
    for one in sent:
        record = _record_of(one, journal, records)
        refused = one.status is not None and 400 <= one.status < 500 and one.diagnosis is not None and record is None
        rejected = record is not None and record.reason == "rejected"
        if not (refused or rejected):
            raise AssertionError(f"it was not rejected{_report([one], journal, records)}")


def check_dead(sent: Sequence[Sent], journal: Journal, records: Sequence[Record], reason: str | None) -> None:
    """Fail unless each is dead, for that reason if one is given."""
    _check_given(sent)
    for one in sent:
        record = _record_of(one, journal, records)
        if record is None or record.state != "dead" or reason not in {None, record.reason}:
            wanted = "dead" if reason is None else f"dead ({reason})"
            raise AssertionError(f"it is not {wanted}{_report([one], journal, records)}")


def check_no_pending(records: Iterable[Record], now: float) -> None:
    """Fail if anything waits, or is still under a lease."""
    waiting = [record for record in records if record.state in {"pending", "leased", "queued"}]
    if waiting:
        lines = [f"{_state(record)}{_due(record, now)}" for record in waiting]
        raise AssertionError(f"{len(waiting)} not finished:{_listed(lines)}")


def _check_given(sent: Sequence[Sent]) -> None:
    if not sent:
        raise AssertionError("nothing was sent, so there is nothing to check")


def _record_of(sent: Sent, journal: Journal, records: Iterable[Record]) -> Record | None:
    key = journal.key_of(sent)
    return next((record for record in records if record.key[1:] == key), None)


def _report(sent: Sequence[Sent], journal: Journal, records: Iterable[Record]) -> str:
    keys = {journal.key_of(one) for one in sent}
    runs = [run for run in journal.runs if run.key in keys]
    return (
        _listed([f"{one.id} was answered {_answer(one)}" for one in sent])
        + _listed([f"{run.handler} ran in attempt {run.delivery.attempt}: {_result(run)}" for run in runs])
        + _listed([f"the store has {_state(record)}" for record in records if record.key[1:] in keys])
    )


def _listed(lines: Sequence[str]) -> str:
    more = [f"… and {len(lines) - MOST_LINES} more"] if len(lines) > MOST_LINES else []
    return "".join(f"\n  {line}" for line in [*lines[:MOST_LINES], *more])


def _answer(sent: Sent) -> str:
    if sent.status is None:
        return "not at all: the process crashed"
    if sent.outcome is None:
        return f"{sent.status}, but not by the receiver: is it mounted at the client's `path`?"
    why = f" ({sent.diagnosis})" if sent.diagnosis else ""
    hint = "; run_pending() runs its handlers" if sent.outcome == "accepted" else ""
    hint = "; no handler matches it" if sent.outcome == "ignored" else hint
    return f"{sent.status} {sent.outcome}{why}{hint}"


def _result(run: Run) -> str:
    return "succeeded" if run.error is None else f"{type(run.error).__name__}: {run.error}"


def _state(record: Record) -> str:
    state = f"{record.state} ({record.reason})" if record.reason else record.state
    error = f": {record.error}" if record.error else ""
    return f"{record.message_id} {record.facts.event_type} {state}{error}"


def _due(record: Record, now: float) -> str:
    until = record.lease_until if record.state == "leased" else record.due_at
    if until is None:
        return ""
    what = "its lease ends" if record.state == "leased" else "due"
    return f"; {what} {datetime.fromtimestamp(until, UTC):%H:%M:%S} UTC, in {until - now:.0f} s"


def _times(number: int) -> str:
    return "never" if number == 0 else f"{number} times"
