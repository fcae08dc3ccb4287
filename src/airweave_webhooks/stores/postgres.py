"""`postgresql://…`: durable, shared by every process of every machine that reaches the server."""

import asyncio
import contextlib
import os
import threading
import weakref
from collections.abc import AsyncGenerator, Sequence
from typing import TYPE_CHECKING, Any, Final

from airweave_webhooks.errors import ConfigurationError, StoreBusy, StoreUnavailable
from airweave_webhooks.stores import postgres_rows as rows
from airweave_webhooks.stores import postgres_schema as sql
from airweave_webhooks.stores.base import Claim, Claimed, Key, Lease, Record, Settle
from airweave_webhooks.stores.postgres_inbox import PostgresInbox
from airweave_webhooks.stores.postgres_inbox_schema import InboxStatements

if TYPE_CHECKING:
    from psycopg_pool import AsyncConnectionPool

    from airweave_webhooks.stores.postgres_connections import Connections, Fetch

# A claim that lost, and then could not be told to whom, is made again.
CLAIM_ROUNDS: Final = 4
MIGRATE_WITHIN: Final = 600.0
"""Seconds."""

# Each by its `id`: stores on one schema are equal.
_stores: Final["weakref.WeakValueDictionary[int, PostgresStore]"] = weakref.WeakValueDictionary()


class PostgresStore(PostgresInbox):
    """Keeps records in a PostgreSQL database; its clock is the only one. Workers can take them from it.

    Each event loop has connections of its own, up to four, and one more renews leases. They keep nothing in a session,
    so a proxy that pools transactions may stand between. A worker has one more, to hear of work at once; such a proxy
    makes it deaf, and then the worker only finds what it asks for.

    Args:
        target: `postgresql://user:password@host/database`, or a `psycopg_pool.AsyncConnectionPool` of yours, which you
            open before and close after the store, in the one event loop that uses it.
        schema: the schema of the tables.
        migrate: whether `open` brings the tables up to date; if not, it refuses old ones.
        patience: seconds that a call may take before `StoreUnavailable`.

    Raises:
        ConfigurationError: the driver is not installed, or the URL is none.
    """

    round_trip = True
    durable = True

    def __init__(
        self,
        target: "str | AsyncConnectionPool[Any]",
        *,
        schema: str = "airweave_webhooks",
        migrate: bool = True,
        patience: float = 5.0,
    ) -> None:
        try:
            # The only modules that know the driver, which is an extra's.
            from airweave_webhooks.stores import postgres_connections, postgres_target  # noqa: PLC0415
        except ImportError as error:
            raise ConfigurationError(
                f"the PostgreSQL driver is missing ({error}):"
                " pip install 'airweave-webhooks[postgres]' 'psycopg[binary]'"
            ) from error
        self.schema: str = schema
        self._migrate = migrate
        self._patience = patience
        self._sql = sql.Statements(schema)
        self._inbox_sql = InboxStatements(self._sql)
        self._driver = postgres_connections
        self._target = postgres_target.Target(target)
        self._start_anew()
        _stores[id(self)] = self

    def _start_anew(self) -> None:
        self._loops: dict[asyncio.AbstractEventLoop, Connections] = {}
        # Opening and closing can come from the event loops of several threads.
        self._opening = threading.Lock()
        self._renewing = self._driver.RenewingConnection(self._target, self._patience)

    def __repr__(self) -> str:
        return f"PostgresStore({self._target.shown!r}, schema={self.schema!r})"

    def __eq__(self, other: object) -> bool:
        """Two stores on one schema are the same store."""
        return isinstance(other, PostgresStore) and self._identity == other._identity

    def __hash__(self) -> int:
        return hash(self._identity)

    @property
    def _identity(self) -> tuple[str, ...]:
        return (*self._target.place, self.schema)

    async def open(self) -> None:
        """Connect, and bring the tables up to date.

        Raises:
            ConfigurationError: the server cannot be used as it is; the message says what to do.
            StoreUnavailable: it cannot be reached.
        """
        async with self._connected() as connections:
            await self._check(connections)
            connections.opened += 1  # kept, by what `_connected` does at its end

    async def close(self) -> None:
        """Finish what is under way in this event loop and disconnect."""
        connections = self._loops.get(asyncio.get_running_loop())
        if connections is not None:
            connections.opened -= 1
            await self._disconnect(connections)

    async def migrate(self) -> None:
        """Bring the tables up to date, also where `open` may not. Needs the right to create them.

        Raises:
            ConfigurationError: the message says what to do.
            StoreUnavailable: the server cannot be reached.
        """
        async with self._connected() as connections:
            await self._bring_up_to_date(connections)

    async def migrates_on_opening(self) -> bool:
        """Say whether `open` would make or change tables now. Changes nothing.

        Raises:
            ConfigurationError, StoreUnavailable: as `open` does.
        """
        async with self._connected() as connections:
            return self._migrate and await self._version(connections.fetch) != sql.NEWEST

    @contextlib.asynccontextmanager
    async def _connected(self) -> AsyncGenerator["Connections"]:
        loop = asyncio.get_running_loop()
        with self._opening:
            for ended in [other for other in self._loops if other.is_closed()]:
                self._loops.pop(ended).abandon()
            if self._target.pool is not None and self._loops.keys() - {loop}:
                raise ConfigurationError(
                    "a connection pool belongs to one event loop: give the store a URL, and each loop gets its own"
                )
            connections = self._loops.setdefault(loop, self._driver.Connections(self._target, self._patience))
        connections.opened += 1
        try:
            yield connections
        finally:
            connections.opened -= 1
            await self._disconnect(connections)

    async def _disconnect(self, connections: "Connections") -> None:
        if connections.opened:
            return
        with self._opening:
            self._loops.pop(asyncio.get_running_loop(), None)
            last = not self._loops
        await connections.close()
        if last:
            await asyncio.to_thread(self._renewing.close)

    async def _check(self, connections: "Connections") -> None:
        version = await self._version(connections.fetch)
        if version == sql.NEWEST:
            return
        if not self._migrate:
            raise ConfigurationError(
                f"schema {self.schema!r} of {self._target.shown} has version {version or 0} of the tables, and this"
                f" release needs {sql.NEWEST}: run `await store.migrate()`, or the SQL files in {sql.MIGRATIONS}"
            )
        await self._bring_up_to_date(connections)

    async def _bring_up_to_date(self, connections: "Connections") -> None:
        async with connections.transaction(MIGRATE_WITHIN) as fetch:
            for statement in sql.LOCK:
                await fetch(statement, ())
            # Who waited for the lock may find the work done.
            version = await self._version(fetch)
            if version is None:
                await fetch(self._sql.create_schema, ())
            await fetch(self._sql.enter_schema, ())
            for script in sql.migrations_from(version or 0):
                await fetch(script, ())

    async def _version(self, fetch: "Fetch") -> int | None:
        """Read the version of the tables: 0 if there are none, None without a schema. Refuse what cannot be used."""
        ((read_only, role, exists, versioned, named),) = await fetch(sql.STATE, [self.schema])
        if read_only:
            raise ConfigurationError(
                f"{self._target.shown} is read-only: connect to the primary server, and without"
                " default_transaction_read_only"
            )
        if not versioned:
            if named:
                raise ConfigurationError(
                    f"schema {self.schema!r} of {self._target.shown} has a table `deliveries` that is not ours: give"
                    " the store a schema of its own"
                )
            return 0 if exists else None
        ((version, allowed),) = await fetch(self._sql.version, [[self._sql.deliveries, self._sql.workers]])
        if version > sql.NEWEST:
            raise ConfigurationError(
                f"schema {self.schema!r} of {self._target.shown} was made by a newer version of airweave-webhooks"
                f" (version {version}, this one knows {sql.NEWEST}): upgrade the package, or use another schema"
            )
        if not allowed:
            raise ConfigurationError(
                f"role {role!r} may not work on the tables: GRANT SELECT, INSERT, UPDATE, DELETE ON"
                f" {self._sql.deliveries}, {self._sql.workers} TO it"
            )
        return int(version)

    async def claim(self, claims: Sequence[Claim]) -> list[Claimed]:
        """Claim each, in one statement; only those that are not granted need a second one."""
        fetch = self._fetch
        answers: dict[bytes, Claimed] = {}
        left = claims
        for _ in range(CLAIM_ROUNDS):
            for token, *grant in await fetch(self._statement_for(left), rows.claim_columns(left)):
                answers[token] = rows.granted(*grant)
            left = [claim for claim in left if claim.token not in answers]
            if left:
                await self._ask_why(left, answers)
                left = [claim for claim in left if claim.token not in answers]
            if not left:
                return [answers[claim.token] for claim in claims]
        raise StoreBusy(f"{self._target.shown}: {len(left)} records change too fast to be claimed")

    def _statement_for(self, claims: Sequence[Claim]) -> bytes:
        states = {claim.into for claim in claims}
        if "pending" in states:
            return self._sql.claim_telling
        # A lease need not survive the server, but "there is nothing to do" is answered with 200.
        return self._sql.claim if states <= {"leased"} else self._sql.claim_synced

    async def _ask_why(self, lost: Sequence[Claim], answers: dict[bytes, Claimed]) -> None:
        """Find the answers to claims that were not granted. None for what could be granted by now."""
        for token, verdict, fence, attempts, generation, results, wait in await self._fetch(
            self._sql.lost, rows.claim_columns(lost)[: rows.LOST_COLUMNS]
        ):
            if verdict == "claimed":
                answers[token] = rows.granted(fence, attempts, generation, results)
            elif verdict is not None:
                answers[token] = Claimed(verdict, retry_after=wait if wait and verdict in {"held", "accepted"} else 0.0)

    async def settle(self, settles: Sequence[Settle]) -> list[bool]:
        """Settle each whose lease is current, in one statement that is synced to the disk."""
        settled = await self._numbers(self._sql.settle, rows.settle_columns(settles))
        missed = [number for number in range(len(settles)) if number not in settled]
        if missed:
            leases = [settles[number].lease for number in missed]
            before = await self._numbers(self._sql.settled_before, rows.lease_columns(leases))
            settled |= {missed[number] for number in before}
        return [number in settled for number in range(len(settles))]

    def renew(self, leases: Sequence[Lease], seconds: float) -> list[bool]:
        """Renew each that is current, on a connection that the event loops do not use."""
        if not self._loops:
            raise StoreUnavailable(f"{self!r} is not open in this process")
        found = self._renewing.fetch(self._sql.renew, [*rows.lease_columns(leases), float(seconds)])
        renewed = {number for (number,) in found}
        return [number in renewed for number in range(1, len(leases) + 1)]

    async def get(self, keys: Sequence[Key]) -> list[Record | None]:
        """Read records."""
        found = await self._fetch(self._sql.get, rows.key_columns(keys))
        records = {number: rows.to_record(columns) for number, *columns in found}
        return [records.get(number) for number in range(1, len(keys) + 1)]

    async def purge(self, *, done_for: float, abandoned_for: float, most: int) -> int:
        """Remove what is finished, give up what is abandoned. What somebody else works on is left alone."""
        gone = len(await self._fetch(self._sql.purge, [float(done_for), most, float(done_for), most, most]))
        return gone + len(await self._fetch(self._sql.abandon, [float(abandoned_for), most - gone]))

    async def _numbers(self, statement: bytes, columns: Sequence[object]) -> set[int]:
        """Places in the batch, from 0; PostgreSQL counts from 1."""
        return {number - 1 for (number,) in await self._fetch(statement, columns)}

    @property
    def _connections(self) -> "Connections":
        connections = self._loops.get(asyncio.get_running_loop())
        if connections is None or not connections.opened:
            raise StoreUnavailable(f"{self!r} is not open in this event loop")
        return connections

    @property
    def _fetch(self) -> "Fetch":
        return self._connections.fetch

    def start_anew_after_fork(self) -> None:
        """Be closed, in the child."""
        self._start_anew()


def _after_fork_in_child() -> None:
    for store in list(_stores.values()):
        store.start_anew_after_fork()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork_in_child)
