"""Running all handlers of one delivery, and what their outcomes add up to."""

import asyncio
import math
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

import pytest

from airweave_webhooks import Delivery, Receiver, Reject, Retry, Router
from airweave_webhooks.events import parse
from airweave_webhooks.execution import Outcome, run_handlers
from airweave_webhooks.routing import Handler
from airweave_webhooks.testing.payloads import payload
from conftest import SECRET, sign

pytestmark = pytest.mark.anyio

BODY: Final = payload("sync.completed")
EVENT: Final = parse(BODY)
DELIVERY: Final = Delivery("msg_1", 1_800_000_000, None, [], BODY, EVENT, "default", "msg_1")

FAILURE: Final = ValueError("broken")
Finished = Callable[[Handler, float, BaseException | None], None]


async def at_once(call: Callable[[], Any]) -> Any:
    """Run sync handlers on the spot: threads are another file's affair."""
    return call()


def handlers(*outcomes: BaseException | None, ran: list[str] | None = None) -> Sequence[Handler]:
    """Handlers called 1, 2, 3, …, which succeed or raise; async and sync by turns."""
    router = Router()

    def do(name: str, outcome: BaseException | None) -> None:
        if ran is not None:
            ran.append(name)
        if outcome is not None:
            raise outcome

    for number, outcome in enumerate(outcomes, 1):
        name = str(number)

        async def handler(name: str = name, outcome: BaseException | None = outcome) -> None:
            do(name, outcome)

        def sync_handler(name: str = name, outcome: BaseException | None = outcome) -> None:
            do(name, outcome)

        on: Any = router.on("sync.completed", id=name)
        on(handler if number % 2 else sync_handler)
    return router.table.handlers


async def run(
    *outcomes: BaseException | None,
    earlier: Mapping[str, str] | None = None,
    ran: list[str] | None = None,
    finished: Finished | None = None,
) -> Outcome:
    return await run_handlers(handlers(*outcomes, ran=ran), DELIVERY, dict(earlier or {}), at_once, finished)


async def test_all_handlers_run_in_order() -> None:
    """A handler that fails, rejects or asks for time does not stop the next."""
    ran: list[str] = []
    await run(FAILURE, None, Reject("no"), Retry(), SystemExit(1), None, ran=ran)
    assert ran == ["1", "2", "3", "4", "5", "6"]


@pytest.mark.parametrize(
    ("outcomes", "state", "status", "outcome", "retry_after"),
    [
        ([], "done", 200, "processed", None),
        ([None, None], "done", 200, "processed", None),
        ([Reject("no")], "dead", 200, "rejected", None),
        ([None, Reject("no"), None], "dead", 200, "rejected", None),
        ([Retry(after=7)], "pending", 503, "retry", 7),
        ([Retry(after=7), None, Retry(after=70), Retry(after=30)], "pending", 503, "retry", 70),
        ([Reject("no"), Retry(after=7)], "pending", 503, "retry", 7),
        ([Retry(after=7), Reject("no")], "pending", 503, "retry", 7),
        ([Retry(after=0.2)], "pending", 503, "retry", 1),
        ([Retry(after=2.5)], "pending", 503, "retry", 3),
        ([FAILURE], "pending", 500, "failed", None),
        ([FAILURE, None], "pending", 500, "failed", None),
        ([FAILURE, Reject("no"), Retry(after=7)], "pending", 500, "failed", None),
        ([Retry(after=7), Reject("no"), FAILURE], "pending", 500, "failed", None),
        ([asyncio.CancelledError()], "pending", 500, "failed", None),
        ([ExceptionGroup("both", [FAILURE])], "pending", 500, "failed", None),
    ],
)
async def test_failure_beats_retry_beats_reject_beats_success(
    outcomes: list[BaseException | None], state: str, status: int, outcome: str, retry_after: int | None
) -> None:
    """The answer is that of the worst handler, whatever the order; the longest wait counts, rounded up."""
    made = await run(*outcomes)
    assert (made.state, made.reply.status, made.reply.outcome, made.reply.retry_after) == (
        state,
        status,
        outcome,
        retry_after,
    )


async def test_results_say_which_handlers_are_finished() -> None:
    """Those that succeeded or rejected have a result; those that have to run again have none."""
    made = await run(None, Reject("no"), Retry(), FAILURE, None)
    assert made.results == {"1": "processed", "2": "rejected", "5": "processed"}


async def test_an_earlier_result_is_not_run_again() -> None:
    """An attempt runs what is left, and its results hold the earlier ones, also of handlers that are gone."""
    ran: list[str] = []
    earlier = {"1": "processed", "3": "processed", "removed": "processed"}
    made = await run(FAILURE, None, FAILURE, ran=ran, earlier=earlier)
    assert ran == ["2"]
    assert made.state == "done"
    assert made.results == {**earlier, "2": "processed"}


async def test_an_earlier_rejection_counts() -> None:
    """A delivery that one handler rejected before, and that the others finish now, was rejected."""
    made = await run(None, None, earlier={"1": "rejected"})
    assert (made.state, made.reply.outcome) == ("dead", "rejected")
    assert made.results == {"1": "rejected", "2": "processed"}


async def test_a_delivery_is_open_while_a_handler_is_left() -> None:
    """Neither an earlier success nor an earlier rejection hides a handler that fails now."""
    made = await run(None, None, FAILURE, earlier={"1": "rejected", "2": "processed"})
    assert (made.state, made.reply.outcome) == ("pending", "failed")


async def test_errors_are_gathered() -> None:
    """All failures are kept in their order; verdicts are no failures, but stand in the record with them."""
    second = KeyError("gone")
    made = await run(FAILURE, Retry("later", after=5), None, second, Reject("never"))
    assert list(made.failures) == [FAILURE, second]
    assert made.error == "ValueError: broken\nRetry: later\nKeyError: 'gone'\nReject: never"
    assert (await run(None)).error is None


async def test_a_records_error_is_short() -> None:
    """An error that quotes half a database does not fill the record."""
    made = await run(ValueError("x" * 10_000), FAILURE)
    assert made.error is not None
    first, second = made.error.splitlines()
    assert (len(first), second) == (500, "ValueError: broken")


async def test_a_records_error_has_one_line_an_error() -> None:
    """A message of several lines, as pydantic writes them, stays one entry."""
    made = await run(ValueError("1 validation error\n  Input should be an integer"), FAILURE)
    assert made.error is not None
    assert len(made.error.splitlines()) == 2


class Unprintable(Exception):
    """An error that cannot even be shown."""

    def __str__(self) -> str:
        raise RuntimeError("no words")


async def test_an_error_that_cannot_be_printed_costs_no_results() -> None:
    """The other handlers' results survive whatever one handler raises."""
    made = await run(None, Unprintable())
    assert made.results == {"1": "processed"}
    assert made.state == "pending"


@pytest.mark.parametrize("error", [SystemExit(1), asyncio.CancelledError(), BaseException("odd"), TimeoutError()])
async def test_whatever_a_handler_raises_is_its_failure(error: BaseException) -> None:
    """A handler cannot end the server, nor the run of its neighbours, be it sync or async."""
    made = await run(error, error, None)
    assert list(made.failures) == [error, error]
    assert made.results == {"3": "processed"}


@pytest.mark.parametrize("error", [KeyboardInterrupt(), GeneratorExit()])
async def test_an_interrupt_is_not_the_handlers(error: BaseException) -> None:
    """Ctrl-C and the closing of the loop pass through, and nothing runs after them."""
    ran: list[str] = []
    with pytest.raises(type(error)):
        await run(error, None, ran=ran)
    assert ran == ["1"]


async def test_a_cancelled_helper_is_the_handlers_failure() -> None:
    """Something that a handler awaited was cancelled: nobody asked the delivery to stop."""
    router = Router()

    @router.on("sync.completed", id="waits")
    async def waits() -> None:
        helper = asyncio.create_task(asyncio.sleep(60))
        asyncio.get_running_loop().call_soon(helper.cancel)
        await helper

    router.on("sync.completed", id="next")(lambda: None)
    made = await run_handlers(router.table.handlers, DELIVERY, {}, at_once, None)
    assert [type(error) for error in made.failures] == [asyncio.CancelledError]
    assert made.results == {"next": "processed"}


async def test_cancelling_the_delivery_stops_it() -> None:
    """A real cancellation, as at the end of the grace period, goes through and starts no further handler."""
    router = Router()
    ran: list[str] = []
    started = asyncio.Event()

    @router.on("sync.completed", id="waits")
    async def waits() -> None:
        started.set()
        await asyncio.sleep(60)

    router.on("sync.completed", id="next")(lambda: ran.append("next"))
    task = asyncio.create_task(run_handlers(router.table.handlers, DELIVERY, {}, at_once, None))
    await started.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert ran == []


async def test_each_handler_is_reported_when_it_finishes() -> None:
    """The observer's hook gets each handler that ran, its seconds and its error, and none that did not run."""
    reports: list[tuple[str, float, BaseException | None]] = []
    reject = Reject("no")
    await run(
        None,
        FAILURE,
        reject,
        None,
        earlier={"4": "processed"},
        finished=lambda handler, seconds, error: reports.append((handler.id, seconds, error)),
    )
    assert [(name, error) for name, _, error in reports] == [("1", None), ("2", FAILURE), ("3", reject)]
    assert all(0 <= seconds < 5 for _, seconds, _ in reports)


async def test_the_seconds_are_the_handlers() -> None:
    """Each report counts the time of its own handler alone."""
    router = Router()
    seconds: dict[str, float] = {}

    @router.on("sync.completed", id="slow")
    async def slow() -> None:
        await asyncio.sleep(0.05)

    router.on("sync.completed", id="quick")(lambda: None)
    started = time.perf_counter()
    await run_handlers(
        router.table.handlers, DELIVERY, {}, at_once, lambda handler, took, _: seconds.update({handler.id: took})
    )
    assert seconds["slow"] > 0.04
    # One after the other: what counted for both would be more than there was.
    assert seconds["slow"] + seconds["quick"] <= time.perf_counter() - started


async def test_a_retry_runs_only_what_is_left() -> None:
    """Over the attempts of one message each handler succeeds once, and then the message is a duplicate."""
    receiver = Receiver(secrets=SECRET)
    ran: list[str] = []
    working = False

    @receiver.on("sync.completed")
    async def steady() -> None:
        ran.append("steady")

    @receiver.on("sync.completed")
    def shaky() -> None:
        ran.append("shaky")
        if not working:
            raise FAILURE

    async with receiver:
        assert (await receiver.handle(sign(BODY), BODY)).outcome == "failed"
        working = True
        assert (await receiver.handle(sign(BODY), BODY)).outcome == "processed"
        assert (await receiver.handle(sign(BODY), BODY)).outcome == "duplicate"
    assert ran == ["steady", "shaky", "shaky"]


async def test_a_server_survives_handlers_that_exit(caplog: pytest.LogCaptureFixture) -> None:
    """`sys.exit()` in a handler, in a thread or on the loop, fails one delivery; the next is served."""
    receiver = Receiver(secrets=SECRET)
    exits = True

    @receiver.on("sync.completed")
    async def on_loop() -> None:
        if exits:
            raise SystemExit(1)

    @receiver.on("sync.completed")
    def in_thread() -> None:
        if exits:
            raise SystemExit(2)

    async with receiver:
        assert (await receiver.handle(sign(BODY), BODY)).status == 500
        exits = False
        assert (await receiver.handle(sign(BODY, message_id="msg_2"), BODY)).status == 200
    raised = [record.exc_info[1] for record in caplog.records if record.exc_info]
    assert [error.code for error in raised if isinstance(error, SystemExit)] == [1, 2]


@pytest.mark.parametrize("after", [0, -1, -0.5, math.nan, math.inf, -math.inf])
def test_retry_takes_a_positive_number_of_seconds(after: float) -> None:
    """A wait that no header can say is refused where it is written."""
    with pytest.raises(ValueError, match=r"Retry\(after=…\) takes a positive number of seconds"):
        Retry(after=after)


def test_verdicts_say_why() -> None:
    """Their text is the reason, or the wait where no reason is given."""
    assert (str(Retry("rate limit")), Retry("rate limit").after) == ("rate limit", 60)
    assert str(Retry(after=1.5)) == "retry after 1.5 s"
    assert str(Reject("no such collection")) == "no such collection"
