"""The contract finds what is wrong with a store: each of these is sabotaged in one place, and must fail.

The stores go by a clock that `asyncio.sleep` advances, so that hundreds of sabotaged ones are tried in seconds.
"""

import ast
import asyncio
import inspect
import itertools
import time
from collections import ChainMap
from collections.abc import Callable, Coroutine, Iterable, Iterator, Mapping, Sequence
from types import ModuleType
from typing import Any, Final, NamedTuple, TypeAlias

import pytest

from airweave_webhooks.stores import MemoryStore, inbox_transitions, transitions
from airweave_webhooks.stores.base import Store
from airweave_webhooks.testing import Clock, plain
from airweave_webhooks.testing.contracts import (
    ClockContract,
    DurabilityContract,
    InboxContract,
    SharedStoreContract,
    StoreContract,
    opened,
)
from airweave_webhooks.testing.contracts.base import HOUR, Contract
from airweave_webhooks.testing.contracts.clocks import HostClock
from airweave_webhooks.testing.contracts.inbox import InboxTests
from sabotage import SABOTAGED, Disk, DurableMemory
from sabotage.plain import PlainInbox, PlainStore

# In a full run one of them was seen to wait for ever, which is also found, but must not take long.
pytestmark = [pytest.mark.anyio, pytest.mark.timeout(30)]

# Seconds for one test of a contract on a store whose time costs none.
LONGEST: Final = 2.0

REAL_SLEEP: Final = asyncio.sleep


Make: TypeAlias = Callable[[Clock], Callable[[], Store]]
"""Given a clock, what makes the stores of one test."""


class Proof(NamedTuple):
    """One test of a contract, with one choice of its parameters."""

    name: str
    method: Callable[..., Coroutine[Any, Any, None]]
    arguments: Mapping[str, Any]


def contract_tests(contract: type[Contract]) -> list[Proof]:
    tests: list[Proof] = []
    for name, method in inspect.getmembers(contract, inspect.isfunction):
        if name.startswith("test_"):
            marks = [mark for mark in getattr(method, "pytestmark", []) if mark.name == "parametrize"]
            choices = [list(choices_of(*mark.args)) for mark in marks]
            arguments = [dict(ChainMap(*chosen)) for chosen in itertools.product(*choices)]
            tests += [Proof(name, method, each) for each in arguments]
    return tests


def choices_of(names: str | Sequence[str], values: Iterable[Any]) -> Iterator[dict[str, Any]]:
    for value in values:
        yield {names: value} if isinstance(names, str) else dict(zip(names, value, strict=True))


class TickingClock(Clock):
    """No two readings are the same."""

    def __call__(self) -> float:
        self.advance(1e-5)
        return super().__call__()


FOR_ALL: Final = contract_tests(StoreContract)
FOR_DURABLE: Final = contract_tests(DurabilityContract)
OWN: Final = {name for part in InboxContract.__mro__ if issubclass(part, InboxTests) for name in vars(part)}
FOR_INBOXES: Final = [test for test in contract_tests(InboxContract) if test.name in OWN]


async def passes(test: Proof, contract: Contract) -> bool:
    """Whether a store passes a test, in time."""
    running = asyncio.create_task(prove(test, contract))
    done, _ = await asyncio.wait([running], timeout=LONGEST)
    if not done:
        running.cancel()
        # Not awaited without end: a sabotaged store may take the cancellation for its own.
        await asyncio.wait([running], timeout=LONGEST)
        return False
    error = running.exception()
    if error is not None and not isinstance(error, Exception | pytest.fail.Exception):
        raise error
    return error is None


async def prove(test: Proof, contract: Contract) -> None:
    if "store" not in inspect.signature(test.method).parameters:
        return await test.method(contract, **test.arguments)
    async with opened(contract.make_store) as store:
        return await test.method(contract, store=store, **test.arguments)


async def failures(tests: Sequence[Proof], make: Make, *, first_only: bool = False) -> set[str]:
    """The tests that a store fails."""
    failed: set[str] = set()
    for test in tests:
        clock = TickingClock()

        async def sleep(seconds: float, clock: Clock = clock) -> None:
            clock.advance(seconds)
            await REAL_SLEEP(0)

        contract = InboxContract()  # whose tools all contracts' tests can use
        contract.make_store = make(clock)  # type: ignore[assignment]
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(asyncio, "sleep", sleep)
            if not await passes(test, contract):
                failed.add(test.name)
                if first_only:
                    break
    return failed


def in_memory(store: Callable[..., Store]) -> Make:
    return lambda clock: lambda: store(clock=clock)


def in_one(store: Callable[..., Store]) -> Make:
    """Every store of a test is the same object, so they share their data."""

    def make(clock: Clock) -> Callable[[], Store]:
        one = store(clock=clock)
        return lambda: one

    return make


def on_disk(store: Callable[[Disk], Store]) -> Make:
    def make(clock: Clock) -> Callable[[], Store]:
        disk = Disk(clock=clock)
        return lambda: store(disk)

    return make


class Mutations(ast.NodeTransformer):
    """Changes the `chosen`th place of a program; counts the places."""

    def __init__(self, chosen: int = -1) -> None:
        self.chosen = chosen
        self.places: list[str] = []

    def _is_chosen(self, node: ast.AST, what: str) -> bool:
        self.places.append(f"{what}: {ast.unparse(node).splitlines()[0]}")
        return len(self.places) - 1 == self.chosen

    def visit_FunctionDef(self, node: ast.FunctionDef) -> ast.AST:
        node.body = node.body[1:] if ast.get_docstring(node) else node.body
        self.generic_visit(node)
        return node

    def visit_Assign(self, node: ast.Assign) -> ast.AST:
        self.generic_visit(node)
        simple = isinstance(node.targets[0], ast.Attribute)
        return ast.Pass() if simple and self._is_chosen(node, "without") else node

    def visit_AugAssign(self, node: ast.AugAssign) -> ast.AST:
        return ast.Pass() if self._is_chosen(node, "without") else node

    def visit_If(self, node: ast.If) -> ast.AST:
        self.generic_visit(node)
        if self._is_chosen(node, "always"):
            node.test = ast.Constant(True)
        elif self._is_chosen(node, "never"):
            node.test = ast.Constant(False)
        return node

    def visit_BoolOp(self, node: ast.BoolOp) -> ast.AST:
        self.generic_visit(node)
        if isinstance(node.values[-1], ast.Constant):
            return node  # `x or 0.0`, for the type checker
        for n, value in enumerate(node.values):
            if self._is_chosen(value, "not asked"):
                return ast.BoolOp(node.op, [v for m, v in enumerate(node.values) if m != n] * 2)
        return node

    def visit_Compare(self, node: ast.Compare) -> ast.AST:
        if self._is_chosen(node, "the opposite of"):
            return ast.UnaryOp(ast.Not(), node)
        return node


def sabotaged(module: ModuleType, place: int) -> ModuleType:
    """A module with one place changed."""
    other = ModuleType("sabotaged")
    tree = Mutations(place).visit(ast.parse(inspect.getsource(module)))
    exec(compile(ast.fix_missing_locations(tree), other.__name__, "exec"), other.__dict__)
    return other


def places_of(module: ModuleType, without_effect: Iterable[str]) -> list[Any]:
    """The places that a test must notice, each with its name."""
    mutations = Mutations()
    mutations.visit(ast.parse(inspect.getsource(module)))
    unknown = set(without_effect) - set(mutations.places)
    assert not unknown, unknown
    return [pytest.param(n, id=place) for n, place in enumerate(mutations.places) if place not in without_effect]


# The plain store looks for itself whether there is a record to renew.
WITHOUT_EFFECT: Final = {"not asked: record is not None"}
# A record that is due is not held, and happened no later than itself; one that is leased is not done; and what is
# pending has no lease that could run out. What is in no line is superseded by nothing, which is asked to save time.
WITHOUT_EFFECT_ON_INBOXES: Final = {
    "not asked: one is not other",
    "not asked: other.state == 'leased'",
    "not asked: _line(record) is not None",
}


async def test_a_right_store_passes() -> None:
    """Or what follows would prove nothing."""
    assert await failures(FOR_ALL, in_memory(MemoryStore)) == set()
    assert await failures(FOR_ALL, in_memory(PlainStore)) == set()
    assert await failures([*FOR_ALL, *FOR_DURABLE], on_disk(DurableMemory)) == set()


async def test_a_right_inbox_passes() -> None:
    """Likewise."""
    assert await failures([*FOR_ALL, *FOR_INBOXES], in_one(PlainInbox)) == set()


@pytest.mark.parametrize("place", places_of(transitions, WITHOUT_EFFECT))
async def test_every_step_of_the_specification_is_proven(place: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever is left out of `transitions`, or turned into its opposite, a test notices."""
    monkeypatch.setattr(plain, "transitions", sabotaged(transitions, place))
    found = await failures(FOR_ALL, in_memory(PlainStore), first_only=True)
    assert found or await failures(FOR_INBOXES, in_one(PlainInbox), first_only=True)


@pytest.mark.parametrize("place", places_of(inbox_transitions, WITHOUT_EFFECT_ON_INBOXES))
async def test_every_step_of_the_inbox_is_proven(place: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever is left out of `inbox_transitions`, or turned into its opposite, a test notices."""
    monkeypatch.setattr(plain, "inbox_transitions", sabotaged(inbox_transitions, place))
    assert await failures(FOR_INBOXES, in_one(PlainInbox), first_only=True)


@pytest.mark.parametrize("store", SABOTAGED, ids=lambda store: store.__name__)
async def test_what_stores_get_wrong_is_found(store: type[PlainStore]) -> None:
    """By the test that is about it."""
    if issubclass(store, PlainInbox):
        tests, make = FOR_INBOXES, in_one(store)
    elif issubclass(store, DurableMemory):
        tests, make = FOR_DURABLE, on_disk(store)
    else:
        tests, make = FOR_ALL, in_memory(store)
    own = [test for test in tests if test.name == SABOTAGED[store]]
    assert SABOTAGED[store] in await failures(own, make, first_only=True)


@pytest.mark.parametrize("error", [-HOUR, HOUR], ids=["behind", "ahead"])
@pytest.mark.parametrize("test", contract_tests(ClockContract), ids=lambda test: test.name)
async def test_a_store_that_goes_by_its_hosts_clock_is_found(test: Proof, error: float) -> None:
    """However it holds `time.time`: `MemoryStore` has it as a default argument."""
    contract = SharedStoreContract()
    host = HostClock()
    with host.in_place():
        store = MemoryStore()
        contract.make_store = lambda: store  # type: ignore[method-assign]
        given = {"store": store} if "store" in inspect.signature(test.method).parameters else {}
        with pytest.raises(AssertionError):
            await test.method(contract, host=host, error=error, **given)
    assert abs(time.time() - time.clock_gettime(time.CLOCK_REALTIME)) < 1
