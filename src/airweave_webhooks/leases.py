"""Keeping leases alive from a thread of its own, so that a handler which blocks the event loop does not lose its."""

import threading
from collections.abc import Callable

from airweave_webhooks.errors import Unavailable
from airweave_webhooks.stores.base import Lease, Store
from airweave_webhooks.telemetry import logger

# A lease is renewed for the first time when it is one to two rounds old: two rounds are left for things to go wrong.
RENEWALS_PER_LEASE = 4
# Seconds between two tries, at most, while the store is away.
LONGEST_PAUSE_WHEN_BEHIND = 2.0


class LeaseKeeper:
    """Renews what is held, four times in the length of a lease.

    Args:
        store: its `renew` is called from the keeper's thread.
        seconds: the length of a lease.
        alive: says whether the event loop that holds the leases still runs; once it does not, nobody will settle.

    Attributes:
        behind: whether the store was away at the last try, so that leases may have run out that are still held.
    """

    def __init__(self, store: Store, seconds: float, alive: Callable[[], bool]) -> None:
        self._store = store
        self.behind: bool = False
        self._seconds = seconds
        self._alive = alive
        self._held: set[Lease] = set()
        self._settling: set[Lease] = set()
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None

    def start(self) -> None:
        """Start the thread."""
        self._thread = threading.Thread(target=self._run, name="airweave-leases", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """Stop renewing; what is still held runs out."""
        self._stop.set()
        if self._thread is not None:
            self._thread.join()

    def hold(self, lease: Lease) -> None:
        """Keep `lease` alive until it is dropped."""
        self._held.add(lease)

    def settling(self, lease: Lease) -> None:
        """Keep `lease` alive, but do not wonder when it cannot be renewed: it may have been settled a moment ago."""
        self._settling.add(lease)

    def drop(self, lease: Lease) -> None:
        """Let `lease` go."""
        self._held.discard(lease)
        self._settling.discard(lease)

    def _run(self) -> None:
        usual = pause = self._seconds / RENEWALS_PER_LEASE
        last_round: set[Lease] = set()
        while not self._stop.wait(pause) and self._alive():
            # One C call: the event loop's thread adds and removes meanwhile.
            held = self._held.copy()
            # A quick handler's lease is never seen twice: it costs no renewal at all.
            leases = sorted(held & last_round)
            self.behind = bool(leases) and not self._renew(leases)
            pause = min(usual, LONGEST_PAUSE_WHEN_BEHIND) if self.behind else usual
            last_round = held

    def _renew(self, leases: list[Lease]) -> bool:
        """Renew, and say whether the store was there."""
        try:
            kept = self._store.renew(leases, self._seconds)
        except Unavailable as error:
            logger.warning("cannot renew %d leases, trying again soon: %s", len(leases), error)
            return False
        except Exception:
            logger.exception("cannot renew %d leases; trying again soon", len(leases))
            return True
        for lease, current in zip(leases, kept, strict=True):
            if not current and lease in self._held and lease not in self._settling:
                self.drop(lease)
                logger.warning(
                    "lost the lease of delivery %s: this process was stopped for longer than it lasts, and"
                    " another one took over; the result of this attempt will be refused",
                    lease.key.key,
                )
        return True
