"""A real uvicorn on a real socket, in the test's own event loop."""

import asyncio
import contextlib
import socket
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any

import httpx
import uvicorn


@dataclass
class Served:
    """An application that answers at `url`."""

    url: str
    port: int
    client: httpx.AsyncClient

    async def raw(self, request: bytes, *, timeout: float = 10) -> bytes:
        """Send bytes as they are, and read until the server closes the connection."""
        reader, writer = await asyncio.open_connection("127.0.0.1", self.port)
        writer.write(request)
        await writer.drain()
        try:
            return await asyncio.wait_for(reader.read(), timeout)
        finally:
            writer.close()


@contextlib.asynccontextmanager
async def serving(app: Any, **settings: Any) -> AsyncIterator[Served]:
    """Serve `app` until the block ends, then shut down gracefully."""
    listener = socket.create_server(("127.0.0.1", 0))
    config = uvicorn.Config(app, log_level="error", access_log=False, timeout_graceful_shutdown=3, **settings)
    server = uvicorn.Server(config)
    task = asyncio.create_task(server._serve([listener]))
    try:
        for _ in range(1000):
            if server.started or task.done():
                break
            await asyncio.sleep(0.005)
        assert server.started, "the application did not start"
        port = listener.getsockname()[1]
        url = f"http://127.0.0.1:{port}"
        async with httpx.AsyncClient(base_url=url, trust_env=False, verify=False, timeout=20) as client:
            yield Served(url, port, client)
    finally:
        server.should_exit = True
        await task
        listener.close()
