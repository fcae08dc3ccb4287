"""`airweave-webhooks health`: whether a receiver's deliveries are worked on."""

import asyncio
from typing import TYPE_CHECKING

import typer

from airweave_webhooks.cli.exits import FAILED, endings
from airweave_webhooks.cli.options import AppDir, AsJson, Target, receiver_of
from airweave_webhooks.errors import Unavailable

if TYPE_CHECKING:
    from airweave_webhooks.health import Health
    from airweave_webhooks.receiver import Receiver


def health(target: Target = None, app_dir: AppDir = None, as_json: AsJson = False) -> None:
    """Say whether deliveries are worked on.

    Ends with 0 if all is well, with 1 if not, and with 5 if the store cannot be reached.
    """
    from airweave_webhooks.cli import objects, tables
    from airweave_webhooks.cli.words import redacted

    with endings():
        receiver = receiver_of(target, app_dir)
        try:
            found = asyncio.run(_ask(receiver))
        except Unavailable as error:
            if as_json:
                objects.write({"receiver": receiver.name, "healthy": False, "problems": [redacted(str(error))]})
            raise
    if as_json:
        problems = [redacted(problem) for problem in found.problems]
        objects.write({"receiver": receiver.name, **found.as_json(), "problems": problems})
    else:
        tables.console().print(tables.grid(_lines(receiver, found)))
    if not found.healthy:
        raise typer.Exit(FAILED)


async def _ask(receiver: "Receiver") -> "Health":
    from airweave_webhooks.stores.base import Key

    await receiver.store.open()
    try:
        # health() tells of a store that is away; who asks here is told by another exit code.
        await receiver.store.get([Key(receiver.name, "", "health")])
        return await receiver.health()
    finally:
        await receiver.store.close()


def _lines(receiver: "Receiver", found: "Health") -> list[tuple[str, str]]:
    from airweave_webhooks.cli.words import age, size
    from airweave_webhooks.stores.inbox import InboxStore

    lines = [
        ("receiver", receiver.name),
        ("healthy", "yes" if found.healthy else "NO"),
        *(("problem", problem) for problem in found.problems),
        ("mode", type(receiver.mode).__name__.lower()),
        ("store", repr(receiver.store)),
    ]
    if isinstance(receiver.store, InboxStore):
        seen = "never seen" if found.worker_seen is None else f"seen {age(found.worker_seen)} ago"
        lines += [
            ("disk", size(found.disk)),
            ("pending", f"{found.pending:,}"),
            ("oldest", f"due for {age(found.oldest_pending)}" if found.oldest_pending else "nothing is due"),
            ("dead", f"{found.dead:,}"),
            ("leases lost", f"{found.leases_lost:,}"),
            ("worker", seen),
        ]
    return lines
