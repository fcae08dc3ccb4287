"""What a test expects of a receiver, and what it reads when it was wrong."""

from collections import Counter
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime

from airweave_webhooks.stores.base import Record
from airweave_webhooks.testing.journal import Run, Sent


def check_handled_once(sent: Sequence[Sent], runs: Iterable[Run], records: Sequence[Record]) -> None:
    """Fail unless each delivery was handled, and each handler that ran for it succeeded exactly once.

    What has the same key is one delivery, also under several message ids.
    """
    ids = {one.id for one in sent}
    ours = [run for run in runs if run.delivery.id in ids]
    successes = Counter((run.delivery.key, run.handler) for run in ours if run.error is None)
    for key, handler in dict.fromkeys((run.delivery.key, run.handler) for run in ours):
        if successes[key, handler] != 1:
            times = _times(successes[key, handler])
            raise AssertionError(f"{handler} succeeded {times}, not once{_report(sent, ours, records)}")
    handled = {run.delivery.id for run in ours}
    if not ours or any(one.id not in handled and one.outcome != "duplicate" for one in sent):
        raise AssertionError(f"no handler ran{_report(sent, ours, records)}")


def check_rejected(sent: Sequence[Sent], records: Sequence[Record]) -> None:
    """Fail unless each was turned away: refused and not stored, or rejected by its handlers."""
    for one in sent:
        record = next((record for record in records if record.message_id == one.id), None)
        refused = one.status is not None and 400 <= one.status < 500 and one.diagnosis is not None and record is None
        rejected = record is not None and record.reason == "rejected"
        if not (refused or rejected):
            raise AssertionError(f"it was not rejected{_report([one], one.runs, records)}")


def check_dead(sent: Sequence[Sent], records: Sequence[Record], reason: str | None) -> None:
    """Fail unless each is dead, for that reason if one is given."""
    for one in sent:
        record = next((record for record in records if record.message_id == one.id), None)
        if record is None or record.state != "dead" or reason not in {None, record.reason}:
            wanted = "dead" if reason is None else f"dead ({reason})"
            raise AssertionError(f"it is not {wanted}{_report([one], one.runs, records)}")


def check_no_pending(records: Iterable[Record], now: float) -> None:
    """Fail if anything waits, or is still under a lease."""
    waiting = [record for record in records if record.state in {"pending", "leased", "queued"}]
    if waiting:
        lines = "".join(f"\n  {_state(record)}{_due(record, now)}" for record in waiting)
        raise AssertionError(f"{len(waiting)} not finished:{lines}")


def _report(sent: Sequence[Sent], runs: Iterable[Run], records: Sequence[Record]) -> str:
    lines = [f"{one.id} was answered {_answer(one)}" for one in sent]
    lines += [f"{run.handler} ran in attempt {run.delivery.attempt}: {_result(run)}" for run in runs]
    ids = {one.id for one in sent}
    lines += [f"the store has {_state(record)}" for record in records if record.message_id in ids]
    return "".join(f"\n  {line}" for line in lines)


def _answer(sent: Sent) -> str:
    if sent.status is None:
        return "not at all: the process crashed"
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
