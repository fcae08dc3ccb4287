"""What belongs together becomes one entry, and what an entry looks like."""

from collections.abc import Sequence
from typing import Any

import pytest

from airweave_webhooks import Delivery, Reject, Reply, Retry
from airweave_webhooks.cli.serve import journal as journals
from airweave_webhooks.cli.serve.entries import as_object, lines
from airweave_webhooks.cli.serve.journal import Answered, Entry, Journal, Late, Lost, Refusal, Settled
from airweave_webhooks.errors import Unauthorized
from airweave_webhooks.events import parse
from airweave_webhooks.testing.payloads import payload

PROCESSED = Reply(200, "processed")


def delivery(body: bytes = payload("sync.completed"), **changed: Any) -> Delivery:
    made = Delivery("msg_1", 0, None, [], body, parse(body), "default", "msg_1")
    for name, value in changed.items():
        setattr(made, name, value)
    return made


@pytest.fixture
def written() -> list[Entry]:
    return []


@pytest.fixture
def journal(written: list[Entry]) -> Journal:
    return Journal(written.append)


def test_an_answer_has_its_handlers(journal: Journal, written: list[Entry]) -> None:
    """Also where two deliveries are worked on at once."""
    one, other = delivery(), delivery()
    error = ValueError("no")
    journal.handler_finished(one, "a", 0.1, None)
    journal.handler_finished(other, "a", 0.2, error)
    journal.handler_finished(one, "b", 0.3, Retry("later"))
    journal.replied(one, PROCESSED, 0.5)
    journal.settled(other, "pending", "failed")
    answered, settled = written
    assert isinstance(answered, Answered)
    assert [run[:3] for run in answered.runs] == [("a", "processed", 0.1), ("b", "retry", 0.3)]
    assert isinstance(settled, Settled)
    assert [run[:4] for run in settled.runs] == [("a", "failed", 0.2, error)]


def test_a_handler_that_finishes_after_the_answer(journal: Journal, written: list[Entry]) -> None:
    late = delivery()
    journal.replied(late, Reply(503, "still_running", 5), 12.0)
    journal.handler_finished(late, "a", 13.0, Reject("no"))
    assert isinstance(written[1], Late)
    assert written[1].run.verdict == "rejected"


def test_a_lost_lease(journal: Journal, written: list[Entry]) -> None:
    lost = delivery()
    journal.handler_finished(lost, "a", 1.0, None)
    journal.lease_lost(lost)
    journal.replied(lost, Reply(409, "lease_lost", 1), 1.0)
    assert [type(entry) for entry in written] == [Lost, Answered]
    assert as_object(written[0])["handlers"][0]["handler"] == "a"


def test_it_is_bounded(journal: Journal, written: list[Entry], monkeypatch: pytest.MonkeyPatch) -> None:
    """Whose end is never told is forgotten; refusals do not fill the terminal."""
    monkeypatch.setattr(journals, "MOST_OPEN", 3)
    several = [delivery() for _ in range(5)]
    for one in several:
        journal.handler_finished(one, "a", 1.0, None)
    for one in several:
        journal.replied(one, Reply(503, "still_running", 5), 1.0)
    assert [len(entry.runs) for entry in written if isinstance(entry, Answered)] == [0, 0, 1, 1, 1]
    written.clear()
    for one in several:
        journal.handler_finished(one, "a", 1.0, None)
    assert len(written) == 3
    for _ in range(2 * journals.MOST_REFUSALS):
        journal.refused(Unauthorized("stale"))
    assert len(written) == 3 + journals.MOST_REFUSALS


def shown(entry: Entry, width: int = 80) -> str:
    return "\n".join(line.plain for line in lines(entry, width))


def runs(*errors: BaseException | None) -> Sequence[journals.Run]:
    found: list[Entry] = []
    journal = Journal(found.append)
    one = delivery()
    for error in errors:
        journal.handler_finished(one, "shop.refresh", 0.0123, error)
    journal.replied(one, PROCESSED, 0.1)
    assert isinstance(found[0], Answered)
    return found[0].runs


EVERY: list[Entry] = [
    Refusal(401, "unauthorized", "stale: signed 3601 s ago by this host's clock, 300 s are allowed " * 2),
    Answered(delivery(), PROCESSED, 0.0123, tuple(runs(None, ValueError("x" * 300), Retry("later"), Reject("never")))),
    Answered(delivery(attempt=2, tenant="acme", id="msg_" + "y" * 27), Reply(409, "in_progress", 1), 11.0, ()),
    Answered(delivery(b"{}"), Reply(200, "ignored"), 0.001, ()),
    Settled(delivery(), "done", "processed", ()),
    Settled(delivery(), "pending", None, ()),
    Settled(delivery(), "dead", "exhausted", ()),
    Late(delivery(), runs(None)[0]),
    Lost(delivery(), ()),
]


@pytest.mark.parametrize("width", [80, 120])
@pytest.mark.parametrize("entry", EVERY, ids=lambda entry: type(entry).__name__)
def test_an_entry_fits(entry: Entry, width: int) -> None:
    text = shown(entry, width)
    assert max(map(len, text.splitlines())) <= width
    assert as_object(entry)["kind"] in {"refused", "delivery", "settled", "late", "lease_lost"}


def test_the_words_of_an_entry() -> None:
    assert "200 processed  sync.completed  12 ms" in shown(EVERY[1])
    assert "engineering-context-k4x9q  msg_1" in shown(EVERY[1])
    assert "409 in_progress  sync.completed  attempt 2  11 s" in shown(EVERY[2])
    assert "another attempt is under way" in shown(EVERY[2])
    assert "tenant acme" in shown(EVERY[2], 120)
    assert "an event without a type" in shown(EVERY[3])
    assert "no handler takes it; this version does not know the type" in shown(EVERY[3])
    assert "done processed" in shown(EVERY[4])
    assert "again later" in shown(EVERY[5])
    assert "deliveries replay" in shown(EVERY[6])


def test_drift_is_named() -> None:
    drifted = delivery(b'{"event_type":"sync.completed","collection_readable_id":"docs"}')
    text = shown(Answered(drifted, Reply(200, "accepted"), 0.1, ()))
    assert "held in the store; its fields are not those of this type" in text
    assert "docs" in text
    assert "its fields" in shown(Answered(drifted, PROCESSED, 0.1, ()))


def test_what_a_stranger_wrote_moves_no_cursor() -> None:
    nasty = delivery(b'{"event_type":"\\u001b[2J","collection_readable_id":7}', id="msg_\x1b[2J")
    assert "\x1b" not in shown(Answered(nasty, PROCESSED, 0.1, ()))
    assert as_object(Answered(nasty, PROCESSED, 0.1, ()))["collection"] is None


def broken() -> BaseException:
    try:
        int("whsec_c2VjcmV0")
    except ValueError as error:
        return error
    raise AssertionError


def test_a_failure_has_the_users_frames_and_no_secret() -> None:
    entry = Answered(delivery(), Reply(500, "failed"), 0.1, tuple(runs(broken(), Retry("in a while"))))
    text = shown(entry, 200)
    assert "failed        12 ms  shop.refresh" in text
    assert "ValueError: invalid literal for int() with base 10: 'whsec_…'" in text
    assert "test_cli_journal.py:" in text
    assert "in broken" in text
    assert "c2VjcmV0" not in text
    assert "\n            in a while" in text
    first, second = as_object(entry)["handlers"]
    assert first["frames"][0].endswith("in broken")
    assert (first["result"], second["error"]) == ("failed", "in a while")
    assert "c2VjcmV0" not in str(first)
