"""What a sender, a prober or a forger does over HTTP, and what it gets: the same, wherever the receiver is mounted."""

import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import httpx

from airweave_webhooks.testing.payloads import payload
from conftest import OTHER_SECRET, SECRET, sign

MOST_BYTES = 10_000
BODY = payload("sync.completed")
IGNORED = payload("collection.created")


@dataclass(frozen=True)
class Case:
    """One request, and its answer.

    Attributes:
        name: what is sent.
        status: of the answer.
        outcome: the word in the answer's body; None for no body at all.
        refused: whether it does not get past the verification.
    """

    name: str
    status: int
    outcome: str | None
    headers: dict[str, str] = field(default_factory=dict)
    body: bytes = BODY
    method: str = "POST"
    slash: str = ""
    refused: bool = False

    def expected(self) -> tuple[int, Any, str | None]:
        allow = "POST, HEAD, GET" if self.status == 405 else None
        return self.status, {"status": self.outcome} if self.outcome else b"", allow

    async def _answer(self, client: httpx.AsyncClient, url: str, attempt: int = 1) -> httpx.Response:
        try:
            return await client.request(self.method, url, content=self.body, headers=self.headers)
        except httpx.TransportError:
            # Whoever is refused while their body is on its way may be hung up on before they read the answer.
            if not self.refused or attempt == 5:
                raise
            return await self._answer(client, url, attempt + 1)

    async def sent_to(self, client: httpx.AsyncClient, url: str) -> tuple[int, Any, str | None]:
        answer = await self._answer(client, url + self.slash)
        try:
            said = answer.json()
        except ValueError:
            said = answer.content
        return answer.status_code, said, answer.headers.get("allow")


def cases(old_secret: str = OTHER_SECRET) -> Iterator[Case]:
    """All cases, in the order in which they are sent, on a receiver with SECRET and `old_secret`."""
    stranger = "whsec_" + "c3RyYW5nZXJzdHJhbmdlcnN0cmFuZ2Vyc3RyYW5n"
    good = sign(BODY, message_id="msg_good")
    one, other = sign(BODY, message_id="msg_both"), sign(BODY, message_id="msg_both", secret=old_secret)
    both = one | {"svix-signature": f"{other['svix-signature']} {one['svix-signature']}"}
    large = b'{"x":"' + b"x" * MOST_BYTES + b'"}'
    now = time.time()

    yield Case("good", 200, "processed", good)
    yield Case("duplicate", 200, "duplicate", good)
    yield Case("trailing slash", 200, "processed", sign(BODY, message_id="msg_slash"), slash="/")
    yield Case("ignored", 200, "ignored", sign(IGNORED, message_id="msg_ignored"), IGNORED)
    yield Case("other family", 200, "processed", sign(BODY, message_id="msg_other", family="webhook"))
    yield Case("rotated away", 200, "processed", sign(BODY, message_id="msg_old", secret=old_secret))
    yield Case("in a rotation", 200, "processed", both)

    def refused(name: str, status: int, outcome: str, headers: dict[str, str], body: bytes = BODY) -> Case:
        return Case(name, status, outcome, headers, body, refused=True)

    yield refused("no headers", 400, "malformed", {"content-type": "application/json"})
    yield refused("a header missing", 400, "malformed", {k: v for k, v in good.items() if k != "svix-timestamp"})
    yield refused("mixed families", 400, "malformed", good | sign(BODY, family="webhook"))
    yield refused("malformed timestamp", 400, "malformed", good | {"svix-timestamp": "1.7e9"})
    yield refused("malformed signature", 401, "unauthorized", good | {"svix-signature": "v1,,!"})
    yield refused("no signature of a version", 401, "unauthorized", good | {"svix-signature": "nonsense"})
    yield refused("another body's signature", 401, "unauthorized", good, IGNORED)
    yield refused("wrong secret", 401, "unauthorized", sign(BODY, secret=stranger))
    yield refused("stale", 401, "unauthorized", sign(BODY, at=now - 400))
    yield refused("from the future", 401, "unauthorized", sign(BODY, at=now + 400))
    yield refused("too large", 413, "too_large", sign(large), large)
    yield refused("too large, and unsigned", 400, "malformed", {}, large)
    yield refused("not JSON", 400, "invalid", sign(b"<xml/>"), b"<xml/>")
    yield refused("not an object", 400, "invalid", sign(b"[1]"), b"[1]")
    yield refused("empty", 400, "invalid", sign(b""), b"")

    for slash in ("", "/"):
        yield Case("HEAD" + slash, 200, None, body=b"", method="HEAD", slash=slash)
        yield Case("GET" + slash, 200, None, body=b"", method="GET", slash=slash)
    for method in ("PUT", "PATCH", "DELETE", "OPTIONS"):
        yield Case(method, 405, "method_not_allowed", body=b"", method=method)
    yield Case("good after all that", 200, "processed", sign(BODY, message_id="msg_last"))


SECRETS = [SECRET, OTHER_SECRET]
