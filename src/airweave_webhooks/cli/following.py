"""Deliveries as they come and as they are settled, by asking the store again and again, in bounded memory."""

import itertools
from collections import OrderedDict
from collections.abc import Iterable, Sequence
from typing import Final, NamedTuple

from airweave_webhooks.stores.base import Key, Record, State
from airweave_webhooks.stores.inbox import Cursor, InboxStore, Search

OVERLAP: Final = 2.0
"""Seconds before the latest delivery that are looked at again: two that come at once can be committed in any order."""
PAGE: Final = 1000
"""Records of one query."""
MOST_NEW: Final = 5 * PAGE
"""Deliveries that one look shows; of more, the latest."""
MOST_WATCHED: Final = 500
"""Unfinished deliveries that are followed until they are settled; of more, the latest."""
MOST_REMEMBERED: Final = 4 * MOST_NEW
MOST_READ: Final = 100
"""Records that one look reads with their bodies."""

_UNFINISHED: Final[tuple[State, ...]] = ("pending", "leased", "queued")


class _Seen(NamedTuple):
    """What of a record tells a change; a lease that is renewed is none."""

    state: State
    reason: str | None
    attempts: int
    generation: int

    @classmethod
    def of(cls, record: Record) -> "_Seen":
        return cls(record.state, record.reason, record.attempts, record.generation)


class Follower:
    """Follows the deliveries that a search finds.

    Args:
        store: is open.
        search: which; its states say what is shown, and everything is followed.
    """

    def __init__(self, store: InboxStore, search: Search) -> None:
        self._store = store
        self._states = search.states
        self._search = search._replace(states=())
        self._latest: float | None = None
        self._seen: OrderedDict[Key, _Seen] = OrderedDict()
        self.left_out: bool = False
        """Whether the last look found more than it can show."""

    async def start(self, last: int) -> list[Record]:
        """Begin here.

        Args:
            last: how many of the latest to return.

        Returns:
            They, the oldest first.
        """
        newest = await self._store.search(self._search, most=1)
        self._latest = newest[0].received_at if newest else None
        if newest:
            self._changed(await self._new())
        self._changed(await self._unfinished())
        # At the end: what comes meanwhile is shown now, or new to the first look.
        found = await self._store.search(self._search._replace(states=self._states), most=last) if last else []
        self._changed(found)
        return found[::-1]

    async def look(self) -> list[Record]:
        """Say what came, and what has changed, since the last look; in the order of when.

        Raises:
            StoreUnavailable: nothing is forgotten; the next look tells.
        """
        found = [*await self._new(), *await self._unfinished()]
        found += await self._settled({record.key for record in found})
        changed = self._changed(found)
        self._latest = max((record.received_at for record in found), default=self._latest)
        if self._states:
            changed = [record for record in changed if record.state in self._states]
        return sorted(changed, key=lambda record: record.settled_at or record.received_at)

    async def _new(self) -> list[Record]:
        """What came since shortly before the latest that is known."""
        since = None if self._latest is None else self._latest - OVERLAP
        found: list[Record] = []
        after: Cursor | None = None
        while len(found) < MOST_NEW:
            page = await self._store.search(self._search._replace(since=since), after=after, most=PAGE)
            found += page
            if len(page) < PAGE:
                self.left_out = False
                return found
            after = Cursor.of(page[-1])
        self.left_out = True
        return found

    async def _unfinished(self) -> list[Record]:
        """What is at work, also what came long ago: it was replayed, or is tried again."""
        return await self._store.search(self._search._replace(states=_UNFINISHED), most=MOST_WATCHED)

    async def _settled(self, found: set[Key]) -> list[Record]:
        """What was unfinished when it was seen last and is not found any more; some of it each time."""
        # Those that were not looked at for longest come first.
        gone = (key for key, seen in self._seen.items() if seen.state in _UNFINISHED and key not in found)
        chosen = list(itertools.islice(gone, MOST_READ))
        if not chosen:
            return []
        records = await self._store.get(chosen)
        for key, record in zip(chosen, records, strict=True):
            if record is None:  # it was purged
                del self._seen[key]
        return [record for record in records if record is not None]

    def _changed(self, found: Iterable[Record]) -> Sequence[Record]:
        changed: list[Record] = []
        for record in found:
            seen = _Seen.of(record)
            if self._seen.get(record.key) != seen:
                changed.append(record)
            self._seen[record.key] = seen
            self._seen.move_to_end(record.key)
        while len(self._seen) > MOST_REMEMBERED:
            self._seen.popitem(last=False)
        return changed
