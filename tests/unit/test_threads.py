"""Plain functions in daemon threads: slots, errors, cancellation, and loops that are gone."""

import asyncio
import contextvars
import threading
from collections.abc import Iterator
from typing import NoReturn

import pytest

from airweave_webhooks.threads import LeftRunning, run_in_thread

pytestmark = pytest.mark.anyio


class Work:
    """A blocking function that can be held up, and counts how many of it run at once."""

    def __init__(self) -> None:
        self.go_on = threading.Event()
        self.started = 0
        self.running = 0
        self.most = 0
        self._lock = threading.Lock()

    def __call__(self) -> str:
        with self._lock:
            self.started += 1
            self.running += 1
            self.most = max(self.most, self.running)
        assert self.go_on.wait(10), "nobody let it go on"
        with self._lock:
            self.running -= 1
        return "done"

    async def has_started(self, times: int = 1) -> None:
        while self.started < times:
            await asyncio.sleep(0.001)


@pytest.fixture
def work() -> Iterator[Work]:
    """Lets its threads go when the test is over."""
    made = Work()
    yield made
    made.go_on.set()


async def until_free(slots: asyncio.Semaphore) -> None:
    while slots.locked():
        await asyncio.sleep(0.001)


async def test_a_function_runs_in_a_daemon_thread_and_its_result_comes_back() -> None:
    """The thread is none that the end of the process would wait for."""
    thread = await run_in_thread(threading.current_thread, asyncio.Semaphore(1))
    assert thread is not threading.current_thread()
    assert (thread.daemon, thread.name) == (True, "airweave-handler")


async def test_the_event_loop_goes_on_meanwhile(work: Work) -> None:
    """A function that blocks, blocks its thread only."""
    task = asyncio.create_task(run_in_thread(work, asyncio.Semaphore(1)))
    await work.has_started()
    assert not task.done()
    work.go_on.set()
    assert await task == "done"


@pytest.mark.parametrize("error", [LookupError("gone"), SystemExit(3), KeyboardInterrupt(), BaseException("odd")])
async def test_errors_come_back(error: BaseException) -> None:
    """Whatever the function raises reaches the caller as the same object, and frees the slot."""
    slots = asyncio.Semaphore(1)

    def fail() -> NoReturn:
        raise error

    with pytest.raises(type(error)) as caught:
        await run_in_thread(fail, slots)
    assert caught.value is error
    assert not slots.locked()


async def test_stop_iteration_comes_back_as_an_error() -> None:
    """A future cannot hold a `StopIteration`; without care its waiter would wait for ever."""
    slots = asyncio.Semaphore(1)
    empty: Iterator[int] = iter(())
    with pytest.raises(RuntimeError, match="StopIteration"):
        await asyncio.wait_for(run_in_thread(lambda: next(empty), slots), 5)
    assert not slots.locked()


async def test_a_cancellation_raised_by_the_function_is_its_own() -> None:
    """Nobody was left running: the thread has returned."""

    def fail() -> NoReturn:
        raise asyncio.CancelledError("the function's")

    with pytest.raises(asyncio.CancelledError, match="the function's") as caught:
        await run_in_thread(fail, asyncio.Semaphore(1))
    assert not isinstance(caught.value, LeftRunning)


async def test_slots_bound_how_many_run(work: Work) -> None:
    """With two slots the third waits, and every one has its turn."""
    slots = asyncio.Semaphore(2)
    tasks = [asyncio.create_task(run_in_thread(work, slots)) for _ in range(6)]
    await work.has_started(2)
    await asyncio.sleep(0.02)
    assert work.started == 2
    work.go_on.set()
    assert await asyncio.gather(*tasks) == ["done"] * 6
    assert work.most <= 2
    assert not slots.locked()


async def test_a_slot_is_held_until_the_thread_returns(work: Work) -> None:
    """A cancelled caller learns that the thread runs on, and nobody gets its slot before it has returned."""
    slots = asyncio.Semaphore(1)
    task = asyncio.create_task(run_in_thread(work, slots))
    await work.has_started()
    task.cancel()
    with pytest.raises(LeftRunning):
        await task
    assert task.cancelled()
    assert slots.locked()
    second = asyncio.create_task(run_in_thread(work, slots))
    await asyncio.sleep(0.02)
    assert work.started == 1
    work.go_on.set()
    assert await second == "done"
    await until_free(slots)
    assert (work.started, work.most) == (2, 1)


async def test_an_error_after_the_caller_has_gone_is_nobodys(work: Work) -> None:
    """What a thread that was left running raises goes nowhere, and frees the slot."""
    slots = asyncio.Semaphore(1)
    problems: list[object] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: problems.append(context))

    def fail() -> NoReturn:
        work()
        raise LookupError("too late")

    task = asyncio.create_task(run_in_thread(fail, slots))
    await work.has_started()
    task.cancel()
    with pytest.raises(LeftRunning):
        await task
    work.go_on.set()
    await asyncio.wait_for(until_free(slots), 5)
    assert problems == []


async def test_who_waits_for_a_slot_can_be_cancelled(work: Work) -> None:
    """A caller that never got a slot left nothing running, and costs no slot."""
    slots = asyncio.Semaphore(1)
    first = asyncio.create_task(run_in_thread(work, slots))
    await work.has_started()
    second = asyncio.create_task(run_in_thread(work, slots))
    await asyncio.sleep(0)
    second.cancel()
    with pytest.raises(asyncio.CancelledError) as caught:
        await second
    assert not isinstance(caught.value, LeftRunning)
    work.go_on.set()
    assert await first == "done"
    assert work.started == 1
    assert not slots.locked()


async def test_a_thread_that_cannot_start_costs_no_slot(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where the system has no thread to give, the caller learns it, and the next try finds its slot."""
    slots = asyncio.Semaphore(1)

    def no_thread(_: threading.Thread) -> NoReturn:
        raise RuntimeError("can't start new thread")

    with monkeypatch.context() as broken:
        broken.setattr(threading.Thread, "start", no_thread)
        with pytest.raises(RuntimeError, match="can't start new thread"):
            await run_in_thread(lambda: None, slots)
    assert await asyncio.wait_for(run_in_thread(lambda: "done", slots), 5) == "done"


variable: contextvars.ContextVar[str] = contextvars.ContextVar("variable", default="default")


async def test_the_thread_has_a_copy_of_the_context() -> None:
    """What the caller has set is seen; what the function sets is not."""

    def function() -> str:
        seen = variable.get()
        variable.set("the function's")
        return seen

    variable.set("the caller's")
    assert await run_in_thread(function, asyncio.Semaphore(1)) == "the caller's"
    assert variable.get() == "the caller's"


@pytest.mark.parametrize("fails", [False, True])
def test_a_loop_may_be_closed_before_the_thread_returns(
    work: Work, monkeypatch: pytest.MonkeyPatch, fails: bool
) -> None:
    """After the end of the loop nobody waits for the result, and the thread ends without a trace."""
    problems: list[object] = []
    monkeypatch.setattr(threading, "excepthook", problems.append)
    threads: list[threading.Thread] = []

    def function() -> str:
        threads.append(threading.current_thread())
        done = work()
        if fails:
            raise LookupError("nobody hears this")
        return done

    async def leave_running() -> None:
        task = asyncio.create_task(run_in_thread(function, asyncio.Semaphore(1)))
        await work.has_started()
        task.cancel()
        with pytest.raises(LeftRunning):
            await task

    asyncio.run(leave_running())
    work.go_on.set()
    threads[0].join(5)
    assert not threads[0].is_alive()
    assert problems == []
