"""A model of every store: plain dictionaries and `transitions`, driven with random steps beside the store itself.

Prove a store of your own with it:

    def test_the_model(tmp_path: Path) -> None:
        prove(lambda name: MyStore(tmp_path / name))

Each series of steps is on data of its own, called `name`. A store that is durable is driven through two objects at
once, which are closed and made anew now and then. Every answer is compared with the model's, and after every step
every record; hypothesis shows the shortest series that it finds which a store answers wrongly.

A shared store has its own clock. So leases are long, or over before the next step, and times are compared to within
a few seconds; a time that must not change is compared exactly. Needs the `testing` extra.
"""

import asyncio
import time
import uuid
from collections.abc import Callable, Coroutine
from dataclasses import fields, replace
from datetime import UTC, datetime
from importlib.util import find_spec
from typing import Any, Final, Literal, NamedTuple, TypeVar

from airweave_webhooks.errors import ConfigurationError
from airweave_webhooks.stores import transitions
from airweave_webhooks.stores.base import Claim, Claimed, Facts, Key, Lease, Record, Settle, Store

if find_spec("hypothesis") is None:
    raise ConfigurationError(
        "airweave_webhooks.testing.model needs the `hypothesis` package: pip install 'airweave-webhooks[testing]'"
    )

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, precondition, rule, run_state_machine_as_test

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

QUICK: Final = settings(
    max_examples=25,
    stateful_step_count=30,
    deadline=None,
    derandomize=True,
    database=None,
    suppress_health_check=(HealthCheck.too_slow, HealthCheck.filter_too_much, HealthCheck.data_too_large),
)
"""A few seconds for a store, the same steps each time."""
THOROUGH: Final = settings(QUICK, max_examples=400, stateful_step_count=60, derandomize=False)
"""Minutes, with other steps each time."""

KEYS: Final = (
    Key("a", "", "k"),
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


def _key(one: tuple[Any, ...]) -> Key:
    key: Key = one[0]
    return key


def _in_order(batch: list[Item]) -> list[Item]:
    return sorted(batch, key=_key)


def _batch(one: st.SearchStrategy[Item]) -> st.SearchStrategy[list[Item]]:
    """A few different keys, in order."""
    return st.lists(one, min_size=2, max_size=len(KEYS), unique_by=_key).map(_in_order)


_ways: Final = st.sampled_from(["latest"] * 5 + ["any", "wrong token", "wrong fence"])
_leases: Final = _batch(st.builds(Asked, st.sampled_from(KEYS), _ways, st.integers(0, 7)))
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
)


class StoreModel(RuleBasedStateMachine):
    """A store, and the model of it. Binds to the store by `make_store`."""

    def __init__(self) -> None:
        super().__init__()
        self._name = f"model_{uuid.uuid4().hex}"
        self._runner = asyncio.Runner()
        self._records: dict[Key, Record] = {}
        # What the store had after the last step, and the model.
        self._seen: dict[Key, tuple[Record, Record]] = {}
        self._claims: dict[Key, list[Claim]] = {}
        self._leases: dict[Key, list[Lease]] = {}
        self._tokens = 0
        self._ahead: float | None = None
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
                self._run(store.close())

    def _run(self, work: Coroutine[Any, Any, T]) -> T:
        async def bounded() -> T:
            async with asyncio.timeout(60):
                return await work

        return self._runner.run(bounded())

    def _open(self) -> Store:
        store = self.make_store(self._name)
        self._run(store.open())
        return store

    @initialize(wishes=_batch(_wishes))
    def first_claims(self, wishes: list[Claim]) -> None:
        """There is something to begin with."""
        self._claim_all(0, wishes)

    @rule(store=st.integers(0, 1), wishes=_batch(_wishes))
    def claim(self, store: int, wishes: list[Claim]) -> None:
        """Claim some: new ones, and ones that came before."""
        self._claim_all(store, wishes)

    @rule(store=st.integers(0, 1), asked=_batch(st.tuples(st.sampled_from(KEYS), st.integers(0, 3))))
    def repeat(self, store: int, asked: list[tuple[Key, int]]) -> None:
        """Send claims again, the last ones or older ones."""
        past = [(self._claims[key], which) for key, which in asked if key in self._claims]
        self._ask(store, [claims[-1 - which % len(claims)] for claims, which in past])

    @rule(store=st.integers(0, 1), wishes=_batch(_wishes), end=_ends)
    def attempt(self, store: int, wishes: list[Claim], end: Settle) -> None:
        """Claim some, and settle those at once that are granted."""
        granted = self._claim_all(store, wishes)
        self._settle_all(store, [end._replace(lease=lease) for lease in granted])

    @rule(store=st.integers(0, 1), asked=_leases, end=_ends)
    def settle(self, store: int, asked: list[Asked], end: Settle) -> None:
        """Settle some: for the first time, again, too late, or without the right to."""
        self._settle_all(store, [end._replace(lease=lease) for lease in self._leases_for(asked)])

    def _claim_all(self, store: int, wishes: list[Claim]) -> list[Lease]:
        claims: list[Claim] = []
        for wish in wishes:
            self._tokens += 1
            claims.append(wish._replace(token=self._tokens.to_bytes(16)))
            self._claims.setdefault(wish.key, []).append(claims[-1])
        answers = self._ask(store, claims)
        return [
            Lease(claim.key, answer.fence, claim.token)
            for claim, answer in zip(claims, answers, strict=True)
            if answer.verdict == "claimed" and claim.into == "leased"
        ]

    def _ask(self, store: int, claims: list[Claim]) -> list[Claimed]:
        now = self._now()
        expected = [self._claimed(claim, now) for claim in claims]
        answers = self._run(self._store(store).claim(claims))
        for answer, wanted in zip(answers, expected, strict=True):
            assert 0 <= answer.retry_after <= LONG, answer
            assert abs(answer.retry_after - wanted.retry_after) < CLOSE, (answer, wanted)
            assert answer._replace(retry_after=0.0, results=dict(answer.results)) == wanted._replace(retry_after=0.0)
        self._compare()
        return answers

    def _claimed(self, claim: Claim, now: float) -> Claimed:
        record = self._records.get(claim.key)
        if record is None:
            record = self._records[claim.key] = transitions.first_claim(claim, now)
            answer = transitions.granted(record)
        else:
            answer, _ = transitions.claim_again(record, claim, now)
        if answer.verdict == "claimed":
            self._leases.setdefault(claim.key, []).append(Lease(claim.key, answer.fence, claim.token))
        return answer._replace(results=dict(answer.results))

    def _settle_all(self, store: int, wishes: list[Settle]) -> None:
        now = self._now()
        expected = [transitions.settle(self._records.get(wish.lease.key), wish, now)[0] for wish in wishes]
        assert self._run(self._store(store).settle(wishes)) == expected
        self._compare()

    def _leases_for(self, asked: list[Asked]) -> list[Lease]:
        leases: list[Lease] = []
        for key, way, which in asked:
            past = self._leases.get(key, [Lease(key, 1, b"never given")])
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
        now = self._now()
        expected: list[bool] = []
        for lease in leases:
            record = self._records.get(lease.key)
            expected.append(transitions.may_renew(record, lease))
            if record is not None and expected[-1]:
                record.lease_until = now + seconds
        assert self._run(asyncio.to_thread(self._store(store).renew, leases, seconds)) == expected
        self._compare()

    @rule(
        store=st.integers(0, 1),
        done_for=st.sampled_from([0.0, LONG]),
        abandoned_for=st.sampled_from([0.0, LONG]),
        most=st.sampled_from([1, 2, 100]),
    )
    def purge(self, store: int, done_for: float, abandoned_for: float, most: int) -> None:
        """Forget and give up. Which ones, if not all, is the store's choice."""
        now = self._now()
        forgotten: set[Key] = set()
        given_up: set[Key] = set()
        for key, record in self._records.items():
            if record.state == "done" and (record.settled_at or 0.0) < now - done_for:
                forgotten.add(key)
            elif transitions.is_abandoned(record, now - abandoned_for):
                given_up.add(key)
        touched = self._run(self._store(store).purge(done_for=done_for, abandoned_for=abandoned_for, most=most))
        assert touched == min(most, len(forgotten) + len(given_up))
        keys = sorted(forgotten | given_up)
        for key, found in zip(keys, self._run(self._store(store).get(keys)), strict=True):
            if found is None and key in forgotten:
                del self._records[key]
                self._seen.pop(key)
                touched -= 1
            elif found is not None and found.state == "dead" and key in given_up:
                transitions.abandon(self._records[key], now)
                touched -= 1
        assert touched == 0, "the store says that it touched others than it did"
        self._compare()

    @precondition(lambda self: self._stores[0].durable)
    @rule(store=st.integers(0, 1))
    def reopen(self, store: int) -> None:
        """Close a store, and go on with a new one."""
        self._run(self._stores[store].close())
        self._stores[store] = self._open()
        self._compare()

    def _store(self, which: int) -> Store:
        return self._stores[which % len(self._stores)]

    def _now(self) -> float:
        """What is brief, and began before, is over now."""
        time.sleep(BETWEEN_STEPS)
        return time.time()

    def _compare(self) -> None:
        """Every record that each of the stores has, with the model's."""
        for store in self._stores:
            for key, record in zip(KEYS, self._run(store.get(KEYS)), strict=True):
                wanted = self._records.get(key)
                assert (record is None) == (wanted is None), (key, record, wanted)
                if record is not None and wanted is not None:
                    self._compare_one(record, wanted)

    def _compare_one(self, record: Record, wanted: Record) -> None:
        if self._ahead is None:
            self._ahead = record.received_at - wanted.received_at
        before, wanted_before = self._seen.setdefault(record.key, (record, replace(wanted)))
        self._seen[record.key] = record, replace(wanted)
        for field in fields(Record):
            found, model = getattr(record, field.name), getattr(wanted, field.name)
            if field.name in TIMES:
                assert (found is None) == (model is None), (field.name, record, wanted)
                assert found is None or abs(found - model - self._ahead) < CLOSE, (field.name, record, wanted)
                changed = model != getattr(wanted_before, field.name)
                assert (found != getattr(before, field.name)) == changed, (field.name, record, wanted)
            elif field.name == "results":
                assert dict(found) == dict(model), (record, wanted)
            else:
                assert found == model, (field.name, record, wanted)


def prove(make_store: Callable[[str], Store], how: settings = QUICK) -> None:
    """Drive stores with random steps, and compare them with the model.

    Args:
        make_store: makes a store that is not open; of one name always on the same data, empty at first.
        how: hypothesis's settings: `QUICK`, `THOROUGH`, or others.

    Raises:
        AssertionError: a store did what the model does not; hypothesis prints the steps.
    """

    class Model(StoreModel):
        def make_store(self, name: str) -> Store:
            return make_store(name)

    run_state_machine_as_test(Model, settings=how)
