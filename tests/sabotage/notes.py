"""Stores that tell a record's past wrongly."""

from airweave_webhooks.stores import transitions
from airweave_webhooks.stores.base import Claim, Claimed, Record, Settle
from airweave_webhooks.stores.history import LONGEST_HISTORY, appended, tail
from sabotage.plain import PlainStore
from sabotage.registry import found_by


class OtherHistory(PlainStore):
    """Writes down something else than what was added."""

    def other(self, before: str, after: str, record: Record, now: float) -> str:
        raise NotImplementedError

    def _claim(self, claim: Claim, now: float) -> Claimed:
        record = self._find(claim.key)
        before = record.history if record else ""
        answer = super()._claim(claim, now)
        if record is not None and record.history != before:
            record.history = self.other(before, record.history, record, now)
        return answer

    def _settle(self, wish: Settle, now: float) -> bool:
        record = self._find(wish.lease.key)
        before = record.history if record else ""
        stands = super()._settle(wish, now)
        if record is not None and record.history != before:
            record.history = self.other(before, record.history, record, now)
        return stands


@found_by("test_a_lost_lease_is_noted")
class KeepsTheLastNote(OtherHistory):
    def other(self, before: str, after: str, record: Record, now: float) -> str:
        return after.removeprefix(before)


@found_by("test_a_lost_lease_is_noted")
class LatestNoteFirst(OtherHistory):
    def other(self, before: str, after: str, record: Record, now: float) -> str:
        return after.removeprefix(before) + before


@found_by("test_a_lost_lease_is_noted")
class BlamesTheNext(OtherHistory):
    def other(self, before: str, after: str, record: Record, now: float) -> str:
        if '"lease_lost"' not in after.removeprefix(before):
            return after
        return appended(before, now, record.attempts - 1, record.owner, transitions.LEASE_LOST)


@found_by("test_a_settle_is_recorded")
class NotesInMilliseconds(OtherHistory):
    def other(self, before: str, after: str, record: Record, now: float) -> str:
        return before + after.removeprefix(before).replace("[", "[1", 1)


@found_by("test_of_a_long_history_the_end_is_kept")
class HistoryWithoutEnd(PlainStore):
    def _settle(self, wish: Settle, now: float) -> bool:
        record = self._find(wish.lease.key)
        before = record.history if record else ""
        stands = super()._settle(wish, now)
        if record is not None and wish.error and len(record.history) == LONGEST_HISTORY:
            end = tail(wish.reason or wish.state, wish.error)
            record.history = before + appended("", now, record.attempts, record.owner, end)
        return stands


@found_by("test_of_a_long_history_the_end_is_kept")
class KeepsTheBeginningOfTheHistory(OtherHistory):
    def other(self, before: str, after: str, record: Record, now: float) -> str:
        return before if len(after) == LONGEST_HISTORY else after


@found_by("test_notes_come_back_as_they_were")
class NotesWithoutQuoting(PlainStore):
    def _settle(self, wish: Settle, now: float) -> bool:
        error = None if wish.error is None else wish.error.replace('"', "'")
        return super()._settle(wish._replace(error=error), now)


@found_by("test_what_went_wrong_is_noted")
class NoNoteOfAnEmptyError(PlainStore):
    def _settle(self, wish: Settle, now: float) -> bool:
        return super()._settle(wish._replace(error=wish.error or None), now)


@found_by("test_what_went_wrong_is_noted")
class NotesTheErrorOfBefore(PlainStore):
    def _settle(self, wish: Settle, now: float) -> bool:
        record = self._find(wish.lease.key)
        error = record.error if record is not None and wish.error is None else wish.error
        return super()._settle(wish._replace(error=error), now)


@found_by("test_a_lease_without_a_start_is_no_attempt")
class EveryLeaseIsAnAttempt(PlainStore):
    def _settle(self, wish: Settle, now: float) -> bool:
        return super()._settle(wish._replace(started=True), now)


@found_by("test_a_lease_without_a_start_is_no_attempt")
class TakesAttemptsBackTwice(PlainStore):
    def _settle(self, wish: Settle, now: float) -> bool:
        record = self._find(wish.lease.key)
        again = record is not None and record.state != "leased"
        stands = super()._settle(wish, now)
        if record is not None and stands and again and not wish.started:
            record.attempts -= 1
        return stands


@found_by("test_an_origin_is_kept_or_dropped")
class KeepsHalfTheOrigin(PlainStore):
    def _claim(self, claim: Claim, now: float) -> Claimed:
        origin = claim.origin
        return super()._claim(claim._replace(origin=origin and origin._replace(headers={})), now)
