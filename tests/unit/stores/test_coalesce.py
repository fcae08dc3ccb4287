"""The fine print of `stores/coalesce.py`, line by line."""

import asyncio
from collections.abc import Callable, Sequence
from typing import NamedTuple

import pytest

from airweave_webhooks.errors import Busy, StoreBusy, StoreDataError, StoreUnavailable
from airweave_webhooks.stores.base import Key
from airweave_webhooks.stores.coalesce import TRIES_WHEN_BUSY, Coalescer

pytestmark = pytest.mark.anyio


class Item(NamedTuple):
    name: str
    number: int = 0
    size: int = 1


class Verb:
    """A batch verb that records its batches, waits when told, and raises when told."""

    def __init__(self) -> None:
        self.batches: list[list[Item]] = []
        self.go = asyncio.Event()
        self.go.set()
        self.error: Callable[[Sequence[Item]], Exception | None] = lambda _: None

    async def __call__(self, items: Sequence[Item]) -> list[str]:
        self.batches.append(list(items))
        await self.go.wait()
        error = self.error(items)
        if error is not None:
            raise error
        return [f"{item.name}{item.number}" for item in items]

    @property
    def names(self) -> list[str]:
        return ["".join(item.name for item in batch) for batch in self.batches]


def a_coalescer(verb: Verb, **settings: int) -> Coalescer[Item, str]:
    return Coalescer(verb, key=lambda item: Key("", "", item.name), size=lambda item: item.size, **settings)  # type: ignore[arg-type]


async def started(coalescer: Coalescer[Item, str], *items: Item) -> list["asyncio.Task[str]"]:
    tasks = [asyncio.create_task(coalescer(item)) for item in items]
    for _ in range(5):
        await asyncio.sleep(0)
    return tasks


async def test_alone_a_call_waits_for_nothing() -> None:
    """At low load a batch has one item, and is under way at once."""
    verb = Verb()
    assert await a_coalescer(verb)(Item("a")) == "a0"
    assert verb.names == ["a"]


async def test_calls_gather_behind_a_batch_under_way() -> None:
    """What comes meanwhile is the next batch, sorted by key, and everybody gets their own answer."""
    verb = Verb()
    verb.go.clear()
    coalescer = a_coalescer(verb)
    tasks = await started(coalescer, Item("m"))
    tasks += await started(coalescer, *[Item(name) for name in "zbya"])
    assert verb.names == ["m"]
    verb.go.set()
    assert await asyncio.gather(*tasks) == ["m0", "z0", "b0", "y0", "a0"]
    assert verb.names == ["m", "abyz"]


async def test_a_key_stands_in_a_batch_once() -> None:
    """A later call for the same key waits for the next batch, and order per key is kept."""
    verb = Verb()
    coalescer = a_coalescer(verb)
    items = [Item("a", 1), Item("b", 1), Item("a", 2), Item("a", 3), Item("b", 2)]
    answers = await asyncio.gather(*map(coalescer, items))
    assert answers == ["a1", "b1", "a2", "a3", "b2"]
    assert verb.batches == [[Item("a", 1), Item("b", 1)], [Item("a", 2), Item("b", 2)], [Item("a", 3)]]


async def test_a_batch_has_a_largest_size() -> None:
    """No statement grows without bound."""
    verb = Verb()
    coalescer = a_coalescer(verb, most_items=3)
    await asyncio.gather(*[coalescer(Item(name)) for name in "abcdefgh"])
    assert verb.names == ["abc", "def", "gh"]


async def test_a_deadlock_is_tried_again() -> None:
    """What the store calls busy is worth another try; after a few the callers are told."""
    verb = Verb()
    errors = iter([StoreBusy("deadlock")] * 2)
    verb.error = lambda _: next(errors, None)
    assert await a_coalescer(verb)(Item("a")) == "a0"
    assert len(verb.batches) == 3
    verb.batches.clear()
    verb.error = lambda _: StoreBusy("deadlock")
    with pytest.raises(StoreBusy):
        await a_coalescer(verb)(Item("a"))
    assert len(verb.batches) == TRIES_WHEN_BUSY


async def test_a_poisoned_item_fails_alone() -> None:
    """The batch is run again one by one, and only the culprit fails."""
    verb = Verb()
    verb.error = lambda items: StoreDataError("poison") if Item("b") in items else None
    coalescer = a_coalescer(verb)
    answers = await asyncio.gather(*[coalescer(Item(name)) for name in "abc"], return_exceptions=True)
    assert answers[0] == "a0"
    assert isinstance(answers[1], StoreDataError)
    assert answers[2] == "c0"
    assert verb.names == ["abc", "a", "b", "c"]


async def test_an_outage_fails_everybody_with_an_error_of_their_own() -> None:
    """One instance for all would collect the traceback of every caller."""
    verb = Verb()
    cause = StoreUnavailable("away", retry_after=7)
    verb.error = lambda _: cause
    coalescer = a_coalescer(verb)
    answers = await asyncio.gather(*[coalescer(Item(name)) for name in "ab"], return_exceptions=True)
    assert [str(answer) for answer in answers] == ["away", "away"]
    assert answers[0] is not answers[1]
    assert all(isinstance(answer, StoreUnavailable) and answer.retry_after == 7 for answer in answers)
    verb.error = lambda _: None
    assert await coalescer(Item("c")) == "c0"


async def test_the_queue_is_bounded_in_length_and_in_bytes() -> None:
    """Beyond it callers are told to come again, and what waits is served all the same."""
    verb = Verb()
    verb.go.clear()
    coalescer = a_coalescer(verb, most_waiting=2, most_bytes=100)
    first = await started(coalescer, Item("a"))
    waiting = await started(coalescer, Item("b"), Item("c"))
    with pytest.raises(Busy):
        await coalescer(Item("d"))
    verb.go.set()
    assert await asyncio.gather(*first, *waiting) == ["a0", "b0", "c0"]
    with pytest.raises(Busy):
        await coalescer(Item("e", size=101))
    assert await coalescer(Item("f", size=100)) == "f0"


async def test_what_was_won_for_a_caller_that_has_gone_is_handed_over() -> None:
    """A cancelled caller cannot use its answer; somebody must give it back."""
    verb = Verb()
    verb.go.clear()
    gone: list[tuple[Item, str]] = []
    coalescer: Coalescer[Item, str] = Coalescer(
        verb,
        key=lambda item: Key("", "", item.name),
        size=lambda item: item.size,
        unclaimed=lambda item, result: gone.append((item, result)),
    )
    (task,) = await started(coalescer, Item("a"))
    task.cancel()
    verb.go.set()
    await coalescer.settled()
    assert gone == [(Item("a"), "a0")]


async def test_a_caller_that_goes_before_its_batch_is_not_asked_for() -> None:
    """Nothing was asked of the store yet, so nothing need be given back, and its bytes are free."""
    verb = Verb()
    verb.go.clear()
    coalescer = a_coalescer(verb, most_bytes=100)
    (first,) = await started(coalescer, Item("a"))
    (waiting,) = await started(coalescer, Item("b", size=100))
    waiting.cancel()
    verb.go.set()
    await first
    await coalescer.settled()
    assert verb.names == ["a"]
    assert await coalescer(Item("c", size=100)) == "c0"


async def test_nobody_waits_for_ever_when_the_loop_is_torn_down() -> None:
    """The pump's end is every caller's end."""
    verb = Verb()
    verb.go.clear()
    coalescer = a_coalescer(verb)
    tasks = await started(coalescer, Item("a"))
    tasks += await started(coalescer, Item("b"))
    assert coalescer._pump is not None
    coalescer._pump.cancel()
    answers = await asyncio.gather(*tasks, return_exceptions=True)
    assert all(isinstance(answer, asyncio.CancelledError) for answer in answers)


async def test_a_store_that_answers_too_few_times_is_found() -> None:
    """Whoever waits for the answer that is missing gets an error, and does not wait for ever."""

    async def forgetful(items: Sequence[Item]) -> list[str]:
        return [item.name for item in items[1:]]

    coalescer: Coalescer[Item, str] = Coalescer(
        forgetful, key=lambda item: Key("", "", item.name), size=lambda item: item.size
    )
    async with asyncio.timeout(5):
        answers = await asyncio.gather(coalescer(Item("a")), coalescer(Item("b")), return_exceptions=True)
    assert [str(answer) for answer in answers] == ["the store gave 1 answers to 2 calls"] * 2
