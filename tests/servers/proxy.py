"""A TCP proxy between a store and its server that cuts connections at the worst moments."""

import asyncio
import contextlib
import random
from collections.abc import AsyncGenerator
from dataclasses import dataclass, field
from typing import Literal

Moment = Literal["before", "during"]


@dataclass
class Proxy:
    """Relays connections to a server on the loopback.

    `before` loses a request on its way, so that nothing is done; `during` loses the answer to it, so that nobody knows
    what was done.
    """

    server_port: int
    port: int = 0
    cuts: int = 0
    """Connections that were cut."""
    connections: int = 0
    """Connections that are open now."""
    most_connections: int = 0
    chance: float = 0.0
    """Of each request, that its connection is cut."""
    moments: tuple[Moment, ...] = ("before", "during")
    _writers: set[asyncio.StreamWriter] = field(default_factory=set[asyncio.StreamWriter])

    def cut_all(self) -> None:
        """Cut every connection now."""
        for writer in list(self._writers):
            writer.transport.abort()

    async def relay(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Serve one connection until either side ends it."""
        try:
            to_server = await asyncio.open_connection("127.0.0.1", self.server_port)
        except OSError:
            writer.transport.abort()
            return
        self._writers |= {writer, to_server[1]}
        self.connections += 1
        self.most_connections = max(self.most_connections, self.connections)
        doomed = asyncio.Event()
        try:
            async with asyncio.TaskGroup() as group:
                group.create_task(self._forward(reader, to_server[1], doomed))
                group.create_task(self._answer(to_server[0], writer, doomed))
        except* (OSError, _CutError):
            pass
        finally:
            self.connections -= 1
            for end in (writer, to_server[1]):
                self._writers.discard(end)
                end.transport.abort()

    async def _forward(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, doomed: asyncio.Event) -> None:
        while data := await reader.read(65536):
            if random.random() < self.chance:
                self.cuts += 1
                if random.choice(self.moments) == "before":
                    raise _CutError
                doomed.set()
            writer.write(data)
            await writer.drain()
        raise _CutError

    async def _answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, doomed: asyncio.Event) -> None:
        while data := await reader.read(65536):
            if doomed.is_set():
                raise _CutError
            writer.write(data)
            await writer.drain()
        raise _CutError


class _CutError(Exception):
    pass


@contextlib.asynccontextmanager
async def proxied(server_port: int) -> AsyncGenerator[Proxy]:
    """A proxy for the server on a port of the loopback."""
    proxy = Proxy(server_port)
    listener = await asyncio.start_server(proxy.relay, "127.0.0.1", 0)
    proxy.port = listener.sockets[0].getsockname()[1]
    try:
        yield proxy
    finally:
        listener.close()
        proxy.cut_all()
        async with asyncio.timeout(10):
            await listener.wait_closed()
