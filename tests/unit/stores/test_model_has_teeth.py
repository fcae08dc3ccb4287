"""The model finds stores that do what it does not."""

from collections.abc import Callable
from pathlib import Path
from typing import Final

import pytest
from hypothesis import Phase, settings

from airweave_webhooks.stores import SQLiteStore, sqlite_schema
from airweave_webhooks.stores.base import Claim, Claimed, Key, Lease, Record, Settle
from airweave_webhooks.stores.inbox import Cursor, Search, Take, Taken
from airweave_webhooks.testing.model import QUICK, prove
from sabotage.plain import PlainInbox, PlainStore

# Found is enough: the shortest series of steps takes long to find.
FIND: Final = settings(QUICK, max_examples=150, phases=[Phase.generate], report_multiple_bugs=False)


class TakesItsTime(PlainStore):
    """Takes a holder's claim that comes again for a renewal."""

    def _claim(self, claim: Claim, now: float) -> Claimed:
        answer = super()._claim(claim, now)
        record = self._records.get(claim.key)
        if record is not None and record.state == "leased" and record.token == claim.token:
            record.lease_until = now + claim.lease
        return answer


class BringsLeasesBack(PlainStore):
    """Renews what was settled meanwhile."""

    def _renew(self, lease: Lease, until: float) -> bool:
        record = self._records.get(lease.key)
        if record is not None and record.state == "pending" and record.token == lease.token:
            record.state = "leased"
        return super()._renew(lease, until)


class ForgetsWhoRejected(PlainStore):
    """Gives up on a delivery and its results."""

    async def purge(self, *, done_for: float, abandoned_for: float, most: int) -> int:
        touched = await super().purge(done_for=done_for, abandoned_for=abandoned_for, most=most)
        for record in self._records.values():
            if record.reason == "abandoned":
                record.results = {}
        return touched


class SettlesTwice(PlainStore):
    """Writes a settle that comes again once more."""

    def _settle(self, wish: Settle, now: float) -> bool:
        stands = super()._settle(wish, now)
        record = self._find(wish.lease.key)
        if stands and record is not None and wish.lease.key in self._records:
            record.settled_at = now
        return stands


@pytest.mark.parametrize("store", [TakesItsTime, BringsLeasesBack, ForgetsWhoRejected, SettlesTwice])
def test_a_sabotaged_plain_store_is_found(store: Callable[[], PlainStore]) -> None:
    """With the short settings."""
    with pytest.raises(AssertionError):
        prove(lambda _: store(), FIND)


class TakesWithoutTheOrder(PlainInbox):
    """Does not look at what happened first."""

    def _claim(self, claim: Claim, now: float) -> Claimed:
        return super()._claim(claim._replace(facts=claim.facts._replace(event_time=None)), now)


class GivesMoreOnRepetition(PlainInbox):
    """Takes a take that comes again for a new one."""

    async def take(self, take: Take) -> list[Taken]:
        return await super().take(take._replace(token=take.token + b"again"))


class ReplaysWhatIsOpen(PlainInbox):
    """Does not ask in which state it is."""

    def _replay(self, key: Key, who: str, why: str) -> bool:
        record = self._records.get(key)
        if record is not None and record.body is not None and record.state == "pending":
            record.state = "dead"
        return super()._replay(key, who, why)


class SkipsAPlace(PlainInbox):
    """Begins the next page too late."""

    async def search(self, search: Search, *, after: Cursor | None = None, most: int) -> list[Record]:
        return (await super().search(search, after=after, most=most + 1))[1 if after else 0 :][:most]


class SuspectsEarly(PlainInbox):
    """Counts leases that were lost before a replay."""

    def _replay(self, key: Key, who: str, why: str) -> bool:
        record = self._records.get(key)
        lost = 0 if record is None else record.leases_lost
        replayed = super()._replay(key, who, why)
        if record is not None and replayed:
            record.leases_lost = lost
        return replayed


@pytest.mark.parametrize(
    "store", [TakesWithoutTheOrder, GivesMoreOnRepetition, ReplaysWhatIsOpen, SkipsAPlace, SuspectsEarly]
)
def test_a_sabotaged_plain_inbox_is_found(store: Callable[[], PlainInbox]) -> None:
    """Likewise."""
    with pytest.raises(AssertionError):
        prove(lambda _: store(), FIND)


@pytest.mark.parametrize(
    ("name", "right", "wrong"),
    [
        ("insert", "CASE column15 WHEN 'pending' THEN column1 END", "column1"),
        ("insert", "column15 IN ('done', 'dead')", "column15 = 'done'"),
        ("insert", "column15 = 'leased', 1", "1, 1"),
        ("settle", "AND fence = column13", "AND fence >= column13"),
        ("settle", "coalesce(column7, body)", "column7"),
        ("settle", "AND state = 'leased'", "AND state <> 'done'"),
        ("RENEW", "AND token = ?", "AND ? IS NOT NULL"),
        ("ABANDON", "body IS NULL AND", "coalesce(body, x'') = x'' AND"),
        ("PURGE_DONE", "state = 'done' AND", "state IN ('done', 'dead') AND"),
    ],
)
def test_a_sabotaged_sqlite_store_is_found(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, right: str, wrong: str
) -> None:
    """One word of its SQL is wrong."""
    statement = getattr(sqlite_schema, name)
    assert right in (statement(1) if callable(statement) else statement)
    sabotaged = (
        (lambda rows: statement(rows).replace(right, wrong)) if callable(statement) else statement.replace(right, wrong)
    )
    monkeypatch.setattr(sqlite_schema, name, sabotaged)
    with pytest.raises(AssertionError):
        prove(lambda data: SQLiteStore(tmp_path / f"{data}.db"), FIND)
