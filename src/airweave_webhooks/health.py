"""Whether a receiver's deliveries are worked on: for load balancers, alerts, and people."""

from dataclasses import asdict, dataclass
from typing import Any, Final

from airweave_webhooks.errors import ConfigurationError, Unavailable
from airweave_webhooks.modes import Inbox, Mode
from airweave_webhooks.stores import Store
from airweave_webhooks.stores.base import Key
from airweave_webhooks.stores.inbox import Backlog, InboxStore

WORKER_GONE_AFTER: Final = 30.0
"""Seconds after which a worker that says nothing is gone; one that works says so every 5 s."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Health:
    """The state of one receiver's inbox.

    Attributes:
        healthy: nothing is wrong.
        problems: what is wrong, each with its remedy.
        pending: deliveries that wait, now or until they are due.
        oldest_pending: seconds for which the next one that could be worked on has been due.
        dead: deliveries that were given up, and wait for somebody to replay them.
        leases_lost: leases that were lost, by crashes or by standing still, by all deliveries since their last replay.
        worker_seen: seconds since a worker last said that it works; None if none ever did.
        disk: bytes that the store takes.
    """

    healthy: bool
    problems: tuple[str, ...]
    pending: int = 0
    oldest_pending: float = 0.0
    dead: int = 0
    leases_lost: int = 0
    worker_seen: float | None = None
    disk: int = 0

    def as_json(self) -> dict[str, Any]:
        """As JSON has it."""
        return {**asdict(self), "problems": list(self.problems)}


async def health_of(store: Store, name: str, mode: Mode) -> Health:
    """Ask an open store how a receiver is."""
    try:
        if not isinstance(store, InboxStore):
            await store.get([Key(name, "", "health")])
            return Health(healthy=True, problems=())
        backlog = await store.backlog(name)
    except (Unavailable, ConfigurationError) as error:
        return Health(healthy=False, problems=(f"the store cannot be used: {error}",))
    problems = tuple(_problems(backlog, mode)) if isinstance(mode, Inbox) else ()
    return Health(
        healthy=not problems,
        problems=problems,
        pending=backlog.pending,
        oldest_pending=round(backlog.oldest, 3),
        dead=backlog.dead,
        leases_lost=backlog.leases_lost,
        worker_seen=None if backlog.worker_seen is None else round(backlog.worker_seen, 3),
        disk=backlog.disk,
    )


def _problems(backlog: Backlog, mode: Inbox) -> list[str]:
    problems: list[str] = []
    if backlog.oldest > mode.unhealthy_after:
        gone = backlog.worker_seen is None or backlog.worker_seen > WORKER_GONE_AFTER
        cause = (
            "no worker runs: start `airweave-webhooks worker`, or use Inbox(worker=True)"
            if gone
            else "the workers do not keep up: give them more concurrency=…, or start another one"
        )
        problems.append(f"a delivery has been due for {backlog.oldest:.0f} s; {cause}")
    if backlog.pending >= mode.most_pending:
        problems.append(f"{backlog.pending} deliveries are pending, so new ones are refused with 503")
    if backlog.disk >= mode.most_disk:
        problems.append(f"the store takes {backlog.disk} bytes, so new deliveries are refused with 503")
    return problems
