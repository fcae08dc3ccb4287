"""The model of what every store does. See `model`."""

import asyncio
import time
import uuid
from collections.abc import Coroutine
from dataclasses import fields, replace
from datetime import UTC, datetime
from typing import Any, Final, Literal, NamedTuple, TypeVar

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, precondition, rule

from airweave_webhooks.stores import transitions
from airweave_webhooks.stores.base import Claim, Claimed, Facts, Key, Lease, Record, Settle, Store

T = TypeVar("T")
Item = TypeVar("Item", bound=tuple[Any, ...])

BRIEF: Final = 0.001
"""Seconds: a lease that is over before the next step."""
LONG: Final = 100_000.0
"""Seconds: longer than any series of steps."""
BETWEEN_STEPS: Final = 0.003
"""Seconds."""
CLOSE: Final = 10.0
"""Seconds by which a time may differ from the model's, on a machine that is busy."""
TIMES: Final = ("received_at", "settled_at", "due_at", "lease_until")

KEYS: Final = (
    Key("a", "", "k"),
    Key("a", "", "j"),
    Key("a", "", "k "),
    Key("a", "t", "K"),
    Key("a:t", "", "k"),
    Key("b", "t:", "\N{SNOWMAN}"),
)
RESULTS: Final[tuple[dict[str, str], ...]] = (
    {},
    {"h": "processed"},
    {"h": "rejected"},
    {"g": "rejected", "h": "processed"},
)
FACTS: Final = (
    Facts("sync.completed", "docs", "github", "job", datetime(2026, 11, 20, 9, 3, 41, 803112, UTC)),
    Facts("search.completed"),
)


class Asked(NamedTuple):
    """One item of a batch of leases, before it is known what it refers to."""

    key: Key
    way: Literal["latest", "any", "wrong token", "wrong fence"]
    which: int
    """Of the key's leases, counted from the last one: for `any`."""


def key_of(one: tuple[Any, ...]) -> Key:
    """What an item of a batch is about."""
    key: Key = one[0]
    return key


def _in_order(batch: list[Item]) -> list[Item]:
    return sorted(batch, key=key_of)


def a_batch(one: st.SearchStrategy[Item]) -> st.SearchStrategy[list[Item]]:
    """A few different keys, in order."""
    return st.lists(one, min_size=2, max_size=len(KEYS), unique_by=key_of).map(_in_order)


_ways: Final = st.sampled_from(["latest"] * 5 + ["any", "wrong token", "wrong fence"])
_leases: Final = a_batch(st.builds(Asked, st.sampled_from(KEYS), _ways, st.integers(0, 7)))
_wishes: Final = st.builds(
    Claim,
    st.sampled_from(KEYS),
    st.sampled_from(["msg"] * 7 + ["other"]),
    st.sampled_from([b"1" * 32] * 7 + [b"2" * 32]),
    st.just(b""),  # each gets its own
    st.sampled_from(FACTS),
    st.sampled_from([BRIEF, LONG]),
    st.sampled_from(["host:1", "host:2"]),
    st.sampled_from(["leased"] * 7 + ["done", "dead"]),
    st.sampled_from([None, "because"]),
    st.sampled_from([None, b"", b"\0[]\xff"]),
    keep=st.just(30 * 86_400.0),
    origin=st.none(),  # what is not given, hypothesis makes up
)


_ends: Final = st.builds(
    Settle,
    st.just(Lease(KEYS[0], 0, b"")),  # each gets its own
    st.sampled_from(["done", "pending", "pending", "pending", "dead"]),
    st.sampled_from([None, "because"]),
    st.sampled_from(RESULTS),
    st.sampled_from([None, "E: \N{SNOWMAN}"]),
    st.sampled_from([0.0, 0.0, LONG]),
    st.sampled_from([None, b"", b"[body]"]),
    st.sampled_from([True, True, True, False]),
)


class StoreModel(RuleBasedStateMachine):
    """A store, and the model of it. Binds to the store by `make_store`."""

    def __init__(self) -> None:
        super().__init__()
        self._name = f"model_{uuid.uuid4().hex}"
        self._runner = asyncio.Runner()
        self.records: dict[Key, Record] = {}
        # What the store had after the last step, and the model.
        self.seen: dict[Key, tuple[Record, Record]] = {}
        self._claims: dict[Key, list[Claim]] = {}
        self.leases: dict[Key, list[Lease]] = {}
        self._tokens = 0
        self.ahead: float | None = None
        self._stores = [self._open()]
        if self._stores[0].durable:
            self._stores.append(self._open())

    def make_store(self, name: str) -> Store:
        """Return a store that is not open; of one name always on the same data, which are empty at first."""
        raise NotImplementedError

    def teardown(self) -> None:
        """Close the stores."""
        with self._runner:
            for store in self._stores:
                self.run(store.close())

    def run(self, work: Coroutine[Any, Any, T]) -> T:
        """Run what a store does, in time."""

        async def bounded() -> T:
            async with asyncio.timeout(60):
                return await work

        return self._runner.run(bounded())

    def _open(self) -> Store:
        store = self.make_store(self._name)
        self.run(store.open())
        return store

    @initialize(wishes=a_batch(_wishes))
    def first_claims(self, wishes: list[Claim]) -> None:
        """There is something to begin with."""
        self.claim_all(0, wishes)

    @rule(store=st.integers(0, 1), wishes=a_batch(_wishes))
    def claim(self, store: int, wishes: list[Claim]) -> None:
        """Claim some: new ones, and ones that came before."""
        self.claim_all(store, wishes)

    @rule(store=st.integers(0, 1), asked=a_batch(st.tuples(st.sampled_from(KEYS), st.integers(0, 3))))
    def repeat(self, store: int, asked: list[tuple[Key, int]]) -> None:
        """Send claims again, the last ones or older ones."""
        past = [(self._claims[key], which) for key, which in asked if key in self._claims]
        self._ask(store, [claims[-1 - which % len(claims)] for claims, which in past])

    @rule(store=st.integers(0, 1), wishes=a_batch(_wishes), end=_ends)
    def attempt(self, store: int, wishes: list[Claim], end: Settle) -> None:
        """Claim some, and settle those at once that are granted."""
        granted = self.claim_all(store, wishes)
        self._settle_all(store, [end._replace(lease=lease) for lease in granted])

    @rule(store=st.integers(0, 1), asked=_leases, end=_ends)
    def settle(self, store: int, asked: list[Asked], end: Settle) -> None:
        """Settle some: for the first time, again, too late, or without the right to."""
        self._settle_all(store, [end._replace(lease=lease) for lease in self._leases_for(asked)])

    def claim_all(self, store: int, wishes: list[Claim]) -> list[Lease]:
        """Claim, each with a token of its own; returns the leases that were given."""
        claims: list[Claim] = []
        for wish in wishes:
            claims.append(wish._replace(token=self.new_token()))
            self._claims.setdefault(wish.key, []).append(claims[-1])
        answers = self._ask(store, claims)
        return [
            Lease(claim.key, answer.fence, claim.token)
            for claim, answer in zip(claims, answers, strict=True)
            if answer.verdict == "claimed" and claim.into == "leased"
        ]

    def new_token(self) -> bytes:
        """One that was not used before."""
        self._tokens += 1
        return self._tokens.to_bytes(16)

    def _ask(self, store: int, claims: list[Claim]) -> list[Claimed]:
        now = self.now()
        expected = [self._claimed(claim, now) for claim in claims]
        answers = self.run(self.store(store).claim(claims))
        for answer, wanted in zip(answers, expected, strict=True):
            assert 0 <= answer.retry_after <= LONG, answer
            assert abs(answer.retry_after - wanted.retry_after) < CLOSE, (answer, wanted)
            assert answer._replace(retry_after=0.0, results=dict(answer.results)) == wanted._replace(retry_after=0.0)
        self.compare()
        return answers

    def _claimed(self, claim: Claim, now: float) -> Claimed:
        record = self.records.get(claim.key)
        if record is None:
            record = self.records[claim.key] = transitions.first_claim(claim, now)
            answer = transitions.granted(record)
        else:
            answer, _ = transitions.claim_again(record, claim, now)
        if answer.verdict == "claimed":
            self.leases.setdefault(claim.key, []).append(Lease(claim.key, answer.fence, claim.token))
        return answer._replace(results=dict(answer.results))

    def _settle_all(self, store: int, wishes: list[Settle]) -> None:
        now = self.now()
        expected = [transitions.settle(self.records.get(wish.lease.key), wish, now)[0] for wish in wishes]
        assert self.run(self.store(store).settle(wishes)) == expected
        self.compare()

    def _leases_for(self, asked: list[Asked]) -> list[Lease]:
        leases: list[Lease] = []
        for key, way, which in asked:
            past = self.leases.get(key, [Lease(key, 1, b"never given")])
            lease = past[-1 - which % len(past)] if way == "any" else past[-1]
            if way == "wrong token":
                lease = lease._replace(token=lease.token[::-1])
            elif way == "wrong fence":
                lease = lease._replace(fence=lease.fence + (1 if which % 2 else -1))
            leases.append(lease)
        return leases

    @rule(store=st.integers(0, 1), asked=_leases, seconds=st.sampled_from([BRIEF, LONG]))
    def renew(self, store: int, asked: list[Asked], seconds: float) -> None:
        """Renew some from another thread, or make them end."""
        leases = self._leases_for(asked)
        now = self.now()
        expected: list[bool] = []
        for lease in leases:
            record = self.records.get(lease.key)
            expected.append(transitions.may_renew(record, lease))
            if record is not None and expected[-1]:
                record.lease_until = now + seconds
        assert self.run(asyncio.to_thread(self.store(store).renew, leases, seconds)) == expected
        self.compare()

    @rule(
        store=st.integers(0, 1),
        done_for=st.sampled_from([0.0, LONG]),
        abandoned_for=st.sampled_from([0.0, LONG]),
        most=st.sampled_from([1, 2, 100]),
    )
    def purge(self, store: int, done_for: float, abandoned_for: float, most: int) -> None:
        """Forget and give up. Which ones, if not all, is the store's choice."""
        now = self.now()
        forgotten: set[Key] = set()
        given_up: set[Key] = set()
        for key, record in self.records.items():
            if record.state == "done" and (record.settled_at or 0.0) < now - done_for:
                forgotten.add(key)
            elif transitions.is_abandoned(record, now - abandoned_for):
                given_up.add(key)
        touched = self.run(self.store(store).purge(done_for=done_for, abandoned_for=abandoned_for, most=most))
        assert touched == min(most, len(forgotten) + len(given_up))
        keys = sorted(forgotten | given_up)
        for key, found in zip(keys, self.run(self.store(store).get(keys)), strict=True):
            if found is None and key in forgotten:
                del self.records[key]
                self.seen.pop(key)
                touched -= 1
            elif found is not None and found.state == "dead" and key in given_up:
                transitions.abandon(self.records[key], now)
                touched -= 1
        assert touched == 0, "the store says that it touched others than it did"
        self.compare()

    @precondition(lambda self: self._stores[0].durable)
    @rule(store=st.integers(0, 1))
    def reopen(self, store: int) -> None:
        """Close a store, and go on with a new one."""
        self.run(self._stores[store].close())
        self._stores[store] = self._open()
        self.compare()

    def store(self, which: int) -> Store:
        """One of those that are driven."""
        return self._stores[which % len(self._stores)]

    def now(self) -> float:
        """What is brief, and began before, is over now."""
        time.sleep(BETWEEN_STEPS)
        return time.time()

    def compare(self) -> None:
        """Every record that each of the stores has, with the model's."""
        for store in self._stores:
            for key, record in zip(KEYS, self.run(store.get(KEYS)), strict=True):
                wanted = self.records.get(key)
                assert (record is None) == (wanted is None), (key, record, wanted)
                if record is not None and wanted is not None:
                    self.compare_one(record, wanted)

    def compare_one(self, record: Record, wanted: Record) -> None:
        """A record that a store has, with the model's."""
        if self.ahead is None:
            self.ahead = record.received_at - wanted.received_at
        before, wanted_before = self.seen.setdefault(record.key, (record, replace(wanted)))
        self.seen[record.key] = record, replace(wanted)
        for field in fields(Record):
            found, model = getattr(record, field.name), getattr(wanted, field.name)
            if field.name in TIMES:
                assert (found is None) == (model is None), (field.name, record, wanted)
                assert found is None or abs(found - model - self.ahead) < CLOSE, (field.name, record, wanted)
                changed = model != getattr(wanted_before, field.name)
                assert (found != getattr(before, field.name)) == changed, (field.name, record, wanted)
            elif field.name == "results":
                assert dict(found) == dict(model), (record, wanted)
            elif field.name == "history":
                self._compare_notes(record, wanted)
                assert (found != before.history) == (model != wanted_before.history), (record, wanted)
            else:
                assert found == model, (field.name, record, wanted)

    def _compare_notes(self, record: Record, wanted: Record) -> None:
        assert len(record.notes) == len(wanted.notes), (record, wanted)
        for found, model in zip(record.notes, wanted.notes, strict=True):
            assert found._replace(at=0.0) == model._replace(at=0.0), (record, wanted)
            assert abs(found.at - model.at - (self.ahead or 0.0)) < CLOSE, (record, wanted)
