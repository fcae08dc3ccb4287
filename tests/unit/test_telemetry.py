"""The log's budget, and observers that misbehave."""

import logging
from types import SimpleNamespace

import pytest

from airweave_webhooks.errors import Refused, Unauthorized
from airweave_webhooks.telemetry import LogBudget, Observer, Observers, tell
from airweave_webhooks.testing import Clock


def test_so_many_lines_a_minute(clock: Clock) -> None:
    """The budget allows its number of lines, and then none until the minute is over."""
    budget = LogBudget(3, clock)
    assert [budget.take() for _ in range(5)] == [True] * 3 + [False] * 2
    clock.advance(59.9)
    assert not budget.take()
    clock.advance(0.1)
    assert [budget.take() for _ in range(4)] == [True] * 3 + [False]


def test_affording_takes_nothing(clock: Clock) -> None:
    """Asking is free, and answers what `take` would."""
    budget = LogBudget(2, clock)
    for _ in range(5):
        assert budget.affords()
    assert [budget.take(), budget.affords(), budget.take(), budget.affords()] == [True, True, True, False]
    clock.advance(60)
    assert budget.affords()
    assert budget.take()


def test_what_was_not_written_is_counted(clock: Clock, caplog: pytest.LogCaptureFixture) -> None:
    """The first line of a new minute is preceded by the number of those that were left out, said once."""
    budget = LogBudget(2, clock)
    for _ in range(7):
        budget.take()
    assert caplog.messages == []
    clock.advance(60)
    for _ in range(2):
        budget.take()
    assert caplog.messages == ["5 more requests were refused in the last minute"]
    clock.advance(60)
    budget.take()
    assert len(caplog.messages) == 1


def test_an_exhausted_budget_that_left_nothing_out_says_nothing(clock: Clock, caplog: pytest.LogCaptureFixture) -> None:
    """Exactly as many lines as are allowed are no reason for a count."""
    budget = LogBudget(2, clock)
    for _ in range(2):
        budget.take()
    clock.advance(60)
    assert budget.take()
    assert caplog.messages == []


def test_the_budget_of_a_receiver_is_sixty_lines_a_minute() -> None:
    """Without arguments: sixty, by the monotonic clock."""
    budget = LogBudget()
    assert [budget.take() for _ in range(61)] == [True] * 60 + [False]


def test_an_observer_gets_what_happened() -> None:
    """The facts are passed on as they are."""
    seen: list[object] = []
    error = Unauthorized("no signature matches")
    tell(seen.append, error)
    assert seen == [error]


@pytest.mark.parametrize("error", [ValueError("wombat"), ExceptionGroup("wombat", [OSError()]), StopIteration()])
def test_an_observer_that_raises_harms_nothing(error: Exception, caplog: pytest.LogCaptureFixture) -> None:
    """What it raises is logged with its traceback, naming the method, and goes no further."""

    class Broken(Observer):
        def refused(self, error: Refused) -> None:
            raise failure

    failure = error
    tell(Broken().refused, Unauthorized("no signature matches"))
    (record,) = caplog.records
    assert (record.name, record.levelno) == ("airweave_webhooks", logging.ERROR)
    assert record.getMessage() == "the observer's refused raised"
    assert record.exc_info is not None
    assert record.exc_info[1] is error


def test_a_nameless_observer_method(caplog: pytest.LogCaptureFixture) -> None:
    """A callable without a name, such as an object of the user's, does not turn one error into two."""

    class Nameless:
        def __call__(self, *facts: object) -> None:
            raise ValueError("wombat")

        def __repr__(self) -> str:
            return "<nameless>"

    tell(SimpleNamespace(refused=Nameless()).refused, "fact")
    assert caplog.messages == ["the observer's <nameless> raised"]


def test_what_ends_the_program_is_not_held_back() -> None:
    """Ctrl-C in an observer still ends the program."""

    def interrupted() -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        tell(interrupted)


METHODS = [
    ("refused", 1),
    ("drifted", 1),
    ("handler_finished", 4),
    ("replied", 3),
    ("settled", 3),
    ("lease_lost", 1),
]


@pytest.mark.parametrize(("method", "facts"), METHODS)
def test_an_observer_overrides_only_what_it_needs(method: str, facts: int, caplog: pytest.LogCaptureFixture) -> None:
    """A subclass that overrides nothing is an observer, for which every method does nothing."""

    class Quiet(Observer):
        pass

    tell(getattr(Quiet(), method), *range(facts))
    assert caplog.messages == []


def test_all_methods_are_listed() -> None:
    """The tests beside this one leave none out."""
    assert {name for name in vars(Observer) if not name.startswith("_")} == {name for name, _ in METHODS}


@pytest.mark.parametrize(("method", "facts"), METHODS)
def test_several_observers_are_told(method: str, facts: int, caplog: pytest.LogCaptureFixture) -> None:
    """Each of all facts, in order, also when another one raises."""
    told: list[tuple[int, tuple[int, ...]]] = []

    class Noting(Observer):
        def __init__(self, number: int) -> None:
            self.number = number

        def __getattribute__(self, name: str) -> object:
            if name != method:
                return super().__getattribute__(name)

            def note(*facts: int) -> None:
                told.append((self.number, facts))
                if self.number == 2:
                    raise ValueError("broken")

            return note

    tell(getattr(Observers(Noting(1), Noting(2), Noting(3)), method), *range(facts))
    assert told == [(number, tuple(range(facts))) for number in (1, 2, 3)]
    assert len(caplog.messages) == 1
