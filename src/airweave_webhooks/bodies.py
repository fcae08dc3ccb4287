"""Reading bodies that nobody has verified yet: bounded in length, in time, and in the sum of all that are in flight."""

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Iterable, MutableMapping
from dataclasses import dataclass
from typing import Any, TypeAlias

from airweave_webhooks.deadlines import Deadlines
from airweave_webhooks.errors import BodyTooLarge, BodyTooSlow, MalformedRequest

Receive: TypeAlias = Callable[[], Awaitable[MutableMapping[str, Any]]]


class ClientGone(Exception):
    """The client hung up before its body was complete: there is nobody to answer."""


@dataclass(frozen=True, slots=True)
class BodyLimits:
    """Bounds on what strangers may send.

    Args:
        most_bytes: of one body. The sender's own limit is about 2 MB.
        most_bytes_in_flight: of all bodies in memory; a request beyond it waits for room.
        read_within: seconds from the request's first header to the end of its body.
    """

    most_bytes: int = 4 * 2**20
    most_bytes_in_flight: int = 64 * 2**20
    read_within: float = 5.0

    def __post_init__(self) -> None:
        if not 0 < self.most_bytes <= self.most_bytes_in_flight or not self.read_within > 0:
            raise ValueError("BodyLimits takes positive numbers, with most_bytes no larger than most_bytes_in_flight")


class BodyReader:
    """Reads bodies within limits. Belongs to one event loop.

    Args:
        limits: the bounds.
        loop: the event loop.
    """

    def __init__(self, limits: BodyLimits, loop: asyncio.AbstractEventLoop) -> None:
        self._limits = limits
        self._loop = loop
        self._deadlines: Deadlines[asyncio.Task[Any]] = Deadlines(loop, limits.read_within, _cancel)
        self._in_flight = 0
        self._queue: deque[tuple[int, asyncio.Future[None]]] = deque()

    async def read(self, room: int, receive: Receive, started: float) -> bytes:
        """Wait for room, then read one body. Every `read` is followed by one `release` of the same room.

        Args:
            room: bytes to reserve, from `room_for`.
            receive: ASGI's.
            started: when the request's first header came, by the loop's time.

        Raises:
            BodyTooLarge: it is longer than the limit, or than it said.
            BodyTooSlow: it, or room for it, did not come in time.
            ClientGone: the client hung up.
        """
        task = asyncio.current_task(self._loop)
        assert task is not None, "ASGI applications run in tasks"  # noqa: S101
        self._deadlines.start(task, started)
        length = -1
        try:
            if self._queue or self._in_flight + room > self._limits.most_bytes_in_flight:
                await self._wait_for(room)
            else:
                self._in_flight += room
            try:
                chunks: list[bytes] = []
                length = 0
                more = True
                while more:
                    message = await receive()
                    if message["type"] != "http.request":
                        raise ClientGone
                    chunk: bytes = message.get("body", b"")
                    more = message.get("more_body", False)
                    length += len(chunk)
                    if length > room:
                        raise self._too_large(room)
                    chunks.append(chunk)
                return b"".join(chunks)
            except BaseException:
                self.release(room)
                raise
        except asyncio.CancelledError:
            late = not self._deadlines.stop(task)
            if late and task.uncancel() == 0:
                raise BodyTooSlow(self._too_slow(nothing_came=length == 0)) from None
            raise
        finally:
            self._deadlines.stop(task)

    def room_for(self, headers: Iterable[tuple[bytes, bytes]]) -> int:
        """The bytes to reserve: what Content-Length says, and the most that is allowed where it says nothing.

        Raises:
            BodyTooLarge: it says too much.
            MalformedRequest: it says nothing that is a number.
        """
        length = _declared_length(headers)
        if length is None:
            return self._limits.most_bytes
        if length > self._limits.most_bytes:
            raise BodyTooLarge(f"the body has {length} bytes, {self._limits.most_bytes} are allowed")
        return length

    def _too_large(self, room: int) -> BodyTooLarge:
        if room == self._limits.most_bytes:
            return BodyTooLarge(f"the body has more than {room} bytes")
        return BodyTooLarge(
            f"the body has more than the {room} bytes that its Content-Length says: a middleware or proxy re-encoded"
            " it; mount the receiver before it, where the body is untouched"
        )

    def _too_slow(self, *, nothing_came: bool) -> str:
        if nothing_came:
            return (
                f"nothing of the body came within {self._limits.read_within:g} s: the sender stalls, or a middleware"
                " has consumed it; mount the receiver before it, where the body is untouched"
            )
        return f"the body was not complete within {self._limits.read_within:g} s"

    async def _wait_for(self, room: int) -> None:
        turn: asyncio.Future[None] = self._loop.create_future()
        self._queue.append((room, turn))
        try:
            await turn
        except asyncio.CancelledError:
            # Whoever waits no longer had no room, and may have kept a smaller one waiting behind it.
            self.release(0 if turn.cancelled() else room)
            raise

    def release(self, room: int) -> None:
        """Make room for whoever waits, in the order in which they came."""
        self._in_flight -= room
        while self._queue:
            waiting, turn = self._queue[0]
            if not turn.cancelled():  # it can be, and its task not know it yet
                if self._in_flight + waiting > self._limits.most_bytes_in_flight:
                    break
                self._in_flight += waiting
                turn.set_result(None)
            self._queue.popleft()


def _declared_length(headers: Iterable[tuple[bytes, bytes]]) -> int | None:
    """The value of Content-Length, None where there is none (a chunked body)."""
    for name, value in headers:
        if name == b"content-length":
            if not value.isdigit() or len(value) > 18:
                raise MalformedRequest("the Content-Length is not a number")
            return int(value)
    return None


def _cancel(task: asyncio.Task[Any]) -> None:
    task.cancel()
