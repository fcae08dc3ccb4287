"""Inboxes that give workers the wrong deliveries, or not what came."""

import asyncio
from dataclasses import replace

from airweave_webhooks.stores import inbox_transitions
from airweave_webhooks.stores.base import NO_RESULTS, Claim, Claimed, Lease, Origin, Record, Settle
from airweave_webhooks.stores.inbox import Take, Taken
from sabotage.plain import PlainInbox
from sabotage.registry import found_by


class OtherTake(PlainInbox):
    """Finds something else to take."""

    def choose(self, take: Take, now: float) -> list[Record]:
        raise NotImplementedError

    async def take(self, take: Take) -> list[Taken]:
        now = self._clock()
        records = self._records.values()
        taken = [inbox_transitions.take(record, take, records, now) for record in self.choose(take, now)]
        return [one._replace(record=replace(one.record)) for one in taken]


@found_by("test_one_after_the_other")
class TakesWithoutTheOrder(PlainInbox):
    def _claim(self, claim: Claim, now: float) -> Claimed:
        return super()._claim(claim._replace(origin=claim.origin and claim.origin._replace(order="")), now)


@found_by("test_one_after_the_other")
class TwoOfOneOrderInABatch(OtherTake):
    def choose(self, take: Take, now: float) -> list[Record]:
        found: list[Record] = []
        waiting = dict(self._records)
        while len(found) < take.most and (more := inbox_transitions.choose(waiting.values(), take, now)):
            found += more
            for record in more:
                del waiting[record.key]
        return found[: take.most]


@found_by("test_none_beside_one_under_lease")
class OnlyTheEarlierBlock(OtherTake):
    def choose(self, take: Take, now: float) -> list[Record]:
        free = [record for record in self._records.values() if record.token == take.token or not _is_held(record, now)]
        return inbox_transitions.choose(free, take, now)


def _is_held(record: Record, now: float) -> bool:
    return record.state == "leased" and (record.lease_until or 0.0) > now


@found_by("test_what_waits_is_waited_for")
class WaitsOnlyForWhatIsDue(OtherTake):
    def choose(self, take: Take, now: float) -> list[Record]:
        due = [record for record in self._records.values() if (record.due_at or 0.0) <= now]
        return inbox_transitions.choose(due, take, now)


@found_by("test_who_is_left_alone_is_waited_for")
class WaitsForNoSuspect(OtherTake):
    def choose(self, take: Take, now: float) -> list[Record]:
        records = [r for r in self._records.values() if take.suspects or not inbox_transitions.is_suspect(r)]
        return inbox_transitions.choose(records, take, now)


@found_by("test_who_is_left_alone_is_waited_for")
class WaitsForNoneLeftAlone(OtherTake):
    def choose(self, take: Take, now: float) -> list[Record]:
        records = [record for record in self._records.values() if record.facts.event_type not in take.without]
        return inbox_transitions.choose(records, take._replace(without=()), now)


@found_by("test_to_the_microsecond")
class OrdersToTheMillisecond(PlainInbox):
    def _claim(self, claim: Claim, now: float) -> Claimed:
        time = claim.facts.event_time
        rounded = time and time.replace(microsecond=time.microsecond // 1000 * 1000)
        return super()._claim(claim._replace(facts=claim.facts._replace(event_time=rounded)), now)


@found_by("test_event_types_can_be_left_alone")
class IgnoresWithout(PlainInbox):
    async def take(self, take: Take) -> list[Taken]:
        return await super().take(take._replace(without=()))


@found_by("test_some_event_types_only")
class IgnoresOnly(PlainInbox):
    async def take(self, take: Take) -> list[Taken]:
        return await super().take(take._replace(only=()))


@found_by("test_event_types_can_be_left_alone")
class LeavesAloneAfterTheLimit(PlainInbox):
    async def take(self, take: Take) -> list[Taken]:
        taken = await super().take(take._replace(without=()))
        return [one for one in taken if one.record.facts.event_type not in take.without]


@found_by("test_who_has_lost_once_is_no_suspect")
class SuspectsTheFirstTime(OtherTake):
    def choose(self, take: Take, now: float) -> list[Record]:
        for record in self._records.values():
            record.leases_lost += 1
        found = inbox_transitions.choose(self._records.values(), take, now)
        for record in self._records.values():
            record.leases_lost -= 1
        return found


@found_by("test_suspects_are_taken_alone")
class SuspectsTogether(OtherTake):
    def choose(self, take: Take, now: float) -> list[Record]:
        found = inbox_transitions.choose(self._records.values(), take, now)
        more = [record for record in self._records.values() if inbox_transitions.is_suspect(record)]
        return more if found and take.suspects and found[0].token != take.token else found


@found_by("test_a_repeated_take_gives_what_it_took")
class ForgetsTheToken(OtherTake):
    def choose(self, take: Take, now: float) -> list[Record]:
        return inbox_transitions.choose(self._records.values(), take._replace(token=b"new"), now)


@found_by("test_a_repeated_take_gives_what_it_took")
class RepeatsUpToTheLimit(PlainInbox):
    async def take(self, take: Take) -> list[Taken]:
        return (await super().take(take))[: take.most]


@found_by("test_a_repeated_take_is_no_renewal")
class RepeatingRenews(PlainInbox):
    async def take(self, take: Take) -> list[Taken]:
        taken = await super().take(take)
        for one in taken:
            self._records[one.record.key].lease_until = one.record.lease_until = self._clock() + take.lease
        return taken


@found_by("test_no_more_than_was_asked_for")
class TakesOneMore(PlainInbox):
    async def take(self, take: Take) -> list[Taken]:
        return await super().take(take._replace(most=take.most + 1))


@found_by("test_what_was_due_first_comes_first")
class TakesInTheOrderOfComing(PlainInbox):
    async def take(self, take: Take) -> list[Taken]:
        return sorted(await super().take(take), key=lambda one: one.record.received_at)


@found_by("test_what_was_due_first_comes_first")
class LostOnesLast(PlainInbox):
    async def take(self, take: Take) -> list[Taken]:
        return sorted(await super().take(take), key=lambda one: one.record.leases_lost)


@found_by("test_many_takers_at_once")
class LooksFirstAndTakesLater(OtherTake):
    async def take(self, take: Take) -> list[Taken]:
        found = inbox_transitions.choose(self._records.values(), take, self._clock())
        await asyncio.sleep(0)
        taken = [inbox_transitions.take(record, take, (), self._clock()) for record in found]
        return [one._replace(record=replace(one.record)) for one in taken]


@found_by("test_a_lost_lease_is_taken_over")
class AcceptsTheStaleHolder(PlainInbox):
    def _settle(self, wish: Settle, now: float) -> bool:
        record = self._find(wish.lease.key)
        if record is not None and record.leases_lost:
            wish = wish._replace(lease=Lease(record.key, record.fence, record.token))
        return super()._settle(wish, now)


@found_by("test_stale_is_what_something_later_is_done_of")
class NeverStale(PlainInbox):
    async def take(self, take: Take) -> list[Taken]:
        return [one._replace(stale=False) for one in await super().take(take)]


@found_by("test_bodies_and_origins_come_back_as_they_were")
class LosesHeaders(PlainInbox):
    def _claim(self, claim: Claim, now: float) -> Claimed:
        return super()._claim(claim._replace(origin=claim.origin and claim.origin._replace(headers=NO_RESULTS)), now)


@found_by("test_bodies_and_origins_come_back_as_they_were")
class HeaderNamesInLowerCase(PlainInbox):
    def _claim(self, claim: Claim, now: float) -> Claimed:
        headers = {name.lower(): value for name, value in claim.origin.headers.items()} if claim.origin else {}
        return super()._claim(claim._replace(origin=claim.origin and claim.origin._replace(headers=headers)), now)


@found_by("test_bodies_and_origins_come_back_as_they_were")
class EmptyOriginIsNone(PlainInbox):
    def _claim(self, claim: Claim, now: float) -> Claimed:
        return super()._claim(claim._replace(origin=None if claim.origin == Origin(0) else claim.origin), now)


@found_by("test_a_body_without_an_origin")
class NoneIsAnEmptyOrigin(PlainInbox):
    def _claim(self, claim: Claim, now: float) -> Claimed:
        return super()._claim(claim._replace(origin=claim.origin or Origin(0)), now)


@found_by("test_a_request_may_work_on_what_is_due")
class RequestsDropTheOrigin(PlainInbox):
    def _claim(self, claim: Claim, now: float) -> Claimed:
        answer = super()._claim(claim, now)
        record = self._find(claim.key)
        if record is not None and claim.into == "leased":
            record.origin = None
        return answer


@found_by("test_a_purge_drops_nothing_that_has_a_body")
class PurgesWhatAWorkerHas(PlainInbox):
    async def purge(self, *, done_for: float, abandoned_for: float, most: int) -> int:
        lost = [key for key, record in self._records.items() if (record.lease_until or 1e99) < self._clock()]
        for key in lost:
            del self._records[key]
        return len(lost) + await super().purge(done_for=done_for, abandoned_for=abandoned_for, most=most)
