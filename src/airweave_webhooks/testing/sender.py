"""A sender that behaves like Svix, which sends Airweave's webhooks, over real HTTP.

It does to a receiver what production does: it signs, retries on a schedule, honours `Retry-After`, gives up
on slow answers, repeats what a broken connection lost, sends twice and out of order, and keeps count.
"""

import asyncio
import random
import string
import time
from collections.abc import Awaitable, Callable, Coroutine, Iterable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, nullcontext
from types import TracebackType
from typing import Any, Literal, Self

import httpx

from airweave_webhooks.errors import SecretError
from airweave_webhooks.signing import parse_signer, signature_headers
from airweave_webhooks.testing.attempts import Attempt, Message, Result, Statistics
from airweave_webhooks.testing.recording import compact
from airweave_webhooks.testing.schedule import RETRY_SCHEDULE, read_retry_after, retry_delay
from airweave_webhooks.testing.wire import Wire

BASE62 = string.digits + string.ascii_uppercase + string.ascii_lowercase
USER_AGENT = "Svix-Webhooks/1.100.0"

# Svix signs with the current secret and up to 10 that a rotation replaced.
MOST_SECRETS = 11

# How old a message may be to be recovered, in seconds.
RECOVERABLE = 14 * 24 * 3600.0

# Requests in flight, unless the caller says otherwise.
CONCURRENCY = 32


class Sender:
    """Delivers messages to one endpoint as Svix does.

        async with Sender("http://127.0.0.1:8000/webhooks/airweave", secrets=secret) as sender:
            result = await sender.deliver(sender.message({"event_type": "sync.completed", …}))

    A request that fails, in whatever way, is an `Attempt` and never an exception.

    Args:
        url: the endpoint, absolute.
        secrets: one or several `whsec_…` secrets or `whsk_…` private keys, the newest first; every one signs.
        family: the signature headers: `svix-*`, or `webhook-*` as whitelabelled servers send them.
        timeout: seconds until the answer's headers must be there.
        schedule: seconds to wait after each failed attempt; there is one attempt more than there are waits.
        time_scale: what every wait, but not `timeout`, is multiplied with: 0.001 turns 28 hours into 100 s.
        client: the client to send with; it stays open. By default the sender has its own, and is faster.
        clock: returns seconds since the epoch, for timestamps and ages.
        sleep: waits that many seconds between attempts.
        rng: where ids, jitter and shuffling come from.

    Attributes:
        statistics: what was sent and what came back so far.

    Raises:
        SecretError: a secret cannot be used, or there are none or more than 11.
        ConfigurationError: the URL is not absolute, or a private key without the `ed25519` extra.
    """

    def __init__(
        self,
        url: str,
        *,
        secrets: str | Sequence[str],
        family: Literal["svix", "webhook"] = "svix",
        timeout: float = 15.0,
        schedule: Sequence[float] = RETRY_SCHEDULE,
        time_scale: float = 1.0,
        client: httpx.AsyncClient | None = None,
        clock: Callable[[], float] = time.time,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
        rng: random.Random | None = None,
    ) -> None:
        self._signers = [parse_signer(text) for text in ([secrets] if isinstance(secrets, str) else secrets)]
        if not 1 <= len(self._signers) <= MOST_SECRETS:
            raise SecretError(f"a sender signs with 1 to {MOST_SECRETS} secrets, not {len(self._signers)}")
        self._wire = Wire(url, timeout=timeout, client=client)
        self._family: Literal["svix", "webhook"] = family
        self._schedule = tuple(schedule)
        self._time_scale = time_scale
        self._clock = clock
        self._sleep = sleep
        self._rng = rng or random.Random()  # noqa: S311 - ids and jitter are no secrets
        self._sent: dict[str, Message] = {}
        self._delivered: set[str] = set()
        self.statistics: Statistics = Statistics()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        error_type: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self._wire.aclose()

    def message(self, payload: Mapping[str, Any] | bytes, *, id: str | None = None) -> Message:  # noqa: A002
        """Make a message; nothing is sent yet.

        Args:
            payload: a JSON object, written as compact UTF-8, or the body's bytes, kept as they are.
            id: the message id instead of a new one.
        """
        if not isinstance(payload, bytes):
            payload = compact(payload)
        return Message(id or message_id(self._rng), payload, self._clock())

    def rotate(self, secret: str, *, keep: int = MOST_SECRETS - 1) -> None:
        """Sign with a new secret too, from the next attempt on.

        Args:
            secret: `whsec_…` or `whsk_…`.
            keep: how many of the secrets before it go on signing; the oldest are dropped first.

        Raises:
            SecretError: the secret cannot be used.
            ValueError: `keep` is not 0 to 10.
        """
        if not 0 <= keep < MOST_SECRETS:
            raise ValueError(f"keep takes 0 to {MOST_SECRETS - 1}, not {keep}")
        self._signers = [parse_signer(secret), *self._signers[:keep]]

    async def attempt(
        self,
        message: Message,
        *,
        body: bytes | None = None,
        timestamp: int | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> Attempt:
        """Send a message once, whatever happened before.

        The options make requests that a receiver must refuse.

        Args:
            message: what to send.
            body: bytes to send in place of the body that is signed.
            timestamp: seconds since the epoch to sign and send in place of now.
            headers: added to the request, and replacing what has the same name.
        """
        sent_at = self._clock()
        signed = self._headers(message, int(sent_at) if timestamp is None else timestamp)
        extra = {name.lower(): value for name, value in (headers or {}).items()}
        self.statistics.duplicates += message.id in self._sent
        self._sent[message.id] = message

        answer = await self._wire.post(signed | extra, message.body if body is None else body)
        self.statistics.duplicates += answer.repeated
        self.statistics.connection_breaks += answer.breaks
        attempt = Attempt(
            message.id,
            sent_at,
            answer.seconds,
            status=answer.status,
            outcome=answer.outcome,
            error=answer.error,
            retry_after=read_retry_after(answer.retry_after, self._clock()),
            content_type=answer.content_type,
            location=answer.location,
            reason=answer.reason,
        )
        self.statistics.count(attempt)
        if attempt.succeeded:
            self._delivered.add(message.id)
        return attempt

    async def deliver(self, message: Message) -> Result:
        """Send a message until it succeeds or the schedule is exhausted.

        What was answered with 2xx, to this call or to another one meanwhile, is not sent again.
        """
        return await self._deliver(message, nullcontext())

    async def send_all(
        self,
        messages: Iterable[Message],
        *,
        concurrency: int = CONCURRENCY,
        shuffle: bool = False,
        rng: random.Random | None = None,
    ) -> list[Result]:
        """Deliver many messages at the same time; the results are in the order of `messages`.

        Args:
            messages: what to deliver.
            concurrency: the most requests in flight; a message that waits for its next attempt is not.
            shuffle: send in a random order.
            rng: where that order comes from, in place of the sender's own.
        """
        messages = list(messages)
        order = list(range(len(messages)))
        if shuffle:
            (rng or self._rng).shuffle(order)
        slots = asyncio.Semaphore(concurrency)
        async with asyncio.TaskGroup() as group:
            tasks = {place: group.create_task(self._deliver(messages[place], slots)) for place in order}
        return [tasks[place].result() for place in range(len(messages))]

    async def concurrent(self, message: Message, copies: int) -> list[Attempt]:
        """Send the same message `copies` times at the same time, once each."""
        return await _together(self.attempt(message) for _ in range(copies))

    async def resend(self, message_id: str) -> Attempt:
        """Send a message once more under its id, as a manual resend does.

        Raises:
            LookupError: this sender never sent a message of that id.
        """
        if message_id not in self._sent:
            raise LookupError(f"this sender never sent {message_id!r}")
        return await self.attempt(self._sent[message_id])

    async def recover(self, since: float | None = None, until: float | None = None) -> list[Attempt]:
        """Send everything once more that was sent and never answered with 2xx, at most 14 days old.

        Args:
            since: leave out what was created before, in seconds since the epoch.
            until: leave out what was created after, in seconds since the epoch.
        """
        oldest = self._clock() - RECOVERABLE
        failed = [
            message
            for message in self._sent.values()
            if message.id not in self._delivered
            and message.created >= (oldest if since is None else max(oldest, since))
            and (until is None or message.created <= until)
        ]
        slots = asyncio.Semaphore(CONCURRENCY)

        async def attempt(message: Message) -> Attempt:
            async with slots:
                return await self.attempt(message)

        return await _together(attempt(message) for message in failed)

    async def probe(self) -> int | None:
        """Send the unsigned `HEAD` with which Airweave checks a new subscription's URL.

        Returns:
            The status, any of which satisfies Airweave; None without an HTTP answer in 5 seconds.
        """
        return await self._wire.head()

    async def _deliver(self, message: Message, slot: AbstractAsyncContextManager[None]) -> Result:
        attempts: list[Attempt] = []
        waits = iter(self._schedule)
        while message.id not in self._delivered:
            async with slot:
                attempt = await self.attempt(message)
            attempts.append(attempt)
            if message.id in self._delivered:
                break
            step = next(waits, None)
            if step is None:
                self.statistics.exhausted += 1
                break
            timed_out = attempt.error == "timeout"
            delay = retry_delay(step, self._rng, timed_out=timed_out, retry_after=attempt.retry_after)
            await self._sleep(delay * self._time_scale)
        return Result(message, tuple(attempts), message.id in self._delivered)

    def _headers(self, message: Message, timestamp: int) -> dict[str, str]:
        return {
            "accept": "*/*",
            "content-type": "application/json",
            "user-agent": USER_AGENT,
            **signature_headers(self._signers, message.id, timestamp, message.body, self._family),
        }


def message_id(rng: random.Random) -> str:
    """Make an id as Svix does."""
    return "msg_" + "".join(rng.choices(BASE62, k=27))


async def _together(calls: Iterable[Coroutine[Any, Any, Attempt]]) -> list[Attempt]:
    async with asyncio.TaskGroup() as group:
        tasks = [group.create_task(call) for call in calls]
    return [task.result() for task in tasks]
