"""Ending tasks: time to finish for those that can, and a moment to clean up for the rest."""

import asyncio
from collections.abc import Iterable
from typing import Any, Final

from airweave_webhooks.telemetry import logger

CLEAN_UP: Final = 2.0
"""Seconds that cancelled tasks get."""


async def end(tasks: Iterable["asyncio.Task[Any]"], grace: float, warning: str, *facts: object) -> None:
    """Wait until tasks have ended; cancel those that take longer.

    Args:
        tasks: what to end.
        grace: seconds for them to end by themselves.
        warning: for the log if some do not, with place-holders for `facts`, their number and `grace`.
        facts: see `warning`.
    """
    waiting = list(tasks)
    if not waiting:
        return
    _, left = await asyncio.wait(waiting, timeout=grace)
    if left:
        logger.warning(warning, *facts, len(left), grace)
        for task in left:
            task.cancel()
        await asyncio.wait(left, timeout=CLEAN_UP)
