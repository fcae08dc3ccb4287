"""Which answers are right, and what is said about the others."""

import dataclasses
from typing import Any

import pytest

from airweave_webhooks.cli.send.expectations import How, Target, problems
from airweave_webhooks.cli.send.sending import Judged, Tally, tampered
from airweave_webhooks.testing import Attempt

TARGET = Target("http://127.0.0.1:8000", ".env")
PLAIN, TWICE, AT_ONCE = How(), How(duplicate=True), How(concurrent=3)
TAMPERED, STALE = How(tamper=True), How(stale=True)


def attempt(answer: str, **more: Any) -> Attempt:
    status, _, outcome = answer.partition(" ")
    made = Attempt("msg_1", 0.0, 0.01, status=int(status), outcome=outcome or None, content_type="application/json")
    return dataclasses.replace(made, **more)


@pytest.mark.parametrize(
    ("how", "answers"),
    [
        *((PLAIN, [f"200 {word}"]) for word in ("processed", "ignored", "duplicate", "accepted", "rejected")),
        (PLAIN, ["204"]),
        (TWICE, ["200 processed", "200 duplicate"]),
        (TWICE, ["200 accepted", "200 accepted"]),
        (TWICE, ["200 rejected", "200 rejected"]),
        (TWICE, ["200", "200"]),
        (AT_ONCE, ["409 in_progress", "200 processed", "200 duplicate"]),
        (AT_ONCE, ["409", "200", "409"]),
        *((how, [answer]) for how in (TAMPERED, STALE) for answer in ("401 unauthorized", "400", "403")),
        (How(tamper=True, concurrent=2), ["401", "401"]),
    ],
)
def test_right_answers(how: How, answers: list[str]) -> None:
    assert problems([attempt(answer) for answer in answers], how, TARGET) == [None] * len(answers)


@pytest.mark.parametrize(
    ("how", "answers", "message"),
    [
        (PLAIN, ["500 failed"], "not acknowledged (500 failed, a handler failed: its log says why)"),
        (PLAIN, ["503 retry"], "a handler asks for another attempt"),
        (PLAIN, ["502"], "not acknowledged (502)"),
        (PLAIN, ["409 conflict"], "this message id came before with another body"),
        (PLAIN, ["409 in_progress"], "another attempt is under way"),
        (PLAIN, ["401 unauthorized"], "the secret, from .env, is not its own"),
        (PLAIN, ["404"], "with the receiver's path, as in /webhooks/airweave"),
        (PLAIN, ["405"], "takes no POST"),
        (PLAIN, ["413"], "too large"),
        (TWICE, ["200 processed", "200 processed"], "processed more than once"),
        (TWICE, ["500 failed", "200 processed"], "not acknowledged"),
        (AT_ONCE, ["200 processed", "409 in_progress", "200 processed"], "processed more than once"),
        (AT_ONCE, ["409 in_progress"] * 3, "none of the attempts was acknowledged"),
        (AT_ONCE, ["200 processed", "409 conflict", "200 duplicate"], "another body"),
        (TAMPERED, ["200 processed"], "although it was changed after signing"),
        (STALE, ["200"], "forge"),
        (STALE, ["500 failed"], "was not refused: it was not acknowledged"),
        (TAMPERED, ["404"], "was not refused: there is nothing at this path"),
    ],
)
def test_wrong_answers(how: How, answers: list[str], message: str) -> None:
    found = [problem for problem in problems([attempt(answer) for answer in answers], how, TARGET) if problem]
    assert len(found) == 1
    assert message in found[0]


@pytest.mark.parametrize(
    ("status", "more", "message"),
    [
        (307, {"location": "http://x/y/"}, "a redirect (307), which Airweave does not follow: send to 'http://x/y/'"),
        (301, {}, "a redirect (301), which Airweave does not follow; a slash"),
        (200, {"content_type": "text/html; charset=utf-8"}, "with a page (200, text/html; charset=utf-8)"),
        (404, {"content_type": "text/HTML"}, "with a page (404"),
        (302, {"location": "http://u:hunter2@x/\x1b[2J"}, "http://…@x/"),
    ],
)
def test_what_is_no_receiver(status: int, more: dict[str, Any], message: str) -> None:
    (problem,) = problems([attempt(str(status), **more)], PLAIN, TARGET)
    assert problem is not None
    assert message in problem
    assert "hunter2" not in problem
    assert "\x1b" not in problem
    assert problems([attempt(str(status), **more)], STALE, TARGET) != [None]


def test_no_answer() -> None:
    """Says which, and what to do."""
    late = Attempt("msg_1", 0.0, 15.0, error="timeout")
    gone = Attempt("msg_1", 0.0, 0.1, error="connection", reason="Connection refused")
    assert "did not answer in time" in str(problems([late], PLAIN, TARGET))
    assert "nothing answers at http://127.0.0.1:8000 (Connection refused)" in str(problems([gone], STALE, TARGET))
    tls = dataclasses.replace(gone, reason="[SSL: WRONG_VERSION_NUMBER] wrong version number")
    assert "https for http" in str(problems([tls], PLAIN, TARGET))
    assert "(the connection broke)" in str(problems([dataclasses.replace(gone, reason=None)], PLAIN, TARGET))


def test_a_404_below_a_path_needs_no_example() -> None:
    assert "as in" not in str(problems([attempt("404")], PLAIN, Target("http://h:1/hooks", "")))


@pytest.mark.parametrize(
    ("body", "changed"),
    [
        (b'{"a":1}', b'{"a":1,"tampered":true}'),
        (b"{}", b'{"tampered":true}'),
        (b"[1]", b"[1] tampered"),
        (b"", b" tampered"),
    ],
)
def test_a_tampered_body_is_still_what_it_was(body: bytes, changed: bytes) -> None:
    assert tampered(body) == changed


def test_a_tally() -> None:
    tally = Tally(2)
    tally.count(Judged(Attempt("msg_1", 0.0, 0.1, error="timeout"), "x", "late"))
    reached = [tally.reached]
    tally.count(Judged(attempt("200 processed"), "x", None))
    assert [*reached, tally.reached] == [False, True]
    assert tally.answers == {(None, "timeout"): 1, (200, "processed"): 1}
    assert (tally.problems, tally.wrong) == ({"late": 1}, {None: 1})


def test_what_is_said_about_how() -> None:
    assert How(tamper=True, stale=True, concurrent=5).said == (
        "changed after signing, signed an hour ago, sent 5 times at once"
    )
    assert (How().said, How().must, TWICE.attempts) == ("", "", 2)
