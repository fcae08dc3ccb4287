"""What operators do with the deliveries in a store: search, look at, replay, purge and count them."""

import asyncio
import contextlib
import getpass
import socket
from collections import Counter
from collections.abc import AsyncGenerator, Callable, Collection, Iterator, Mapping, Sequence
from typing import Final, Literal, NamedTuple, TypeAlias, TypeVar, Unpack

from airweave_webhooks.errors import ConfigurationError, OperatorError
from airweave_webhooks.events import EVENT_TYPES
from airweave_webhooks.housekeeping import ABANDONED_AFTER, PURGE_BATCH, SHORTEST_RETENTION_DAYS
from airweave_webhooks.selection import Filter, cursor_after, expand, read_cursor, search_of, several
from airweave_webhooks.stores.base import Key, Record, State, Store
from airweave_webhooks.stores.inbox import Backlog, Cursor, InboxStore, Search, Tally
from airweave_webhooks.telemetry import logger

T = TypeVar("T")

DAY: Final = 86_400.0
LONGEST_PAGE: Final = 1000
"""Records."""
REPLAY_BATCH: Final = 500
"""Deliveries that one transaction replays."""

Why: TypeAlias = Literal["unknown", "ambiguous", "pending", "leased", "queued", "no_body"]
"""Why a delivery cannot be replayed: there is none, there are several, it waits, it runs, or only the sender has it."""

_UNFINISHED: Final[Mapping[State, Why]] = {"pending": "pending", "leased": "leased", "queued": "queued"}


class Page(NamedTuple):
    """A part of what a search finds, the latest first."""

    records: Sequence[Record]
    """Without their bodies and headers."""
    cursor: str | None
    """Gives the next page; None at the end."""


class Replay(NamedTuple):
    """What came of a replay."""

    found: int
    """How many could be replayed when they were counted."""
    replayed: int
    """How many were: none by a dry run."""
    skipped: Mapping[Why, int]
    """How many were meant and could not be replayed, by why."""
    names: Mapping[str, Why]
    """Those of them that were asked for by name."""


class Stats(NamedTuple):
    """What a receiver has in its store."""

    tallies: Sequence[Tally]
    backlog: Backlog


class Deliveries:
    """The deliveries of one receiver. Each method opens the store for as long as it needs it.

    Methods raise `StoreUnavailable` when the store cannot be reached, and `OperatorError` for what means nothing.

    Args:
        store: holds them.
        receiver: the receiver's name.

    Raises:
        ConfigurationError: the store does not hold deliveries.
    """

    def __init__(self, store: Store, receiver: str) -> None:
        if not isinstance(store, InboxStore):
            raise ConfigurationError(
                f"{store!r} cannot be searched and replays nothing: the stores that can are sqlite:///path and"
                " postgresql://host/database"
            )
        self._store: InboxStore = store
        self._receiver = receiver

    async def search(self, *, size: int = 50, cursor: str | None = None, **which: Unpack[Filter]) -> Page:
        """Find deliveries, the latest first.

        Args:
            size: length of the page, 1 to 1000.
            cursor: from the page before, found with the same filter.
            which: see `Filter`.

        Raises:
            OperatorError: a filter, or the cursor, means nothing; the message names the nearest thing that does.
        """
        if not 0 < size <= LONGEST_PAGE:
            raise OperatorError(f"search(size={size!r}): takes 1 to {LONGEST_PAGE}")
        after = None if cursor is None else read_cursor(cursor)
        async with self._open():
            search = await self._search(which)
            found = await self._store.search(search, after=after, most=size + 1)
        records = found[:size]
        return Page(records, cursor_after(records[-1]) if len(found) > size else None)

    async def get(self, name: str, tenant: str | None = None) -> Record | None:
        """Read one delivery with all that is known about it.

        Args:
            name: its key or its message id. Where both are found, the key counts.
            tenant: whose.

        Returns:
            None if there is none.

        Raises:
            OperatorError: there are several; the message says how they differ.
        """
        async with self._open():
            keys = await self._named(name, tenant)
            if len(keys) > 1:
                tenants = sorted({key.tenant for key in keys})
                how = (
                    f"name a tenant: {_some(tenants)}"
                    if len(tenants) > 1
                    else f"name one by its key: {_some([key.key for key in keys])}"
                )
                raise OperatorError(f"{name!r} means {len(keys)} deliveries; {how}")
            return (await self._store.get(keys))[0] if keys else None

    async def replay(
        self,
        names: Collection[str] = (),
        *,
        all_dead: bool = False,
        why: str,
        who: str | None = None,
        dry_run: bool = False,
        progress: Callable[[int, int], None] | None = None,
        **which: Unpack[Filter],
    ) -> Replay:
        """Let a worker do deliveries again that are done or dead, and whose body is held.

        They are made due in batches, each as a whole. What is interrupted can be called again: what is due already is
        skipped. What was done runs again as a whole; of what was dead, only handlers that had not processed it.

        Args:
            names: keys or message ids; with nothing else, but a tenant.
            all_dead: all that are dead; with nothing else, but a tenant.
            why: for each record's history.
            who: likewise; by default user@host.
            dry_run: only count.
            progress: is called after each batch with how many are done, and of how many.
            which: see `Filter`.

        Raises:
            OperatorError: nothing, or contradictory things, were asked for.
        """
        if isinstance(names, str):
            raise OperatorError(f"replay({names!r}): takes a list of names")
        given = {name for name, value in which.items() if value is not None}
        ways = bool(names) + all_dead + bool(given - {"tenant"})
        if ways > 1 or not (ways or given):
            raise OperatorError("replay() takes names, a filter, or all_dead=True: one of them")
        done = _Done(progress)
        skipped: Counter[Why] = Counter()
        reasons: dict[str, Why] = {}
        who = who or _user()
        try:
            async with self._open():
                if names:
                    keys = await self._all_named(names, which.get("tenant"), reasons)
                    done.total = await self._count_named(keys, reasons)
                    if not dry_run:
                        for batch in _batches(list(dict.fromkeys(keys.values()))):
                            refused = await self._replay(batch, who, why, done)
                            reasons.update((name, refused[key]) for name, key in keys.items() if key in refused)
                    skipped.update(reasons.values())
                else:
                    search = await self._search({**which, "states": "dead"} if all_dead else which)
                    done.total = await self._count(search, skipped)
                    if not dry_run:
                        await self._replay_found(search, who, why, done, skipped)
        finally:
            if not dry_run:  # also of what was interrupted: these are replayed
                self._log_replay(who, done, why)
        return Replay(done.total, done.number, dict(skipped), reasons)

    async def replay_keys(self, keys: Sequence[Key], *, why: str, who: str | None = None) -> Mapping[Key, Why]:
        """Replay deliveries that are known already, as `replay` does: those that somebody has picked from a list.

        Args:
            keys: of this receiver.
            why: for each record's history.
            who: likewise; by default user@host.

        Returns:
            Those that could not be replayed, by why.
        """
        done = _Done(None)
        who = who or _user()
        refused: dict[Key, Why] = {}
        try:
            async with self._open():
                for batch in _batches(list(dict.fromkeys(keys))):
                    refused.update(await self._replay(batch, who, why, done))
        finally:
            self._log_replay(who, done, why)
        return refused

    async def purge(self, older_than_days: float, *, progress: Callable[[int], None] | None = None) -> int:
        """Remove the records of what was done long ago, of every receiver that shares the store.

        A duplicate of what is removed would count as new. What nobody holds, and the sender must have given up on, is
        marked as dead; what is dead stays.

        Args:
            older_than_days: days since it was done, at least 16.
            progress: is called after each batch with how many records were touched.

        Returns:
            How many records were removed, or marked.
        """
        if not older_than_days >= SHORTEST_RETENTION_DAYS:
            raise OperatorError(
                f"purge({older_than_days!r}): the sender can replay what is 14 days old, so records are kept for at"
                f" least {SHORTEST_RETENTION_DAYS} days"
            )
        total, touched = 0, PURGE_BATCH
        async with self._open():
            while touched == PURGE_BATCH:
                touched = await self._store.purge(
                    done_for=older_than_days * DAY, abandoned_for=ABANDONED_AFTER, most=PURGE_BATCH
                )
                total += touched
                if progress is not None:
                    progress(total)
        logger.info("%r: %s purged %d records older than %g days", self._store, _user(), total, older_than_days)
        return total

    async def stats(self) -> Stats:
        """Count deliveries by state, reason and event type, and say how far the workers are behind."""
        async with self._open():
            return Stats(await self._store.tally(self._receiver), await self._store.backlog(self._receiver))

    def _log_replay(self, who: str, done: "_Done", why: str) -> None:
        logger.info("receiver %s: %s replayed %d deliveries: %s", self._receiver, who, done.number, why)

    @contextlib.asynccontextmanager
    async def _open(self) -> AsyncGenerator[None]:
        await self._store.open()
        try:
            yield
        finally:
            await self._store.close()

    async def _search(self, which: Filter) -> Search:
        patterns = several(which, "event_types")
        if all(pattern in EVENT_TYPES for pattern in patterns):
            return search_of(self._receiver, which, patterns)
        stored = [tally.event_type for tally in await self._store.tally(self._receiver)]
        return search_of(self._receiver, which, expand(patterns, stored))

    async def _named(self, name: str, tenant: str | None) -> list[Key]:
        key = Key(self._receiver, tenant or "", name)
        if (await self._store.get([key]))[0] is not None:
            return [key]
        found = await self._store.search(Search(self._receiver, tenant=tenant, name=name), most=LONGEST_PAGE)
        return [record.key for record in found]

    async def _all_named(self, names: Collection[str], tenant: str | None, reasons: dict[str, Why]) -> dict[str, Key]:
        found: dict[str, Key] = {}
        for name in dict.fromkeys(names):
            keys = await self._named(name, tenant)
            if len(keys) == 1:
                found[name] = keys[0]
            else:
                reasons[name] = "ambiguous" if keys else "unknown"
        return found

    async def _count_named(self, keys: dict[str, Key], reasons: dict[str, Why]) -> int:
        """Count what can be replayed, and take out of `keys` what cannot."""
        for names in _batches(list(keys)):
            records = await self._store.get([keys[name] for name in names])
            for name, record in zip(names, records, strict=True):
                if (why := _why_not(record)) is not None:
                    reasons[name] = why
                    del keys[name]
        return len(set(keys.values()))

    async def _count(self, search: Search, skipped: Counter[Why]) -> int:
        found = await self._store.count(search._replace(replayable=True))
        others = await self._store.count(search) - found
        for state, why in _UNFINISHED.items():
            if others > 0 and (not search.states or state in search.states):
                number = await self._store.count(search._replace(states=(state,)))
                skipped[why] = number
                others -= number
        skipped["no_body"] = others
        for why in [why for why, number in skipped.items() if number <= 0]:
            del skipped[why]
        return found

    async def _replay_found(self, search: Search, who: str, why: str, done: "_Done", skipped: Counter[Why]) -> None:
        after: Cursor | None = None
        while True:
            found = await self._store.search(search._replace(replayable=True), after=after, most=REPLAY_BATCH)
            if not found:
                return
            refused = await self._replay([record.key for record in found], who, why, done)
            skipped.update(refused.values())
            after = Cursor.of(found[-1])

    async def _replay(self, keys: Sequence[Key], who: str, why: str, done: "_Done") -> dict[Key, Why]:
        """Replay one batch; what has changed since it was found is refused, and says why."""
        batch = asyncio.ensure_future(self._store.replay(keys, who=who, why=why))
        try:
            replayed = await asyncio.shield(batch)
        except asyncio.CancelledError:
            # It may be committed already: whoever interrupts gets the right number.
            await asyncio.wait([batch])
            if not batch.cancelled() and batch.exception() is None:
                done.add(sum(batch.result()))
            raise
        done.add(sum(replayed))
        refused = [key for key, was in zip(keys, replayed, strict=True) if not was]
        records = await self._store.get(refused) if refused else []
        # One that could be replayed by now became so after it was refused: somebody else replayed it, and it is done.
        return {key: _why_not(record) or "pending" for key, record in zip(refused, records, strict=True)}


class _Done:
    """How far a replay is."""

    def __init__(self, progress: Callable[[int, int], None] | None) -> None:
        self.number = 0
        self.total = 0
        self._progress = progress

    def add(self, number: int) -> None:
        self.number += number
        if self._progress is not None:
            self._progress(self.number, max(self.number, self.total))


def _why_not(record: Record | None) -> Why | None:
    if record is None:
        return "unknown"
    unfinished = _UNFINISHED.get(record.state)
    return "no_body" if unfinished is None and record.body is None else unfinished


def _batches(things: Sequence[T]) -> Iterator[Sequence[T]]:
    for start in range(0, len(things), REPLAY_BATCH):
        yield things[start : start + REPLAY_BATCH]


def _some(words: Sequence[str]) -> str:
    shown = ", ".join(map(repr, words[:5]))
    return shown if len(words) <= 5 else f"{shown}, …"


def _user() -> str:
    try:
        name = getpass.getuser()
    except (OSError, KeyError, ImportError):  # in a container a user need not have a name
        name = "somebody"
    return f"{name}@{socket.gethostname()}"
