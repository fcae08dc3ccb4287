"""Inboxes that operators cannot rely on."""

from collections.abc import Sequence
from dataclasses import replace

from airweave_webhooks.stores.base import NO_RESULTS, Key, Record
from airweave_webhooks.stores.inbox import Backlog, Cursor, Search, Tally
from sabotage.plain import PlainInbox
from sabotage.registry import found_by


@found_by("test_what_cannot_be_replayed_stays")
class ReplaysWhatHasNoBody(PlainInbox):
    def _replay(self, key: Key, who: str, why: str) -> bool:
        record = self._find(key)
        if record is not None and record.body is None:
            record.body = b""
        return super()._replay(key, who, why)


@found_by("test_a_replay_is_a_new_generation")
class ReplaysWithoutClearing(PlainInbox):
    def _replay(self, key: Key, who: str, why: str) -> bool:
        record = self._find(key)
        results = record.results if record else NO_RESULTS
        replayed = super()._replay(key, who, why)
        if record is not None and replayed:
            record.results = results
        return replayed


@found_by("test_a_batch_of_replays")
class ReplaysAllOrNone(PlainInbox):
    async def replay(self, keys: Sequence[Key], *, who: str, why: str) -> list[bool]:
        answers = await super().replay(keys, who=who, why=why)
        return [all(answers)] * len(answers)


@found_by("test_whoever_says_whatever_replays")
class NotesNoLongReasons(PlainInbox):
    def _replay(self, key: Key, who: str, why: str) -> bool:
        return super()._replay(key, who, why[:255])


@found_by("test_bodies_that_are_needed_are_kept")
class ForgetsBodiesOfTheDead(PlainInbox):
    async def forget_bodies(self, *, done_for: float, most: int) -> int:
        for record in self._records.values():
            if record.state == "dead" and (record.settled_at or 0.0) < self._clock() - done_for:
                record.body = None
        return await super().forget_bodies(done_for=done_for, most=most)


@found_by("test_bodies_are_forgotten")
class ForgetsBodiesWithoutBound(PlainInbox):
    async def forget_bodies(self, *, done_for: float, most: int) -> int:
        return await super().forget_bodies(done_for=done_for, most=10_000)


@found_by("test_bodies_are_forgotten")
class ForgetsTheRecordWithTheBody(PlainInbox):
    async def forget_bodies(self, *, done_for: float, most: int) -> int:
        return await super().purge(done_for=done_for, abandoned_for=1e9, most=most)


class OtherSearch(PlainInbox):
    """Cuts other pages."""

    def cut(self, found: list[Record], after: Cursor, most: int) -> list[Record]:
        raise NotImplementedError

    async def search(self, search: Search, *, after: Cursor | None = None, most: int) -> list[Record]:
        if after is None:
            return await super().search(search, most=most)
        return self.cut(await super().search(search, most=10_000), after, most)


@found_by("test_pages_skip_nothing_and_repeat_nothing")
class PagesSkipWhatCameAtTheSameTime(OtherSearch):
    def cut(self, found: list[Record], after: Cursor, most: int) -> list[Record]:
        return [record for record in found if record.received_at < after.received_at][:most]


@found_by("test_pages_skip_nothing_and_repeat_nothing")
class PagesBeginWithTheLast(OtherSearch):
    def cut(self, found: list[Record], after: Cursor, most: int) -> list[Record]:
        return [record for record in found if (record.received_at, *record.key[1:]) <= after][:most]


@found_by("test_pages_skip_nothing_and_repeat_nothing")
class TenantsInTheOrderOfADictionary(PlainInbox):
    async def search(self, search: Search, *, after: Cursor | None = None, most: int) -> list[Record]:
        page = await super().search(search, after=after, most=most)
        return sorted(page, key=lambda r: (r.received_at, r.key.tenant.lower(), r.key.key.lower()), reverse=True)


@found_by("test_pages_of_a_search")
class FiltersAfterThePage(PlainInbox):
    async def search(self, search: Search, *, after: Cursor | None = None, most: int) -> list[Record]:
        page = await super().search(search._replace(tenant=None), after=after, most=most)
        return [record for record in page if search.tenant in {None, record.key.tenant}]


@found_by("test_records_are_found_without_bodies")
class FindsBodies(PlainInbox):
    async def search(self, search: Search, *, after: Cursor | None = None, most: int) -> list[Record]:
        page = await super().search(search, after=after, most=most)
        return [replace(record, body=self._records[record.key].body) for record in page]


@found_by("test_what_is_asked_for_is_found")
class CountsOthers(PlainInbox):
    async def count(self, search: Search) -> int:
        return await super().count(search._replace(replayable=False))


@found_by("test_deliveries_are_tallied")
class TalliesAllReceivers(PlainInbox):
    async def tally(self, receiver: str) -> list[Tally]:
        return [one for name in {record.key.receiver for record in self._all} for one in await super().tally(name)]


class OtherBacklog(PlainInbox):
    """Says something else."""

    def other(self, ours: list[Record], right: Backlog) -> Backlog:
        raise NotImplementedError

    async def backlog(self, receiver: str) -> Backlog:
        ours = [record for record in self._all if record.key.receiver == receiver]
        return self.other(ours, await super().backlog(receiver))


@found_by("test_what_waits_is_counted")
class BacklogOfWhatIsDone(OtherBacklog):
    def other(self, ours: list[Record], right: Backlog) -> Backlog:
        return right._replace(pending=len([record for record in ours if record.state in {"pending", "done"}]))


@found_by("test_what_waits_is_counted")
class BacklogOfWhatIsDue(OtherBacklog):
    def other(self, ours: list[Record], right: Backlog) -> Backlog:
        due = [record for record in ours if record.state == "pending" and (record.due_at or 0.0) <= self._clock()]
        return right._replace(pending=len(due))


@found_by("test_what_waits_for_its_order_is_not_the_oldest")
class OldestIsBlocked(OtherBacklog):
    def other(self, ours: list[Record], right: Backlog) -> Backlog:
        ages = [self._clock() - (r.due_at or 0.0) for r in ours if r.state == "pending"]
        return right._replace(oldest=max([0.0, right.oldest, *ages]))


@found_by("test_suspects_are_counted")
class CountsOnlyThoseNotLeased(OtherBacklog):
    def other(self, ours: list[Record], right: Backlog) -> Backlog:
        return right._replace(suspects=sum(record.leases_lost >= 2 for record in ours))


@found_by("test_workers_are_seen")
class SeesWorkersOfAllReceivers(PlainInbox):
    async def beat(self, receiver: str, owner: str) -> None:
        await super().beat("default", owner)
        await super().beat("other", owner)
