"""Serving a receiver alone, on an address that was taken before."""

import asyncio
import contextlib
import logging
import signal
import socket
from collections.abc import Callable, Generator
from dataclasses import replace
from typing import Final

import uvicorn
from starlette.types import ASGIApp, Receive, Scope, Send

from airweave_webhooks.cli.stopping import stopping
from airweave_webhooks.modes import Inbox, Mode
from airweave_webhooks.receiver import Receiver

GRACE: Final = 3.0
"""Seconds that requests, and then handlers, get to finish: whoever waits for the end is a developer."""
NO_TENANT: Final = "dev"
"""Whose a request is, on a receiver that serves tenants, if its path does not say."""


class _Server(uvicorn.Server):
    @contextlib.contextmanager
    def capture_signals(self) -> Generator[None, None, None]:
        yield  # we take them ourselves


async def serve(
    receiver: Receiver, listener: socket.socket, opened: Callable[[], None], told: Callable[[signal.Signals], None]
) -> signal.Signals | None:
    """Serve on every path, until SIGTERM or Ctrl-C.

    Args:
        receiver: is opened and closed here.
        listener: is closed at the end.
        opened: is called when the receiver is open.
        told: is told of the signal, before the receiver is closed.

    Returns:
        The signal that ended it.

    Raises:
        ConfigurationError: the receiver cannot be opened.
        StoreUnavailable: likewise.
    """
    app: ASGIApp = _for_tenants(receiver) if receiver.keyring.serves_tenants else receiver
    config = uvicorn.Config(
        app,
        access_log=False,
        interface="asgi3",
        lifespan="off",
        log_config=None,
        timeout_graceful_shutdown=round(GRACE),
        ws="none",
    )
    logging.getLogger("uvicorn").setLevel(logging.WARNING)
    server = _Server(config)
    with stopping(told) as stop:
        async with receiver:
            opened()
            serving = asyncio.create_task(server.serve([listener]))
            asked = asyncio.create_task(stop.asked.wait())
            await asyncio.wait({serving, asked}, return_when=asyncio.FIRST_COMPLETED)
            asked.cancel()
            server.should_exit = True
            await serving
    return stop.by


def as_served(mode: Mode) -> Mode:
    """A receiver's mode where one process is all there is: its worker is here, and the end does not take long."""
    grace = min(mode.shutdown_grace, GRACE)
    if isinstance(mode, Inbox):
        return replace(mode, worker=True, shutdown_grace=grace)
    return replace(mode, shutdown_grace=grace)


def _for_tenants(receiver: Receiver) -> ASGIApp:
    """Take the last part of the path for the tenant, where the application's route would say it."""

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http":
            tenant = scope["path"].rstrip("/").rpartition("/")[2] or NO_TENANT
            scope = {**scope, "path_params": {"tenant": tenant}}
        await receiver(scope, receive, send)

    return app
