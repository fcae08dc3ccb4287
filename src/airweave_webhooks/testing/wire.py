"""How a request travels: one HTTP exchange, with the limits and the quick repeat of Svix's HTTP client."""

import asyncio
import json
import os
import socket
import ssl
import time
from collections.abc import Generator, Mapping
from contextlib import aclosing, contextmanager
from typing import NamedTuple, cast

import httpx

from airweave_webhooks.errors import ConfigurationError
from airweave_webhooks.testing.attempts import Failure

# A connection that breaks sooner than this is taken for a stale one, in seconds.
QUICK_BREAK = 1.0

# How long Airweave waits for an answer to its probe, in seconds.
PROBE_TIMEOUT = 5.0

# A longer answer is no JSON status, in bytes.
LONGEST_ANSWER = 64 * 1024


class Answer(NamedTuple):
    """What came back: a status, or the reason why there is none."""

    seconds: float
    breaks: int
    """How many connections broke: one, the repeat's, or both."""
    repeated: bool
    error: Failure | None = None
    status: int | None = None
    outcome: str | None = None
    retry_after: str = ""
    content_type: str | None = None
    location: str | None = None
    reason: str | None = None


class NoAnswer(NamedTuple):
    """Why nothing came back."""

    failure: Failure
    reason: str | None = None


class Wire:
    """Carries requests to one endpoint.

    Args:
        url: the endpoint, absolute.
        timeout: seconds until an answer's headers must be there.
        client: the client to send with, or None for clients of its own.

    Raises:
        ConfigurationError: the URL is not absolute.
    """

    def __init__(self, url: str, *, timeout: float, client: httpx.AsyncClient | None) -> None:
        try:
            self._url = httpx.URL(url)
        except httpx.InvalidURL as error:
            raise ConfigurationError(f"{url!r} is not a URL: {error}") from None
        if self._url.scheme not in {"http", "https"} or not self._url.host:
            raise ConfigurationError(f"a sender needs an absolute http(s) URL, not {url!r}")
        self._timeout = timeout
        self._given = client
        # Loading the trusted certificates takes a test's whole time; without TLS none are needed.
        tls = self._url.scheme == "https"
        self._ssl = httpx.create_ssl_context(trust_env=False) if tls else ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        self._clients: list[httpx.AsyncClient] = []
        self._idle: list[httpx.AsyncClient] = []

    async def post(self, headers: Mapping[str, str], body: bytes) -> Answer:
        """Send, and what breaks at once again, byte for byte; no transport error leaves this method."""
        request = httpx.Request(
            "POST",
            self._url,
            headers=headers,
            content=body,
            # Or the client's own limits on each read and write would end a request before `timeout` does.
            extensions={"timeout": httpx.Timeout(None).as_dict()},
        )
        with self._client() as client:
            started = time.perf_counter()
            response = await self._send(client, request)
            breaks = int(_broke(response))
            repeated = _broke(response) and time.perf_counter() - started < QUICK_BREAK
            if repeated:
                response = await self._send(client, request)
                breaks += _broke(response)
            seconds = time.perf_counter() - started
            if isinstance(response, NoAnswer):
                return Answer(seconds, breaks, repeated, error=response.failure, reason=response.reason)
            return Answer(
                seconds,
                breaks,
                repeated,
                status=response.status_code,
                outcome=await self._outcome(response),
                retry_after=response.headers.get("retry-after", ""),
                content_type=response.headers.get("content-type"),
                location=response.headers.get("location"),
            )

    async def head(self) -> int | None:
        """Send a `HEAD` as httpx writes it, which is what Airweave does; None without an answer in time."""
        try:
            with self._client() as client:
                async with asyncio.timeout(PROBE_TIMEOUT):
                    response = await client.head(self._url, follow_redirects=False, timeout=None)
        except (TimeoutError, httpx.TransportError):
            return None
        return response.status_code

    async def aclose(self) -> None:
        """Close the connections, but not those of a given client."""
        for client in self._clients:
            await client.aclose()

    @contextmanager
    def _client(self) -> Generator[httpx.AsyncClient, None, None]:
        """Lend a client to one request at a time.

        A client's pool looks at all its connections for each request. With 200 in flight that takes longer
        than any receiver does, and would be measured as the receiver's latency.
        """
        if self._given is not None:
            yield self._given
            return
        if not self._idle:
            self._clients.append(httpx.AsyncClient(trust_env=False, verify=self._ssl))
            self._idle.append(self._clients[-1])
        client = self._idle.pop()
        try:
            yield client
        finally:
            self._idle.append(client)

    async def _send(self, client: httpx.AsyncClient, request: httpx.Request) -> httpx.Response | NoAnswer:
        """Send, and return the answer with its body unread."""
        try:
            async with asyncio.timeout(self._timeout):
                return await client.send(request, stream=True, follow_redirects=False)
        except (TimeoutError, httpx.TimeoutException):
            return NoAnswer("timeout")
        except httpx.TransportError as error:
            return NoAnswer("connection", _reason(error))

    async def _outcome(self, response: httpx.Response) -> str | None:
        """Read the body for its `status` word. Nothing wrong with it changes what the HTTP status said."""
        body = bytearray()
        try:
            async with asyncio.timeout(self._timeout), aclosing(response):
                async for chunk in response.aiter_bytes():
                    body += chunk
                    if len(body) > LONGEST_ANSWER:
                        return None
            match json.loads(body):
                case {"status": str(word)}:
                    return word
                case _:
                    return None
        except (TimeoutError, httpx.RequestError, ValueError, RecursionError):
            return None


def _broke(response: httpx.Response | NoAnswer) -> bool:
    return isinstance(response, NoAnswer) and response.failure == "connection"


def _reason(error: BaseException) -> str:
    """What the system said, below what the libraries made of it."""
    found = str(error) or type(error).__name__
    here = error.__cause__ or error.__context__
    while here is not None:
        if isinstance(here, BaseExceptionGroup):  # several addresses were tried
            here = cast("tuple[BaseException, ...]", here.exceptions)[-1]
        if isinstance(here, OSError) and here.strerror:
            # asyncio says only what it did where the system said why.
            known = here.errno is not None and not isinstance(here, socket.gaierror | ssl.SSLError)
            found = os.strerror(here.errno or 0) if known else here.strerror
        here = here.__cause__ or here.__context__
    return found
