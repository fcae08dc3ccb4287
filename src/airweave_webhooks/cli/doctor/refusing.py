"""Whether it refuses what it must: each with 4xx, because a 5xx comes again for a day, and a 2xx lets a forger in."""

import time
from collections.abc import Iterator
from typing import Final

from airweave_webhooks.cli.doctor.deliveries import Harmless, envelope, harmless, signed, stranger
from airweave_webhooks.cli.doctor.endpoint import Answer, Endpoint, RawHeader
from airweave_webhooks.cli.doctor.findings import Verdict, ok, problem, warning

HOUR: Final = 3600.0
LARGEST: Final = 2_000_000
"""Bytes: about what the sender's server takes."""

_VERIFY: Final = (
    "verify the signature over the raw body of every request, with a constant-time comparison, before anything else;"
    " airweave_webhooks.Receiver does"
)
_LIMITED: Final = "let the sender's requests pass the rate limit: it sends many at once after an outage"
_CATCH: Final = (
    "answer 400 or 401 whatever the verification raises: libraries raise ValueError, binascii.Error and"
    " UnicodeDecodeError for malformed input, too"
)


async def unsigned(endpoint: Endpoint) -> Verdict:
    """A delivery without a signature."""
    return _judged("a delivery without a signature", endpoint.first)


async def wrong_secret(endpoint: Endpoint) -> Verdict:
    """A delivery that a stranger signed."""
    delivery = harmless()
    answer = await endpoint.post(signed(delivery, [stranger()]), delivery.body)
    return _judged("a delivery signed with another secret", answer)


async def malformed(endpoint: Endpoint) -> Verdict:
    """Headers that mean nothing."""
    wrong: dict[str, Answer] = {}
    number = 0
    for name, headers, body in _malformed():
        answer = await endpoint.post(headers, body)
        number += 1
        if not answer.refused:
            wrong[name] = answer
        if not answer.status or answer.status == 429:
            break
    if any(answer.status == 429 for answer in wrong.values()):
        return warning(f"after {number} of them requests are limited (429)", _LIMITED)
    if not wrong:
        return ok(f"{number} kinds of malformed headers and bodies are refused with 4xx")
    seen = "; ".join(f"{name}: {answer}" for name, answer in wrong.items())
    accepted = any(answer.accepted for answer in wrong.values())
    return problem(f"not refused with 400 or 401: {seen}", _VERIFY if accepted else _CATCH)


async def tampered(endpoint: Endpoint) -> Verdict:
    """A body that was changed after it was signed."""
    delivery = harmless()
    body = delivery.body.replace(b"ignore it", b"changed!!")
    return _judged(
        "a body that was changed after signing", await endpoint.post(signed(delivery, endpoint.signers), body)
    )


async def stale(endpoint: Endpoint) -> Verdict:
    """A delivery that was signed long ago."""
    return await _at_another_time(endpoint, -HOUR, "a delivery signed an hour ago")


async def future(endpoint: Endpoint) -> Verdict:
    """A delivery that is signed for later."""
    return await _at_another_time(endpoint, HOUR, "a delivery signed an hour ahead")


async def _at_another_time(endpoint: Endpoint, later: float, what: str) -> Verdict:
    delivery = harmless()
    answer = await endpoint.post(signed(delivery, endpoint.signers, later=later), delivery.body)
    if answer.accepted:
        return problem(
            f"{what} got {answer}: whoever has recorded one can send it again at any time",
            "refuse timestamps that are more than 5 minutes away from now, in both directions",
        )
    return _judged(what, answer)


async def size(endpoint: Endpoint) -> Verdict:
    """A body as large as the sender's largest; signed by a stranger, so that it is read, and goes no further."""
    padding = '{"event_type":"doctor.check","padding":"'
    delivery = Harmless(harmless().id, padding.encode() + b"x" * (LARGEST - len(padding) - 2) + b'"}')
    answer = await endpoint.post(signed(delivery, [stranger()]), delivery.body)
    what = f"a body of {LARGEST // 1_000_000} MB, about the sender's largest,"
    remedy = (
        "allow 4 MB on this path in every proxy (nginx: client_max_body_size 4m) and in the application"
        " (BodyLimits(most_bytes=4 * 2**20))"
    )
    if answer.status == 413:
        return problem(f"{what} is too large for it: 413", remedy)
    if answer.status == 408 or answer.failure.startswith("no answer"):
        return warning(
            f"{what} got {answer}: it did not come in time", "allow more time for reading, or try from a better line"
        )
    if not answer.status:
        return problem(f"{what} got {answer.failure}: something on the way cuts it", remedy)
    if answer.refused:
        return ok(f"{what} is read, and refused for its signature ({answer})")
    return _judged(f"{what} signed with another secret,", answer)


def _judged(what: str, answer: Answer) -> Verdict:
    if answer.refused:
        return ok(f"{what} is refused ({answer})")
    if answer.accepted:
        return problem(f"{what} is accepted ({answer}): anybody can send events", _VERIFY)
    if answer.status == 429:
        return warning(f"{what} got 429: requests are limited", _LIMITED)
    if answer.status == 503 and answer.outcome == "unavailable":
        return problem(
            f"{what} got 503 unavailable: the receiver can verify nothing",
            "see its log: most likely it has no secret, or looking one up fails",
        )
    if answer.status >= 500:
        return problem(f"{what} got {answer}, and not 400 or 401", _CATCH)
    return problem(f"{what} got {answer}, and not 400 or 401", "answer 401 to what is not signed, whatever it asks for")


def _malformed() -> Iterator[tuple[str, list[RawHeader], bytes]]:
    delivery = harmless()
    id_, body = delivery
    name, now = id_.encode(), b"%d" % int(time.time())
    sound = signed(delivery, [stranger()])
    token = sound[2][1]
    yield "bad base64", envelope(name, now, b"v1,@@not base64@@"), body
    yield "a signature without a comma", envelope(name, now, b"v1"), body
    yield "a signature with two commas", envelope(name, now, b"v1,a,b"), body
    yield "letters beyond ASCII", envelope(b"msg_\xc3\xa9", now, b"v1,\xc3\xa9\xff"), body
    yield "a timestamp that is no number", envelope(name, b"soon", token), body
    yield "a timestamp without end", envelope(name, b"9" * 400, token), body
    yield "mixed header families", [sound[0], *envelope(name, now, token, "webhook")[1:]], body
    yield "a missing id", sound[1:], body
    yield "a body that is not UTF-8", sound, b"\xff\xfe\x00"
    yield "an empty body", sound, b""
