"""What a PostgreSQL store does for workers and operators."""

import json
from collections.abc import Callable, Sequence
from contextlib import AbstractAsyncContextManager
from typing import TYPE_CHECKING

from airweave_webhooks.stores import postgres_rows as rows
from airweave_webhooks.stores.base import Key, Record
from airweave_webhooks.stores.history import tail
from airweave_webhooks.stores.inbox import Backlog, Cursor, Search, Take, Taken, Tally
from airweave_webhooks.stores.postgres_inbox_schema import InboxStatements
from airweave_webhooks.stores.text import as_text

if TYPE_CHECKING:
    from airweave_webhooks.stores.postgres_connections import Connections


class PostgresInbox:
    """The verbs of an `InboxStore` that are not those of every `Store`."""

    _inbox_sql: InboxStatements

    @property
    def _connections(self) -> "Connections":
        raise NotImplementedError

    async def take(self, take: Take) -> list[Taken]:
        """Lease what is due. Takes of one receiver go one after the other, whoever asks."""
        values = {
            "receiver": as_text(take.receiver),
            "most": 1 if take.suspects else take.most,
            "token": take.token,
            "lease": float(take.lease),
            "owner": as_text(take.owner),
            "without": [as_text(event_type) for event_type in take.without],
            "only": [as_text(event_type) for event_type in take.only],
        }
        statement = self._inbox_sql.take_suspect if take.suspects else self._inbox_sql.take
        lock = self._inbox_sql.lock_for_take(take.receiver)
        found = await self._connections.fetch(statement, values, first=lock)
        return [Taken(rows.to_record(columns), stale) for stale, *columns in found]

    def listening(self, receiver: str, wake: Callable[[], None]) -> AbstractAsyncContextManager[None]:
        """For a block, call `wake` in the event loop when anybody, also this process, puts in work.

        On a connection of its own; while it is lost, and behind a proxy that pools transactions, nothing is heard.
        """
        return self._connections.hearing(self._inbox_sql.channel_of(receiver), wake)

    async def beat(self, receiver: str, owner: str) -> None:
        """Note that a worker works; forget those that have not done so for a day."""
        values = {"receiver": as_text(receiver), "owner": as_text(owner)}
        await self._connections.fetch(self._inbox_sql.beat, values)

    async def backlog(self, receiver: str) -> Backlog:
        """Say how far the workers are behind."""
        anything: dict[str, object] = {"most": 1, "token": b"", "without": [], "only": []}
        values = {"receiver": as_text(receiver), "tables": self._inbox_sql.tables, **anything}
        ((pending, oldest, suspects, dead, leases_lost, worker_seen, disk),) = await self._connections.fetch(
            self._inbox_sql.backlog, values
        )
        return Backlog(pending, oldest, suspects, dead, leases_lost, worker_seen, disk)

    async def forget_bodies(self, *, done_for: float, most: int) -> int:
        """Drop old bodies. What somebody else works on is left alone."""
        values = {"done_for": float(done_for), "most": most}
        return len(await self._connections.fetch(self._inbox_sql.forget_bodies, values))

    async def search(self, search: Search, *, after: Cursor | None = None, most: int) -> list[Record]:
        """Find deliveries, the latest first."""
        found = await self._connections.fetch(*self._inbox_sql.search(search, after, most))
        return [rows.to_record(columns) for columns in found]

    async def count(self, search: Search) -> int:
        """Say how many deliveries a search finds."""
        ((number,),) = await self._connections.fetch(*self._inbox_sql.count(search))
        return int(number)

    async def replay(self, keys: Sequence[Key], *, who: str, why: str) -> list[bool]:
        """Make each due again that is finished and has a body, in one statement that is synced to the disk."""
        values = [*rows.key_columns(keys), json.dumps(as_text(who), ensure_ascii=False), tail("replayed", why)]
        replayed = {number for (number,) in await self._connections.fetch(self._inbox_sql.replay, values)}
        return [number in replayed for number in range(1, len(keys) + 1)]

    async def tally(self, receiver: str) -> list[Tally]:
        """Count deliveries by what became of them."""
        found = await self._connections.fetch(self._inbox_sql.tally, {"receiver": as_text(receiver)})
        return [Tally(*columns) for columns in found]
