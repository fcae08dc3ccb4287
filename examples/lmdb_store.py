"""A store of one's own, on LMDB: durable, and shared by the processes of one machine. docs/own-store.md tells more."""

import asyncio
import hashlib
import json
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime
from pathlib import Path
from typing import Any, TypeVar

import lmdb

from airweave_webhooks.errors import ConfigurationError, StoreUnavailable
from airweave_webhooks.stores import transitions
from airweave_webhooks.stores.base import Claim, Claimed, Facts, Key, Lease, Origin, Record, Settle

T = TypeVar("T")

# LMDB wants a file to be open once in a process: stores on one file share its environment, and count.
_shared: dict[str, tuple[lmdb.Environment, int]] = {}
_sharing = threading.Lock()


class LMDBStore:
    """Keeps records in one LMDB file; each batch is one transaction, synced to the disk.

    Args:
        path: the file; LMDB puts another beside it, for its locks.
        most_bytes: how large the file may become.
    """

    round_trip = True
    durable = True

    def __init__(self, path: Path, *, most_bytes: int = 2**30) -> None:
        self._path = str(path.absolute())
        self._most_bytes = most_bytes
        self._opened = 0
        self._environment: lmdb.Environment | None = None
        self._thread: ThreadPoolExecutor | None = None
        self._in_use = threading.Lock()  # the lease keeper's thread renews while ours works, and while we close

    async def open(self) -> None:
        self._opened += 1
        if self._opened > 1:
            return
        try:
            with _sharing:
                environment, count = _shared.get(self._path) or (self._environment_of_its_own(), 0)
                _shared[self._path] = environment, count + 1
        except lmdb.Error as error:
            self._opened = 0
            raise ConfigurationError(f"cannot open {self._path}: {error}") from error
        self._environment = environment
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="lmdb")

    def _environment_of_its_own(self) -> lmdb.Environment:
        return lmdb.open(self._path, subdir=False, map_size=self._most_bytes)

    async def close(self) -> None:
        self._opened -= 1
        if self._opened or self._thread is None:
            return
        thread, self._thread = self._thread, None
        await asyncio.get_running_loop().run_in_executor(thread, self._close)  # after all that was asked before
        thread.shutdown()

    def _close(self) -> None:
        with self._in_use, _sharing:
            self._environment = None
            environment, count = _shared.pop(self._path)
            if count > 1:
                _shared[self._path] = environment, count - 1
            else:
                environment.close()

    async def claim(self, claims: Sequence[Claim]) -> list[Claimed]:
        return await self._in_thread(lambda records: [_claim(records, claim, time.time()) for claim in claims])

    async def settle(self, settles: Sequence[Settle]) -> list[bool]:
        return await self._in_thread(lambda records: [_settle(records, wish, time.time()) for wish in settles])

    def renew(self, leases: Sequence[Lease], seconds: float) -> list[bool]:
        return self._transaction(lambda records: [_renew(records, lease, time.time() + seconds) for lease in leases])

    async def get(self, keys: Sequence[Key]) -> list[Record | None]:
        return await self._in_thread(lambda records: [_get(records, key) for key in keys])

    async def purge(self, *, done_for: float, abandoned_for: float, most: int) -> int:
        return await self._in_thread(lambda records: _purge(records, done_for, abandoned_for, most))

    async def _in_thread(self, work: Callable[[lmdb.Transaction], T]) -> T:
        if self._thread is None:
            raise StoreUnavailable(f"{self._path} is not open")
        return await asyncio.get_running_loop().run_in_executor(self._thread, self._transaction, work)

    def _transaction(self, work: Callable[[lmdb.Transaction], T]) -> T:
        """Do all of it or, when it raises, nothing. Other processes wait for it."""
        with self._in_use:
            if self._environment is None:
                raise StoreUnavailable(f"{self._path} is not open")
            try:
                with self._environment.begin(write=True) as records:
                    return work(records)
            except lmdb.MapFullError as error:
                raise StoreUnavailable(f"{self._path} has reached its {self._most_bytes} bytes") from error
            except lmdb.Error as error:
                raise StoreUnavailable(f"{self._path}: {error}") from error


def _claim(records: lmdb.Transaction, claim: Claim, now: float) -> Claimed:
    record = _get(records, claim.key)
    if record is None:
        record = transitions.first_claim(claim, now)
        answer, changed = transitions.granted(record), True
    else:
        answer, changed = transitions.claim_again(record, claim, now)
    if changed:
        _put(records, record)
    return answer


def _settle(records: lmdb.Transaction, wish: Settle, now: float) -> bool:
    record = _get(records, wish.lease.key)
    stands, changed = transitions.settle(record, wish, now)
    if changed and record is not None:
        _put(records, record)
    return stands


def _renew(records: lmdb.Transaction, lease: Lease, until: float) -> bool:
    record = _get(records, lease.key)
    if record is None or not transitions.may_renew(record, lease):
        return False
    record.lease_until = until
    _put(records, record)
    return True


def _purge(records: lmdb.Transaction, done_for: float, abandoned_for: float, most: int) -> int:
    """Look at every record: an index by time would be quicker, and longer."""
    now, touched = time.time(), 0
    for stored_at, value in records.cursor():
        record = _unpacked(value)
        if touched == most:
            break
        if record.state == "done" and (record.settled_at or 0.0) < now - done_for:
            records.delete(stored_at)
            touched += 1
        elif transitions.is_abandoned(record, now - abandoned_for):
            transitions.abandon(record, now)
            _put(records, record)
            touched += 1
    return touched


def _get(records: lmdb.Transaction, key: Key) -> Record | None:
    value = records.get(_stored_at(key))
    return None if value is None else _unpacked(value)


def _put(records: lmdb.Transaction, record: Record) -> None:
    records.put(_stored_at(record.key), _packed(record))


def _stored_at(key: Key) -> bytes:
    """Neither too long for LMDB (511 bytes), nor the same for ("a:b", "c") and ("a", "b:c")."""
    return hashlib.sha256(json.dumps(key).encode()).digest()


def _packed(record: Record) -> bytes:
    return json.dumps({name: getattr(record, name) for name in Record.__slots__}, default=_plain).encode()


def _plain(value: Any) -> Any:
    match value:
        case bytes():
            return value.decode("latin-1")
        case datetime():
            return value.isoformat()
        case _:
            return dict(value)


def _unpacked(value: bytes | memoryview) -> Record:
    fields = json.loads(bytes(value))
    facts = Facts(*fields["facts"])
    fields["facts"] = facts._replace(event_time=facts.event_time and datetime.fromisoformat(str(facts.event_time)))
    fields["key"] = Key(*fields["key"])
    for name in ("digest", "token", "body"):
        fields[name] = fields[name] if fields[name] is None else fields[name].encode("latin-1")
    fields["origin"] = fields["origin"] and Origin(*fields["origin"])
    return Record(**fields)
