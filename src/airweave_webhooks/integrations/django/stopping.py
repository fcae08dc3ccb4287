"""ASGI's lifespan for a Django project, which has none: a server that stops lets running handlers finish."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

from starlette.types import ASGIApp, Receive, Scope, Send

from airweave_webhooks.integrations.django.running import close_all


def with_lifespan(application: Callable[..., Awaitable[Any]]) -> ASGIApp:
    """Wrap what `get_asgi_application()` returns, so that receivers are closed when the server stops.

    uvicorn ends its process by a signal, which leaves nothing the time that a mode gives to handlers; but it waits for
    its application before.

    Args:
        application: answers everything else.
    """

    async def with_receivers(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "lifespan":
            await application(scope, receive, send)
            return
        await receive()
        await send({"type": "lifespan.startup.complete"})
        await receive()
        await asyncio.to_thread(close_all)
        await send({"type": "lifespan.shutdown.complete"})

    return with_receivers
