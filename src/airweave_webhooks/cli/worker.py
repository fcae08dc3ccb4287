"""`airweave-webhooks worker`: run the handlers of what was put into the store."""

import asyncio
import os
import signal
from typing import Annotated

import typer

from airweave_webhooks.cli.exits import endings
from airweave_webhooks.cli.logs import configure
from airweave_webhooks.cli.options import AppDir, AsJson, Target, receiver_of
from airweave_webhooks.cli.stopping import stopping
from airweave_webhooks.modes import inbox_like
from airweave_webhooks.receiver import Receiver
from airweave_webhooks.telemetry import logger


def worker(
    target: Target = None,
    concurrency: Annotated[
        int | None,
        typer.Option(min=1, metavar="N", help="Deliveries at once; if not as the receiver's mode says."),
    ] = None,
    app_dir: AppDir = None,
    as_json: AsJson = False,
) -> None:
    """Run the handlers of pending deliveries until SIGTERM or Ctrl-C.

    What runs then gets the receiver's grace period; a second signal ends at once.
    """
    configure(as_json=as_json)
    with endings():
        asyncio.run(_work(receiver_of(target, app_dir), concurrency))


async def _work(receiver: Receiver, concurrency: int | None) -> None:
    handlers = [handler.id for handler in receiver.table.handlers]
    logger.info(
        "worker %d starts: receiver %r, store %r, concurrency %d, handlers: %s",
        os.getpid(),
        receiver.name,
        receiver.store,
        inbox_like(receiver.mode, concurrency).concurrency,
        ", ".join(handlers) or "none",
    )
    with stopping(_say) as stop:
        await receiver.work(concurrency=concurrency, stop=stop.asked)
    logger.info("worker %d has stopped", os.getpid())


def _say(by: signal.Signals) -> None:
    logger.info("%s: finishing what runs; once more ends at once", by.name)
