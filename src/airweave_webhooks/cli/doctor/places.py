"""What answers, if it is not a receiver: pages, logins, tunnels, frameworks that know no such path."""

import re
from typing import Final

import httpx

from airweave_webhooks.cli.doctor.endpoint import Answer, Endpoint, facts
from airweave_webhooks.cli.doctor.findings import Verdict, ok, problem, warning
from airweave_webhooks.cli.words import one_line

LOOKED_AT: Final = 8192
"""Characters of a page: who serves it could make searching more of it slow."""

_PAGES: Final = (
    (
        r"ngrok[^<]*(warning|browser)|you are about to visit|ERR_NGROK_6024",
        "ngrok's warning page",
        "use a reserved domain or another tunnel: the sender cannot click through a page",
    ),
    (
        r"ERR_NGROK_\d+|<title>[^<]*ngrok",
        "ngrok's error page",
        "start the tunnel, and what it leads to; or take the tunnel's new address",
    ),
    (
        r"tunnel password|bypass-tunnel-reminder",
        "a tunnel's reminder page",
        "use another tunnel: the sender cannot click through a page",
    ),
    (
        r"just a moment\.\.\.|cf-chl|challenge-platform|captcha",
        "a challenge for browsers",
        "let POST requests to this path pass the bot protection: nobody solves a challenge for the sender",
    ),
    (
        r"type=.?password|sign in|log ?in\b|single sign-on",
        "a login page",
        "let this path pass without a login: the signature is what proves who sent it",
    ),
    (
        r"csrf",
        "a CSRF failure page",
        "exempt this path from CSRF protection: the signature is what proves who sent it",
    ),
)


def is_page(answer: Answer) -> bool:
    """Whether it is HTML."""
    start = answer.body[:200].lstrip().lower()
    return "html" in answer.headers.get("content-type", "") or start.startswith((b"<!doctype html", b"<html"))


def _page(answer: Answer) -> tuple[str, str]:
    """Say what page it is, and what to do about it."""
    start = answer.text[:LOOKED_AT]
    for pattern, name, remedy in _PAGES:
        if re.search(pattern, start, re.IGNORECASE):
            return name, remedy
    title = re.search(r"<title[^>]{0,200}>([^<]{1,60})", start, re.IGNORECASE)
    name = f"an HTML page{f' ({one_line(title[1])!r})' if title else ''}"
    return name, "check the URL's host and path: something else answers here, and not a receiver"


def _framework(answer: Answer) -> str:
    """Whose words for "no such path" these are."""
    match facts(answer.body):
        case {"detail": "Not Found" | "Method Not Allowed"}:
            return "FastAPI"
        case _:
            pass
    if answer.body in {b"Not Found", b"Method Not Allowed"}:
        return "Starlette"
    if "Cannot POST" in answer.text:
        return "Express"
    if "<h1>Not Found</h1>" in answer.text or "<h1>Method Not Allowed</h1>" in answer.text:
        return "Flask or Django"
    server = one_line(answer.headers.get("server", ""))
    return server[:40] or "the server"


def redirect_of(answer: Answer, endpoint: Endpoint) -> tuple[str, str] | None:
    """Say where a redirect leads, and what to do about it; None if it is none."""
    if not 300 <= answer.status < 400:
        return None
    seen = f"POST is answered with a redirect ({answer.status}), which the sender does not follow"
    target = answer.headers.get("location", "")
    try:
        there = endpoint.url.join(target) if target else None
    except httpx.InvalidURL:
        there = None
    if there is None:
        return seen, "answer at this URL itself"
    seen += f"; it leads to {one_line(str(there))}"
    here = endpoint.url
    if there.path.rstrip("/") == here.path.rstrip("/") and there.path != here.path:
        if there.host != here.host or there.scheme != here.scheme:
            seen += " (behind a proxy whose headers the application does not know)"
        better = here.copy_with(path=there.path)
        return seen, (
            f"subscribe with {better}, which has the other spelling of the slash; or mount with receiver.route(path),"
            " which answers both: a framework redirects the bare prefix of a mount by itself"
        )
    if re.search(r"log-?in|sign-?in|auth|sso", str(there), re.IGNORECASE):
        return seen, "let this path pass without a login: the signature is what proves who sent it"
    return seen, f"subscribe with {one_line(str(there))}, if that is the receiver"


def place(answer: Answer, endpoint: Endpoint) -> Verdict:
    """Say whether a receiver answers, by its answer to an unsigned delivery."""
    if found := redirect_of(answer, endpoint):
        return problem(*found)
    if not answer.status:
        return problem(
            f"POST got {answer.failure}", "see whether the server is overloaded or stuck: its log, or a proxy's"
        )
    if answer.status in {404, 405} and answer.outcome != "method_not_allowed":
        what = "knows no such path" if answer.status == 404 else "has something there that takes no POST"
        return problem(
            f"POST got {answer.status}: {_framework(answer)} {what}",
            "check the path, and any prefix that a proxy or a mount adds or takes away; a receiver mounted with"
            " app.mount(prefix, ...) is below the prefix",
        )
    if is_page(answer):
        name, remedy = _page(answer)
        return problem(f"POST got {answer.status} and {name}, and not the answer of a receiver", remedy)
    if answer.status in {502, 504} or (answer.status == 503 and not answer.outcome):
        return problem(
            f"POST got {answer.status}: a proxy answers, and what stands behind it does not",
            "start the application, and check the address and port to which the proxy passes requests",
        )
    if answer.status in {401, 407} and "basic" in answer.headers.get("www-authenticate", "").lower():
        return problem(
            f"POST got {answer.status}: somebody asks for a user and a password",
            "let this path pass without a login: the signature is what proves who sent it",
        )
    if answer.status == 429:
        return warning("POST got 429: requests are limited", "let the sender's requests pass the rate limit")
    if endpoint.is_ours:
        return ok(f"POST got {answer}: a receiver of airweave-webhooks answers")
    return ok(f"POST got {answer}: something answers that is not airweave-webhooks, so HTTP alone is judged")
