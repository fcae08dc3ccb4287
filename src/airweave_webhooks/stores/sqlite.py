"""`sqlite:///path`, the embedded default: durable, shared by the processes of one machine."""

import asyncio
import os
import sqlite3
import time
from collections.abc import Callable, Sequence
from contextlib import AbstractAsyncContextManager, nullcontext
from pathlib import Path
from typing import Final

from airweave_webhooks.errors import ConfigurationError
from airweave_webhooks.stores import sqlite_inbox as inbox
from airweave_webhooks.stores import sqlite_schema as sql
from airweave_webhooks.stores import transitions
from airweave_webhooks.stores.base import Claim, Claimed, Key, Lease, Record, Settle
from airweave_webhooks.stores.history import tail
from airweave_webhooks.stores.inbox import Backlog, Cursor, Search, Take, Taken, Tally
from airweave_webhooks.stores.sqlite_file import SQLiteFile
from airweave_webhooks.stores.text import as_text, texts_as_json

# The answer to a claim for a delivery that nobody has seen.
_NEW: Final = Claimed("claimed", fence=1)


class SQLiteStore:
    """Keeps records in one SQLite file in WAL mode. Several processes may share the file, several machines may not.

    One thread writes; what concurrent callers want is gathered into one transaction. A commit that backs an answer
    to the sender is synced to the disk (`synchronous=FULL`), a lease need only survive the process (`NORMAL`).

    Args:
        path: the file; it is created, its directory is not.
        patience: seconds to wait for other processes' locks before `StoreUnavailable`.
        clock: seconds since the epoch. All processes on a machine share it.
    """

    round_trip = True
    durable = True

    def __init__(
        self, path: str | os.PathLike[str], *, patience: float = 5.0, clock: Callable[[], float] = time.time
    ) -> None:
        self.path: str = os.fspath(path)
        if self.path in {"", ":memory:"}:
            raise ConfigurationError("the SQLite store needs a file: SQLiteStore('airweave.db')")
        self._file = SQLiteFile(self.path, patience)
        self._clock = clock

    def __repr__(self) -> str:
        return f"SQLiteStore({self.path!r})"

    def __eq__(self, other: object) -> bool:
        """Two stores on one file are the same store."""
        return isinstance(other, SQLiteStore) and Path(self.path).absolute() == Path(other.path).absolute()

    def __hash__(self) -> int:
        return hash(Path(self.path).absolute())

    async def open(self) -> None:
        """Open the file, creating it and its tables when they are missing.

        Raises:
            ConfigurationError: the file cannot be used; the message says what to do.
        """
        await self._file.open()

    async def migrates_on_opening(self) -> bool:
        """Say whether `open` would make the file, or make or change tables. Changes nothing."""
        return await asyncio.to_thread(sql.is_outdated, self.path)

    async def close(self) -> None:
        """Finish what is under way and close the file."""
        await self._file.close()

    async def claim(self, claims: Sequence[Claim]) -> list[Claimed]:
        """Claim each, in one transaction."""
        # A lease need not survive the machine, but everything else is answered with 200.
        final = any(claim.into != "leased" for claim in claims)
        return await self._file.write(lambda connection: _claim(connection, claims, self._clock()), durable=final)

    async def settle(self, settles: Sequence[Settle]) -> list[bool]:
        """Settle each whose lease is current, in one transaction that is synced to the disk."""
        return await self._file.write(lambda connection: _settle(connection, settles, self._clock()), durable=True)

    def renew(self, leases: Sequence[Lease], seconds: float) -> list[bool]:
        """Renew each that is current, on a connection of the calling thread's own."""

        def run(connection: sqlite3.Connection) -> list[bool]:
            until = self._clock() + seconds
            return [connection.execute(sql.RENEW, (until, *_where(lease))).rowcount == 1 for lease in leases]

        return self._file.renew(run)

    async def get(self, keys: Sequence[Key]) -> list[Record | None]:
        """Read records."""
        return await self._file.read(lambda connection: [_get(connection, key) for key in keys])

    async def purge(self, *, done_for: float, abandoned_for: float, most: int) -> int:
        """Remove what is finished, give up what is abandoned."""

        def run(connection: sqlite3.Connection) -> int:
            now = self._clock()
            gone = connection.execute(sql.PURGE_DONE, (now - done_for, most)).rowcount
            before = now - abandoned_for
            given_up = connection.execute(sql.ABANDON, (now, before, before, most - gone)).rowcount
            return gone + given_up

        return await self._file.write(run)

    async def take(self, take: Take) -> list[Taken]:
        """Lease what is due."""
        return await self._file.write(lambda connection: inbox.take(connection, take, self._clock()))

    def listening(self, receiver: str, wake: Callable[[], None]) -> AbstractAsyncContextManager[None]:  # noqa: ARG002
        """Do nothing: SQLite cannot tell other processes."""
        return nullcontext()

    async def beat(self, receiver: str, owner: str) -> None:
        """Note that a worker works."""
        await self._file.write(lambda connection: inbox.beat(connection, receiver, owner, self._clock()))

    async def backlog(self, receiver: str) -> Backlog:
        """Say how far the workers are behind."""
        return await self._file.read(lambda connection: inbox.backlog(connection, receiver, self._clock()))

    async def forget_bodies(self, *, done_for: float, most: int) -> int:
        """Drop the bodies of what has been done for long."""
        return await self._file.write(
            lambda connection: inbox.forget_bodies(connection, self._clock() - done_for, most)
        )

    async def search(self, search: Search, *, after: Cursor | None = None, most: int) -> list[Record]:
        """Find deliveries, the latest first."""
        return await self._file.read(lambda connection: inbox.search(connection, search, after, most))

    async def count(self, search: Search) -> int:
        """Say how many a search finds."""
        return await self._file.read(lambda connection: inbox.count(connection, search))

    async def replay(self, keys: Sequence[Key], *, who: str, why: str) -> list[bool]:
        """Make each due again that is finished and has a body."""
        end = tail("replayed", why)
        return await self._file.write(
            lambda connection: [inbox.replay(connection, key, who, end, self._clock()) for key in keys],
            durable=True,
        )

    async def tally(self, receiver: str) -> list[Tally]:
        """Count deliveries that are alike."""
        return await self._file.read(lambda connection: inbox.tally(connection, receiver))


def _claim(connection: sqlite3.Connection, claims: Sequence[Claim], now: float) -> list[Claimed]:
    """Insert what is new, many rows at a time, and look at the rest one by one."""
    answers: list[Claimed] = []
    for chunk in sql.chunks(claims):
        rows = [value for claim in chunk for value in sql.new_row(claim, now)]
        if connection.execute(sql.insert(len(chunk)), rows).rowcount == len(chunk):
            answers += [_NEW] * len(chunk)
        else:
            answers += [_claim_again(connection, claim, now) for claim in chunk]
    return answers


def _claim_again(connection: sqlite3.Connection, claim: Claim, now: float) -> Claimed:
    record = _get(connection, claim.key)
    assert record is not None, "what was not there has been inserted, under the write lock"  # noqa: S101
    answer, changed = transitions.claim_again(record, claim, now)
    if changed:
        connection.execute(sql.REPLACE, sql.to_row(record))
    return answer


def _settle(connection: sqlite3.Connection, wishes: Sequence[Settle], now: float) -> list[bool]:
    stand: list[bool] = []
    for chunk in sql.chunks(wishes):
        rows = [value for wish in chunk for value in _settled(wish, now)]
        if connection.execute(sql.settle(len(chunk)), rows).rowcount == len(chunk):
            stand += [True] * len(chunk)
        else:
            # One is not leased, or not by this holder: it stands only if this very settle was done before.
            stand += [transitions.settle(_get(connection, wish.lease.key), wish, now)[0] for wish in chunk]
    return stand


def _settled(wish: Settle, now: float) -> tuple[object, ...]:
    due_at = now + wish.delay if wish.state == "pending" else None
    error = as_text(wish.error)
    end = None if error is None else tail(wish.reason or wish.state, error)
    results = texts_as_json(wish.results)
    return (wish.state, wish.reason, results, error, now, due_at, wish.body, end, wish.started, *_where(wish.lease))


def _get(connection: sqlite3.Connection, key: Key) -> Record | None:
    row = connection.execute(sql.SELECT, _key(key)).fetchone()
    return None if row is None else sql.from_row(row)


def _key(key: Key) -> tuple[str | None, ...]:
    return tuple(map(as_text, key))


def _where(lease: Lease) -> tuple[object, ...]:
    return (*_key(lease.key), lease.fence, lease.token)
