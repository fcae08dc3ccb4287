"""Which answers a receiver must give to what is sent, and what it means when it gives others."""

from collections.abc import Sequence
from typing import Final, NamedTuple

from airweave_webhooks.cli.send.outcomes import MEANINGS
from airweave_webhooks.cli.words import one_line
from airweave_webhooks.testing.attempts import Attempt

REFUSALS: Final = frozenset({400, 401, 403})
"""How receivers answer what they cannot verify; ours with 401."""
NEVER_TWICE: Final = frozenset({"processed"})


class How(NamedTuple):
    """How each message is sent."""

    duplicate: bool = False
    """Twice, one after the other."""
    concurrent: int = 1
    """So many times at once."""
    tamper: bool = False
    """With a body that was changed after it was signed."""
    stale: bool = False
    """Signed an hour ago."""

    @property
    def forged(self) -> bool:
        """Whether it must be refused."""
        return self.tamper or self.stale

    @property
    def attempts(self) -> int:
        """Requests for each message."""
        return 2 if self.duplicate else self.concurrent

    @property
    def said(self) -> str:
        """What is special about it, for people; empty if nothing is."""
        parts = [
            "changed after signing" if self.tamper else "",
            "signed an hour ago" if self.stale else "",
            "sent twice" if self.duplicate else "",
            f"sent {self.concurrent} times at once" if self.concurrent > 1 else "",
        ]
        return ", ".join(part for part in parts if part)

    @property
    def must(self) -> str:
        """What the receiver must do, for people; empty if nothing special."""
        if self.forged:
            return "each was refused"
        return "each was processed at most once" if self.attempts > 1 else ""


class Target(NamedTuple):
    """Where it goes, for the sentences."""

    url: str
    source: str
    """Where the secret comes from."""


def problems(attempts: Sequence[Attempt], how: How, target: Target) -> list[str | None]:
    """For each attempt of one message what is wrong with its answer; None if it is as it must be."""
    found = [_problem(attempt, how, target) for attempt in attempts]
    if how.attempts == 1 or how.forged or any(found):
        return found
    outcomes = [attempt.outcome for attempt in attempts]
    seen: set[str] = set()
    for place, outcome in enumerate(outcomes):
        if outcome in NEVER_TWICE & seen:
            found[place] = "one message was processed more than once: its receivers do not share what they have done"
        seen |= {outcome or ""}
    if not any(attempt.succeeded for attempt in attempts):
        found[0] = "none of the attempts was acknowledged: the message would come again"
    return found


def _problem(attempt: Attempt, how: How, target: Target) -> str | None:
    if attempt.status is None:
        return _no_answer(attempt, target)
    if how.forged:
        return None if attempt.status in REFUSALS else _not_refused(attempt, how, target)
    if attempt.status == 409 and how.concurrent > 1 and attempt.outcome in {"in_progress", None}:
        return None  # another one is under way
    if attempt.succeeded and not _is_page(attempt):
        return None
    return _wrong(attempt, attempt.status, target)


def _not_refused(attempt: Attempt, how: How, target: Target) -> str:
    if attempt.succeeded and not _is_page(attempt):
        return (
            f"it was acknowledged with {attempt.status} although it was {how.said}: whoever knows the URL can forge"
            " events. Verify signature and timestamp before anything else"
        )
    return f"it was {how.said}, and was not refused: " + _wrong(attempt, attempt.status or 0, target)


def _no_answer(attempt: Attempt, target: Target) -> str:
    if attempt.error == "timeout":
        return (
            f"{target.url} did not answer in time; Airweave would count that as a failure, and send again: answer"
            " before the work is done (Inbox mode does), or look what blocks the server"
        )
    reason = one_line(attempt.reason) or "the connection broke"
    if "SSL" in reason:
        return (
            f"there is no TLS connection to {target.url} ({reason}): it is https for http, or the certificate is not"
            " one that Airweave would trust"
        )
    return (
        f"nothing answers at {target.url} ({reason}): start the receiver, as with `airweave-webhooks dev"
        " module:receiver`, or look whether --to has the right host and port"
    )


def _wrong(attempt: Attempt, status: int, target: Target) -> str:
    if 300 <= status < 400:
        where = one_line(attempt.location)
        use = f": send to {where!r} itself" if where else ""
        return (
            f"{target.url} answers with a redirect ({status}), which Airweave does not follow{use}; a slash at the end"
            " of the URL, or http for https, makes the difference most often"
        )
    if _is_page(attempt):
        return (
            f"{target.url} answers with a page ({status}, {one_line(attempt.content_type)}) and not as a receiver does:"
            " the URL is another application's, or a login or tunnel stands before it"
        )
    match status:
        case 401:
            return (
                f"the receiver refuses our signature (401): the secret, from {target.source}, is not its own; or its"
                " clock is off by minutes. Its log says which"
            )
        case 404:
            hint = _path_hint(target.url)
            return f"there is nothing at this path (404): --to takes the whole URL, with the receiver's path{hint}"
        case 405:
            return f"{target.url} takes no POST (405): it is another route's path"
        case 413:
            return "the body is too large for it (413)"
        case _:
            outcome = one_line(attempt.outcome)
            meaning = MEANINGS.get(outcome) or ("a handler failed: its log says why" if outcome == "failed" else "")
            said = f"{status} {outcome}".rstrip() + (f", {meaning}" if meaning else "")
            return f"it was not acknowledged ({said}): Airweave would send it again"


def _path_hint(url: str) -> str:
    return "" if url.rstrip("/").count("/") > 2 else ", as in /webhooks/airweave"


def _is_page(attempt: Attempt) -> bool:
    return "html" in (attempt.content_type or "").lower()
