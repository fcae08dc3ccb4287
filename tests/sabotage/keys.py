"""Stores that mistake one delivery for another, or cannot hold what it is."""

import unicodedata
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial

from airweave_webhooks.stores.base import Claim, Claimed, Facts, Key, Lease, Record, Settle
from sabotage.plain import PlainStore
from sabotage.registry import found_by


class OtherKeys(PlainStore):
    """Finds records by something else than the key."""

    def other(self, key: Key) -> Key:
        raise NotImplementedError

    def _claim(self, claim: Claim, now: float) -> Claimed:
        return super()._claim(claim._replace(key=self.other(claim.key)), now)

    def _settle(self, wish: Settle, now: float) -> bool:
        lease = wish.lease._replace(key=self.other(wish.lease.key))
        return super()._settle(wish._replace(lease=lease), now)

    def _renew(self, lease: Lease, until: float) -> bool:
        return super()._renew(lease._replace(key=self.other(lease.key)), until)

    async def get(self, keys: Sequence[Key]) -> list[Record | None]:
        found = await super().get([self.other(key) for key in keys])
        return [record and replace(record, key=key) for record, key in zip(found, keys, strict=True)]


def other_keys(name: str, other: Callable[[Key], Key]) -> None:
    """Register a store that mistakes keys for each other."""
    store = type(name, (OtherKeys,), {"other": lambda self, key: other(key)})
    found_by("test_keys_are_the_same_only_if_all_of_them_is")(store)


def joined(mark: str, key: Key) -> Key:
    return Key("", "", mark.join(key))


for mark in (":", "|", "/", "\x1f", ""):
    other_keys(f"KeysJoinedBy{mark!r}", partial(joined, mark))
other_keys("TenantForgotten", lambda key: key._replace(tenant=""))
other_keys("ReceiverForgotten", lambda key: key._replace(receiver=""))
other_keys("CaseIgnored", lambda key: key._replace(key=key.key.lower()))
other_keys("TenantsCaseIgnored", lambda key: key._replace(tenant=key.tenant.casefold()))
other_keys("SpacesTrimmed", lambda key: key._replace(key=key.key.rstrip()))
other_keys("Normalised", lambda key: key._replace(key=unicodedata.normalize("NFC", key.key)))
other_keys("AccentsLost", lambda key: key._replace(key=key.key.encode("ascii", "replace").decode()))
other_keys(
    "NumbersTaken", lambda key: key._replace(key=str(float(key.key)) if key.key.strip("+").isdigit() else key.key)
)
other_keys("CutShort", lambda key: key._replace(key=key.key[:255]))
other_keys("EmptyIsNone", lambda key: Key(*(part or "None" for part in key)))


class OtherFacts(PlainStore):
    """Stores something else than the facts."""

    def other(self, facts: Facts) -> Facts:
        raise NotImplementedError

    def _claim(self, claim: Claim, now: float) -> Claimed:
        return super()._claim(claim._replace(facts=self.other(claim.facts)), now)


@found_by("test_facts_come_back_as_they_were")
class NoneIsEmpty(OtherFacts):
    def other(self, facts: Facts) -> Facts:
        return facts._replace(collection=facts.collection or "")


@found_by("test_facts_come_back_as_they_were")
class EmptyIsNone(OtherFacts):
    def other(self, facts: Facts) -> Facts:
        return facts._replace(collection=facts.collection or None)


@found_by("test_facts_come_back_as_they_were")
class CutsTexts(OtherFacts):
    def other(self, facts: Facts) -> Facts:
        return facts._replace(collection=facts.collection and facts.collection[:255])


@found_by("test_facts_come_back_as_they_were")
class TimesWithoutZone(OtherFacts):
    def other(self, facts: Facts) -> Facts:
        return facts._replace(event_time=facts.event_time and facts.event_time.replace(tzinfo=None))


@found_by("test_facts_come_back_as_they_were")
class TimesInMilliseconds(OtherFacts):
    def other(self, facts: Facts) -> Facts:
        time = facts.event_time
        return facts._replace(event_time=time and time.replace(microsecond=time.microsecond // 1000 * 1000))


@found_by("test_the_facts_are_those_of_the_first_claim")
class FactsOfTheLastClaim(PlainStore):
    def _claim(self, claim: Claim, now: float) -> Claimed:
        answer = super()._claim(claim, now)
        record = self._find(claim.key)
        if record is not None:
            record.facts = claim.facts
        return answer
