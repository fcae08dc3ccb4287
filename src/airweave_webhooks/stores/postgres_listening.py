"""Hearing from a PostgreSQL server, for as long as somebody cares, and again after it was away."""

import asyncio
import contextlib
from collections.abc import AsyncGenerator, Callable
from typing import Any, Final

import psycopg

from airweave_webhooks.stores.postgres_target import Target, cut
from airweave_webhooks.telemetry import logger

ASK_AFTER: Final = 30.0
"""Seconds of silence, after which the server is asked whether it is there."""
PAUSES: Final = (0.1, 0.5, 2.0, 10.0)
"""Seconds between attempts to connect again; the last one for ever."""


@contextlib.asynccontextmanager
async def hearing(target: Target, patience: float, channel: str, wake: Callable[[], None]) -> AsyncGenerator[None]:
    """For a block, call `wake` for notifications on a channel, and whenever some may have been missed.

    It begins when the server was asked, whatever it said. It never raises because of the server.

    Args:
        target: where the server is.
        patience: seconds that it may take to answer.
        channel: its name, which needs no escapes.
        wake: what to call, in the event loop.
    """
    listener = _Listener(target, patience, channel, wake)
    task = asyncio.create_task(listener.listen())
    try:
        await listener.asked.wait()
        yield
    finally:
        listener.stop(task)
        await asyncio.wait([task])


class _Listener:
    def __init__(self, target: Target, patience: float, channel: str, wake: Callable[[], None]) -> None:
        self.asked = asyncio.Event()
        self._target = target
        self._patience = patience
        self._channel = channel
        self._wake = wake
        self._lost = False
        self._pauses = iter(PAUSES)
        self._connection: psycopg.AsyncConnection[Any] | None = None
        self._stopped = asyncio.Event()

    def stop(self, task: "asyncio.Task[None]") -> None:
        """End `listen`, which runs as `task`."""
        self._stopped.set()
        if self._connection is None:
            task.cancel()
        else:  # the driver would ask a server that may be frozen to cancel what it does, and wait for that
            cut(self._connection)

    async def listen(self) -> None:
        while not self._stopped.is_set():
            try:
                await self._listen()
            except (psycopg.Error, OSError, TimeoutError) as error:
                if self._stopped.is_set():
                    return
                if not self._lost:
                    self._lost = True
                    logger.warning(
                        "%s no longer tells of new work (%s): workers find it when they ask",
                        self._target.shown,
                        self._target.translated(error),
                    )
            finally:
                self.asked.set()
            await asyncio.sleep(next(self._pauses, PAUSES[-1]))

    async def _listen(self) -> None:
        async with asyncio.timeout(self._patience):
            connection = self._connection = await self._target.connect()
        try:
            await self._ask(connection, f'LISTEN "{self._channel}"'.encode())
            if self._lost:
                self._lost = False
                self._wake()  # to what came meanwhile
                logger.info("%s tells of new work again", self._target.shown)
            self._pauses = iter(PAUSES)
            self.asked.set()
            while True:
                async for _ in connection.notifies(timeout=ASK_AFTER):
                    self._wake()
                await self._ask(connection, b"SELECT 1")
        finally:
            self._connection = None
            await connection.close()

    async def _ask(self, connection: "psycopg.AsyncConnection[Any]", question: bytes) -> None:
        silence = asyncio.get_running_loop().call_later(self._patience, cut, connection)
        try:
            await connection.execute(question)
        finally:
            silence.cancel()
