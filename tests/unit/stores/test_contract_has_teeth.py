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

from airweave_webhooks.stores import MemoryStore, transitions
from airweave_webhooks.stores.base import Store
from airweave_webhooks.testing.contracts import (
    ClockContract,
    DurabilityContract,
    SharedStoreContract,
    StoreContract,
    opened,
)
from airweave_webhooks.testing.contracts.base import HOUR, Contract
from airweave_webhooks.testing.contracts.clocks import HostClock
from conftest import Clock
from sabotage import SABOTAGED, Disk, DurableMemory, plain
from sabotage.plain import PlainStore

# In a full run one of them was seen to wait for ever; it counts as found, and must not take long.
pytestmark = [pytest.mark.anyio, pytest.mark.timeout(30)]

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
        self.now += 1e-5
        return self.now


FOR_ALL: Final = contract_tests(StoreContract)
FOR_DURABLE: Final = contract_tests(DurabilityContract)


async def failures(tests: Sequence[Proof], make: Make, *, first_only: bool = False) -> set[str]:
    """The tests that a store fails."""
    failed: set[str] = set()
    for test in tests:
        clock = TickingClock()

        async def sleep(seconds: float, clock: Clock = clock) -> None:
            clock.advance(seconds)
            await REAL_SLEEP(0)

        contract = StoreContract()
        contract.make_store = make(clock)  # type: ignore[method-assign]
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(asyncio, "sleep", sleep)
            try:
                async with asyncio.timeout(2), opened(contract.make_store) as store:
                    given = {"store": store} if "store" in inspect.signature(test.method).parameters else {}
                    await test.method(contract, **given, **test.arguments)
            except (Exception, pytest.fail.Exception):
                failed.add(test.name)
                if first_only:
                    break
    return failed


def in_memory(store: Callable[..., Store]) -> Make:
    return lambda clock: lambda: store(clock=clock)


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


def sabotaged_transitions(place: int) -> ModuleType:
    """`transitions` with one place changed."""
    module = ModuleType("sabotaged")
    tree = Mutations(place).visit(ast.parse(inspect.getsource(transitions)))
    exec(compile(ast.fix_missing_locations(tree), module.__name__, "exec"), module.__dict__)
    return module


def places_of_transitions() -> list[str]:
    mutations = Mutations()
    mutations.visit(ast.parse(inspect.getsource(transitions)))
    return mutations.places


# The memory store looks for itself whether there is a record to renew.
WITHOUT_EFFECT: Final = {"not asked: record is not None"}
PLACES: Final = [(n, place) for n, place in enumerate(places_of_transitions()) if place not in WITHOUT_EFFECT]


async def test_a_right_store_passes() -> None:
    """Or what follows would prove nothing."""
    assert await failures(FOR_ALL, in_memory(MemoryStore)) == set()
    assert await failures(FOR_ALL, in_memory(PlainStore)) == set()
    assert await failures([*FOR_ALL, *FOR_DURABLE], on_disk(DurableMemory)) == set()


@pytest.mark.parametrize("place", [n for n, _ in PLACES], ids=[place for _, place in PLACES])
async def test_every_step_of_the_specification_is_proven(place: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever is left out of `transitions`, or turned into its opposite, a test notices."""
    monkeypatch.setattr(plain, "transitions", sabotaged_transitions(place))
    assert await failures(FOR_ALL, in_memory(PlainStore), first_only=True)


@pytest.mark.parametrize("store", SABOTAGED, ids=lambda store: store.__name__)
async def test_what_stores_get_wrong_is_found(store: type[PlainStore]) -> None:
    """By the test that is about it."""
    found = (
        await failures(FOR_DURABLE, on_disk(store))
        if issubclass(store, DurableMemory)
        else await failures(FOR_ALL, in_memory(store))
    )
    assert SABOTAGED[store] in found


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
