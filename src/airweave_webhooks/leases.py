"""Keeping leases alive from a thread of its own, so that a handler which blocks the event loop does not lose its."""

import threading
import time
from collections.abc import Callable

from airweave_webhooks.stores.base import Lease, Store
from airweave_webhooks.telemetry import logger

RENEWALS_PER_LEASE = 3


class LeaseKeeper:
    """Renews what is held, three times in the length of a lease.

    Args:
        store: its `renew` is called from the keeper's thread.
        seconds: the length of a lease.
        alive: says whether the event loop that holds the leases still runs; once it does not, nobody will settle.
    """

    def __init__(self, store: Store, seconds: float, alive: Callable[[], bool]) -> None:
        self._store = store
        self._seconds = seconds
        self._alive = alive
        self._held: dict[bytes, tuple[Lease, float]] = {}
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
        self._held[lease.token] = (lease, time.monotonic())

    def drop(self, lease: Lease) -> None:
        """Let `lease` go."""
        self._held.pop(lease.token, None)

    def _run(self) -> None:
        pause = self._seconds / RENEWALS_PER_LEASE
        while not self._stop.wait(pause) and self._alive():
            self._renew(pause)

    def _renew(self, pause: float) -> None:
        # A quick handler's lease is younger than one round: it costs no renewal at all.
        before = time.monotonic() - pause / 2
        # One C call: the event loop's thread adds and removes meanwhile.
        leases = [lease for lease, since in list(self._held.values()) if since <= before]
        if not leases:
            return
        try:
            kept = self._store.renew(sorted(leases), self._seconds)
        except Exception:
            logger.exception("cannot renew %d leases; trying again in %.1f s", len(leases), pause)
            return
        for lease, current in zip(sorted(leases), kept, strict=True):
            if not current and lease.token in self._held:
                self.drop(lease)
                logger.warning(
                    "lost the lease of delivery %s: this process was stopped for longer than it lasts, and"
                    " another one took over; the result of this attempt will be refused",
                    lease.key.key,
                )
