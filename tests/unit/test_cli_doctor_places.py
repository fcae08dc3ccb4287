"""What the doctor makes of an answer, without a server."""

import asyncio
import contextlib
from collections.abc import Sequence
from typing import Any

import httpx
import pytest

from airweave_webhooks.cli.doctor import accepting, outside, reaching, refusing
from airweave_webhooks.cli.doctor.endpoint import Answer, Endpoint, RawHeader, Sample
from airweave_webhooks.cli.doctor.findings import Check, Verdict, examine, ok, problem, skipped
from airweave_webhooks.cli.doctor.places import place

pytestmark = pytest.mark.anyio

HTML = {"content-type": "text/html"}


def endpoint(url: str = "https://shop.example/hooks") -> Endpoint:
    return Endpoint(httpx.URL(url), (), "", ("", ""), 1.0)


class Canned(Endpoint):
    """Answers everything alike."""

    answer: Answer

    async def post(self, headers: Sequence[RawHeader], body: bytes, url: httpx.URL | None = None) -> Answer:
        return self.answer


def canned(answer: Answer) -> Canned:
    made = Canned(httpx.URL("https://shop.example/hooks"), (), "", ("", ""), 1.0)
    made.answer = made.first = answer
    return made


def to(location: str) -> Answer:
    return Answer(307, httpx.Headers({"location": location} if location else {}))


def html(text: str, status: int = 200) -> Answer:
    return Answer(status, httpx.Headers(HTML), text.encode())


@pytest.mark.parametrize(
    ("answer", "seen", "remedy"),
    [
        (to("/hooks/"), "it leads to https://shop.example/hooks/", "subscribe with https://shop.example/hooks/,"),
        (to("http://10.0.0.1/hooks/"), "headers the application does not know", "https://shop.example/hooks/,"),
        (to("/login?next=hooks"), "it leads to", "without a login"),
        (to("https://www.shop.example/hooks"), "it leads to", "subscribe with https://www.shop.example/hooks, if"),
        (to(""), "redirect (307)", "at this URL itself"),
        (to("http://x:port/"), "redirect (307)", "at this URL itself"),
        (html("<title>Shop\x1b[2J</title>"), "200 and an HTML page", "host and path"),
        (html("hello"), "200 and an HTML page, and not", "host and path"),
        (html("<input type=password>"), "a login page", "without a login"),
        (html("ERR_NGROK_8012", 502), "ngrok's error page", "start the tunnel"),
        (html("Tunnel Password"), "a tunnel's reminder page", "another tunnel"),
        (html("Just a moment...", 403), "a challenge for browsers", "bot protection"),
        (html("CSRF verification failed", 403), "a CSRF failure page", "exempt"),
        (Answer(200, body=b"  <!DOCTYPE html>"), "an HTML page", "host and path"),
        (Answer(404, body=b'{"detail":"Not Found"}'), "404: FastAPI knows no such path", "check the path"),
        (Answer(404, body=b"Not Found"), "404: Starlette knows no such path", "below the prefix"),
        (Answer(405, body=b"Method Not Allowed"), "405: Starlette has something there that takes no POST", "path"),
        (Answer(404, body=b"<pre>Cannot POST /hooks</pre>"), "Express", "path"),
        (Answer(404, body=b"<h1>Not Found</h1>"), "Flask or Django", "path"),
        (Answer(404, httpx.Headers({"server": "nginx"})), "404: nginx knows", "path"),
        (Answer(404), "404: the server knows", "path"),
        (Answer(502), "a proxy answers", "start the application"),
        (Answer(503), "a proxy answers", "start the application"),
        (Answer(401, httpx.Headers({"www-authenticate": "Basic realm=x"})), "a user and a password", "without a login"),
        (Answer(failure="no answer in 1 s"), "POST got no answer in 1 s", "overloaded"),
    ],
)
def test_what_is_no_receiver(answer: Answer, seen: str, remedy: str) -> None:
    """It is recognised by its answer."""
    verdict = place(answer, endpoint())
    assert verdict.level == "problem"
    assert seen in verdict.seen
    assert remedy in verdict.remedy
    assert "\x1b" not in verdict.seen


def test_what_can_be_one() -> None:
    """A limit of requests is not the end of it; other receivers are as good as ours."""
    assert place(Answer(429), endpoint()).level == "warning"
    assert "not airweave-webhooks" in place(Answer(401, body=b"[1]"), endpoint()).seen


@pytest.mark.parametrize(
    ("answer", "level", "seen"),
    [
        (Answer(401), "ok", "is refused (401)"),
        (Answer(409), "ok", "is refused"),
        (Answer(204), "problem", "anybody can send events"),
        (Answer(429), "warning", "requests are limited"),
        (Answer(503, body=b'{"status":"unavailable"}'), "problem", "can verify nothing"),
        (Answer(503), "problem", "got 503, and not 400 or 401"),
        (Answer(500), "problem", "got 500, and not 400 or 401"),
        (Answer(408), "problem", "got 408, and not 400 or 401"),
        (Answer(failure="no answer in 1 s"), "problem", "got no answer in 1 s, and not"),
    ],
)
async def test_refusals(answer: Answer, level: str, seen: str) -> None:
    verdict = await refusing.unsigned(canned(answer))
    assert (verdict.level, seen in verdict.seen) == (level, True), verdict


@pytest.mark.parametrize(
    ("answer", "level", "seen"),
    [
        (Answer(413), "problem", "too large"),
        (Answer(failure="the connection broke"), "problem", "something on the way cuts it"),
        (Answer(408), "warning", "did not come in time"),
        (Answer(failure="no answer in 1 s"), "warning", "did not come in time"),
        (Answer(401), "ok", "is read, and refused"),
        (Answer(200), "problem", "is accepted"),
    ],
)
async def test_sizes(answer: Answer, level: str, seen: str) -> None:
    verdict = await refusing.size(canned(answer))
    assert (verdict.level, seen in verdict.seen) == (level, True), verdict


async def test_malformed_without_answers() -> None:
    """The first that gets none is the last: each would cost a timeout."""
    verdict = await refusing.malformed(canned(Answer(failure="no answer in 1 s")))
    assert verdict.seen == "not refused with 400 or 401: bad base64: no answer in 1 s"
    assert "verify" in (await refusing.malformed(canned(Answer(200)))).remedy
    assert (await refusing.malformed(canned(Answer(429)))).seen == "after 1 of them requests are limited (429)"


@pytest.mark.parametrize(
    ("answer", "remedy"),
    [
        (Answer(503, body=b'{"status":"unavailable"}'), "its store is away"),
        (Answer(500, body=b'{"status":"failed"}'), "a handler"),
        (Answer(503, body=b'{"status":"still_running"}'), "Inbox()"),
        (Answer(failure="no answer in 1 s"), "gets stuck"),
        (Answer(500), "makes it fail"),
        (Answer(429), "let signed requests through"),
    ],
)
async def test_what_is_not_accepted(answer: Answer, remedy: str) -> None:
    assert remedy in (await accepting.accepted(canned(answer))).remedy


@pytest.mark.parametrize(("seconds", "level"), [(0.1, "ok"), (6.0, "warning"), (15.5, "problem")])
async def test_latency(seconds: float, level: str) -> None:
    slow = canned(Answer(200))
    slow.second = Answer(200, seconds=seconds)
    assert (await accepting.latency(slow)).level == level


@pytest.mark.parametrize(
    ("samples", "level", "seen"),
    [
        ([Sample(0.4, 1.0)], "ok", "agree to 1 s, by 1 answers"),
        ([Sample(8, 1.0), Sample(-9, 1.0), Sample(900, 1.0)], "ok", "8 s ahead"),
        ([Sample(-45, 1.0)], "warning", "45 s behind"),
        ([Sample(305, 10.0)], "warning", "305 s ahead"),
        ([Sample(320, 10.0)], "problem", "beyond the 300 s"),
        ([], "skipped", "no Date header"),
    ],
)
async def test_clocks(samples: list[Sample], level: str, seen: str) -> None:
    """The middle of all, and what is uncertain counts in its favour."""
    patient = endpoint()
    patient.samples = samples
    verdict = await outside.clock(patient)
    assert (verdict.level, seen in verdict.seen) == (level, True), verdict


async def test_http_for_others() -> None:
    """Only on this machine it is no problem."""
    assert (await reaching.tls(endpoint("http://shop.example/hooks"))).level == "problem"
    for host in ("localhost", "127.0.0.1", "[::1]", "app.localhost"):
        assert (await reaching.tls(endpoint(f"http://{host}/hooks"))).level == "skipped"


async def test_nobody_answers_at_an_address(monkeypatch: pytest.MonkeyPatch) -> None:
    """A firewall, a missing route, a resolver that is stuck: each has its own sentence."""

    async def stuck(*_: Any, **__: Any) -> Any:
        await asyncio.sleep(60)

    async def no_route(*_: Any, **__: Any) -> Any:
        raise OSError(113, "No route to host")

    patient = endpoint("http://127.0.0.1:1/hooks")
    patient.timeout = 0.05

    async def known(*_: Any, **__: Any) -> Any:
        return []

    monkeypatch.setattr(asyncio.get_running_loop(), "getaddrinfo", known)
    for connect, seen in ((stuck, "did not answer within 0.05 s"), (no_route, "No route")):
        monkeypatch.setattr(asyncio, "open_connection", connect)
        assert seen in (await reaching.reachable(patient)).seen
    monkeypatch.setattr(asyncio.get_running_loop(), "getaddrinfo", stuck)
    assert "DNS did not answer" in (await reaching.reachable(patient)).seen


async def test_the_root_has_one_spelling() -> None:
    assert (await reaching.slash(endpoint("https://shop.example/"))).level == "ok"


async def test_checks_wait_for_others() -> None:
    """What is skipped hands its reason on; what is a problem is named."""

    def says(*verdicts: Verdict) -> Any:
        async def look(_: None) -> Any:
            return list(verdicts) if len(verdicts) > 1 else verdicts[0]

        return look

    checks = [
        Check("", "no secret", says(skipped("there is none", "set one"))),
        Check("", "signed", says(ok("")), after=("no secret",)),
        Check("", "broken", says(ok("fine"), problem("broken", "mend it"))),
        Check("", "more", says(ok("")), after=("broken",)),
    ]
    found = [finding async for finding in examine(checks, None, lambda _: contextlib.nullcontext())]
    assert [(finding.name, finding.verdict.level) for finding in found] == [
        ("no secret", "skipped"),
        ("signed", "skipped"),
        ("broken", "ok"),
        ("broken", "problem"),
        ("more", "skipped"),
    ]
    assert found[1].verdict.remedy == "set one"
    assert found[4].verdict.remedy == "do first what 'broken' says"
