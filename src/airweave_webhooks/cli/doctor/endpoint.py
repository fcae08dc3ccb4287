"""An endpoint as the doctor sees it: one HTTP exchange at a time, each on a connection of its own."""

import asyncio
import json
import ssl
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from email.utils import parsedate_to_datetime
from typing import Any, Final, NamedTuple, TypeAlias

import httpx

from airweave_webhooks.cli.words import one_line
from airweave_webhooks.signing import Signer
from airweave_webhooks.testing.sender import USER_AGENT

RawHeader: TypeAlias = tuple[bytes, bytes]

LONGEST_ANSWER: Final = 64 * 1024
"""Bytes of an answer that are read."""


class Sample(NamedTuple):
    """What one answer says about the endpoint's clock, in seconds."""

    ahead: float
    """By how much it is ahead of ours."""
    uncertainty: float


class Answer(NamedTuple):
    """What came back."""

    status: int = 0
    """0 without an answer."""
    headers: httpx.Headers = httpx.Headers()
    body: bytes = b""
    seconds: float = 0.0
    """From sending to the answer's end."""
    ended: float = 0.0
    """By a monotonic clock."""
    failure: str = ""
    """Why there is no answer, as the end of a sentence."""

    @property
    def accepted(self) -> bool:
        """Whether the sender takes it for done."""
        return 200 <= self.status < 300

    @property
    def refused(self) -> bool:
        """Whether it says that the request is wrong, in a way that a receiver does."""
        return 400 <= self.status < 500 and self.status not in {404, 405, 408, 413, 429}

    @property
    def outcome(self) -> str:
        """The word that a receiver of ours answers with; empty if there is none."""
        try:
            match json.loads(self.body):
                case {"status": str(word)}:
                    return one_line(word)[:40]
                case _:
                    return ""
        except (ValueError, RecursionError):
            return ""

    @property
    def text(self) -> str:
        """The body, for people."""
        return self.body.decode(errors="replace")

    def __str__(self) -> str:
        """Name it in a sentence."""
        return f"{self.status} {self.outcome}".strip() if self.status else self.failure


NOT_ASKED: Final = Answer(failure="no question")


@dataclass(slots=True)
class Endpoint:
    """Who is asked, and what is known so far.

    Args:
        url: absolute.
        signers: what signs; empty if no secret is known.
        source: where the secrets come from, for people.
        no_secret: why there are no signers, and what to do about it.
        timeout: seconds that one request may take.
    """

    url: httpx.URL
    signers: Sequence[Signer]
    source: str
    no_secret: tuple[str, str]
    timeout: float
    trusted: bool = True
    """Whether certificates are checked."""
    answered: bool = False
    """Whether it ever answered in HTTP."""
    first: Answer = NOT_ASKED
    """To an unsigned delivery."""
    second: Answer = NOT_ASKED
    """To a signed one."""
    samples: list[Sample] = field(default_factory=list[Sample])
    _tls: ssl.SSLContext | None = None

    @property
    def is_ours(self) -> bool:
        """Whether a receiver of this package answers, as far as can be seen."""
        return self.first.outcome in {"malformed", "unavailable"}

    def tls(self) -> ssl.SSLContext:
        """What connections are made with; of a plain one nothing is used."""
        if self._tls is None:
            # Loading the trusted certificates takes longer than the request.
            secure = self.url.scheme == "https"
            self._tls = httpx.create_ssl_context() if secure else ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        return self._tls

    def distrust(self) -> None:
        """Ask on without checking the certificate, which was found to be wrong."""
        self.trusted = False
        self._tls = httpx.create_ssl_context(verify=False)

    async def post(self, headers: Sequence[RawHeader], body: bytes, url: httpx.URL | None = None) -> Answer:
        """Send as the sender does."""
        fixed = [(b"accept", b"*/*"), (b"content-type", b"application/json"), (b"user-agent", USER_AGENT.encode())]
        return await self._send(httpx.Request("POST", url or self.url, headers=[*fixed, *headers], content=body))

    async def head(self) -> Answer:
        """Send the probe that Airweave sends."""
        return await self._send(httpx.Request("HEAD", self.url, headers={"accept": "*/*"}))

    async def _send(self, request: httpx.Request) -> Answer:
        at, started = time.time(), time.monotonic()
        # Limits of its own on each read and write would end a request before the timeout does.
        request.extensions = {"timeout": httpx.Timeout(None).as_dict()}
        try:
            async with (
                asyncio.timeout(self.timeout),
                httpx.AsyncClient(verify=self.tls(), trust_env=False) as client,
            ):
                response = await client.send(request, stream=True, follow_redirects=False)
                seconds = time.monotonic() - started
                body = bytearray()
                async for chunk in response.aiter_raw():
                    body += chunk
                    if len(body) > LONGEST_ANSWER:
                        break
                await response.aclose()
        except TimeoutError:
            return Answer(ended=time.monotonic(), seconds=self.timeout, failure=f"no answer in {self.timeout:g} s")
        except httpx.HTTPError as error:
            ended = time.monotonic()
            return Answer(ended=ended, seconds=ended - started, failure=_failure(error))
        self.answered = True
        self._compare_clocks(response.headers, at, seconds)
        ended = time.monotonic()
        return Answer(response.status_code, response.headers, bytes(body), ended - started, ended)

    def _compare_clocks(self, headers: httpx.Headers, at: float, seconds: float) -> None:
        try:
            theirs = parsedate_to_datetime(headers["date"]).timestamp()
        except (KeyError, ValueError, OverflowError):
            return
        # The header has whole seconds, and a server may make it anew only once in a second.
        self.samples.append(Sample(theirs + 0.5 - (at + seconds / 2), seconds / 2 + 1.0))


def _failure(error: httpx.HTTPError) -> str:
    what = one_line(str(error))
    match error:
        case httpx.ConnectError():
            return f"no connection ({what})"
        case httpx.ReadError():
            return "the connection was closed without an answer"
        case httpx.RemoteProtocolError() if "disconnected" in what:
            return "the connection was closed without an answer"
        case httpx.RemoteProtocolError():
            return f"an answer that is not HTTP ({what})"
        case _:
            return "the connection broke"


def facts(text: bytes) -> Any:
    """Read JSON; None if it is none."""
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return None
