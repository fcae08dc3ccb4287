"""What is particular to the SQLite store: its file, its errors, its processes."""

import asyncio
import sqlite3
from pathlib import Path

import pytest

from airweave_webhooks import ConfigurationError, MemoryStore, SQLiteStore
from airweave_webhooks.errors import Busy, StoreDataError, StoreUnavailable
from airweave_webhooks.stores import sqlite_schema, store_from_url
from airweave_webhooks.stores.base import Origin, Settle
from airweave_webhooks.testing.contracts import a_claim, lease_of, opened

pytestmark = pytest.mark.anyio


async def claimed(store: SQLiteStore, key: str = "msg_1") -> str:
    (answer,) = await store.claim([a_claim(key)])
    return answer.verdict


def connection_of(store: SQLiteStore) -> sqlite3.Connection:
    """The one that writes."""
    assert store._file._connection is not None
    return store._file._connection


async def test_the_file_is_in_wal_mode_with_a_version(tmp_path: Path) -> None:
    """Readers and the lease keeper do not wait for the writer, and the next release knows what it finds."""
    path = tmp_path / "a.db"
    async with opened(lambda: SQLiteStore(path)):
        connection = sqlite3.connect(path)
        assert connection.execute("PRAGMA journal_mode").fetchone() == ("wal",)
        assert connection.execute("PRAGMA user_version").fetchone() == (len(sqlite_schema.MIGRATIONS),)
        connection.close()


@pytest.mark.parametrize("path", ["", ":memory:"])
def test_it_needs_a_file(path: str) -> None:
    """A database in memory would be another one for every connection."""
    with pytest.raises(ConfigurationError, match="needs a file"):
        SQLiteStore(path)


async def refusal(path: Path) -> str:
    with pytest.raises(ConfigurationError) as caught:
        await SQLiteStore(path).open()
    return str(caught.value)


async def test_a_missing_directory_is_named(tmp_path: Path) -> None:
    """The remedy is in the message."""
    assert f"create the directory {tmp_path / 'no'}" in await refusal(tmp_path / "no" / "a.db")


async def test_a_file_that_is_no_database_is_left_alone(tmp_path: Path) -> None:
    """Nothing is written into somebody else's file."""
    path = tmp_path / "notes.txt"
    path.write_text("not a database, but somebody's notes " * 100)
    assert "not a SQLite database" in await refusal(path)
    assert path.read_text().startswith("not a database")


async def test_another_programs_table_is_left_alone(tmp_path: Path) -> None:
    """A table of ours by name only is not migrated."""
    path = tmp_path / "a.db"
    with sqlite3.connect(path) as connection:
        connection.execute("CREATE TABLE deliveries (id INTEGER)")
    connection.close()
    assert "is not ours" in await refusal(path)


async def test_a_newer_schema_is_refused(tmp_path: Path) -> None:
    """An older release would misread it."""
    path = tmp_path / "a.db"
    async with opened(lambda: SQLiteStore(path)):
        pass
    with sqlite3.connect(path) as connection:
        connection.execute("PRAGMA user_version = 99")
    connection.close()
    assert "newer version of airweave-webhooks (schema 99" in await refusal(path)


async def test_a_file_that_turns_read_only_is_named(tmp_path: Path) -> None:
    """The remedy is in the message."""
    async with opened(lambda: SQLiteStore(tmp_path / "a.db")) as store:
        connection_of(store).execute("PRAGMA query_only = 1")
        with pytest.raises(ConfigurationError, match="give this process the right to write it"):
            await store.claim([a_claim()])


async def test_a_schema_from_two_processes_at_once(tmp_path: Path) -> None:
    """The slower one finds the work done."""
    stores = [SQLiteStore(tmp_path / "a.db") for _ in range(8)]
    await asyncio.gather(*[store.open() for store in stores])
    assert sorted(await asyncio.gather(*[claimed(store) for store in stores])) == ["claimed"] + ["held"] * 7
    for store in stores:
        await store.close()


async def test_a_lock_that_lasts_is_an_outage_and_ends_with_it(tmp_path: Path) -> None:
    """Another process that never lets go of the file costs patience, and then 503; afterwards all is well."""
    path = tmp_path / "a.db"
    async with opened(lambda: SQLiteStore(path, patience=0.2)) as store:
        other = sqlite3.connect(path, isolation_level=None)
        other.execute("BEGIN IMMEDIATE")
        with pytest.raises(StoreUnavailable, match=r"locked by another process for 0\.2 s"):
            await store.claim([a_claim()])
        other.execute("ROLLBACK")
        other.close()
        assert await claimed(store) == "claimed"


async def test_a_short_lock_is_waited_for(tmp_path: Path) -> None:
    """Within the patience nobody notices."""
    path = tmp_path / "a.db"
    async with opened(lambda: SQLiteStore(path)) as store:
        other = sqlite3.connect(path, isolation_level=None)
        other.execute("BEGIN IMMEDIATE")
        asyncio.get_running_loop().call_later(0.1, other.execute, "ROLLBACK")
        assert await claimed(store) == "claimed"
        other.close()


async def test_renewing_waits_for_nobody_but_the_file(tmp_path: Path) -> None:
    """It has a connection of its own: the writer's queue does not hold it up."""
    async with opened(lambda: SQLiteStore(tmp_path / "a.db")) as store:
        claim = a_claim()
        (answer,) = await store.claim([claim])
        busy = asyncio.gather(*[store.claim([a_claim(f"msg_{n}")]) for n in range(2, 200)])
        assert store.renew([lease_of(claim, answer)], 60) == [True]
        await busy


async def test_a_store_that_is_not_open_says_so(tmp_path: Path) -> None:
    """Closed, or opened by another process."""
    store = SQLiteStore(tmp_path / "a.db")
    with pytest.raises(StoreUnavailable, match="not open in this process"):
        await store.claim([a_claim()])
    async with opened(lambda: store):
        pass
    with pytest.raises(StoreUnavailable, match="not open in this process"):
        await store.settle([])


async def test_a_record_that_is_too_large_fails_alone(tmp_path: Path) -> None:
    """SQLite holds 1 GB a row; less is enough to see the error."""
    async with opened(lambda: SQLiteStore(tmp_path / "a.db")) as store:
        await store.claim([a_claim()])
        connection_of(store).setlimit(sqlite3.SQLITE_LIMIT_LENGTH, 2000)
        with pytest.raises(StoreDataError):
            await store.claim([a_claim("msg_2")._replace(into="dead", body=bytes(5000))])
        assert await claimed(store, "msg_3") == "claimed"


async def test_a_full_disk_is_an_outage_and_ends_with_it(tmp_path: Path) -> None:
    """No page left: nothing is acknowledged; with room again everything works, without hand work."""
    async with opened(lambda: SQLiteStore(tmp_path / "a.db")) as store:
        connection = connection_of(store)
        pages = connection.execute("PRAGMA page_count").fetchone()[0]
        connection.execute(f"PRAGMA max_page_count = {pages}")
        with pytest.raises(StoreUnavailable, match="full"):
            for n in range(1000):
                await store.claim([a_claim(f"msg_{n}")])
        connection.execute("PRAGMA max_page_count = 1000000")
        assert await claimed(store, "msg_after") == "claimed"


async def test_a_settle_is_synced_and_a_lease_is_not(tmp_path: Path) -> None:
    """What backs an acknowledgement survives the machine; a lease need only survive the process."""
    async with opened(lambda: SQLiteStore(tmp_path / "a.db")) as store:
        connection = connection_of(store)

        def synchronous() -> int:
            level: int = connection.execute("PRAGMA synchronous").fetchone()[0]
            return level

        claim = a_claim()
        (answer,) = await store.claim([claim])
        assert synchronous() == 1  # NORMAL
        await store.settle([Settle(lease_of(claim, answer), "done")])
        assert synchronous() == 2  # FULL
        await store.claim([a_claim("msg_2")._replace(into="done", reason="ignored")])
        assert synchronous() == 2


async def test_what_a_new_row_lacks_is_null_and_bytes_are_blobs(tmp_path: Path) -> None:
    """The indexes of what waits in line hold only what has an order; an empty body is held, a missing one is not."""
    async with opened(lambda: SQLiteStore(tmp_path / "a.db")) as store:
        waiting = a_claim("waiting")._replace(into="pending", body=b"", origin=Origin(1))
        in_line = a_claim("in_line")._replace(into="dead", reason="drift", body=b"{}", origin=Origin(1, {}, "id=1"))
        await store.claim([in_line, waiting])
        await store.claim([a_claim("working")])
        columns = "reason, order_key, sent_at, typeof(digest), typeof(token), typeof(body), body"
        rows = connection_of(store).execute(f"SELECT {columns} FROM deliveries ORDER BY key").fetchall()
    assert rows == [
        ("drift", "id=1", 1, "blob", "blob", "blob", b"{}"),
        (None, None, 1, "blob", "blob", "blob", b""),
        (None, None, None, "blob", "blob", "null", None),
    ]


async def test_the_store_works_in_one_event_loop_after_another(tmp_path: Path) -> None:
    """Opened in one loop, used in the next: nothing of a loop is kept."""
    store = SQLiteStore(tmp_path / "a.db")

    def in_a_loop_of_its_own(key: str) -> str:
        async def use() -> str:
            await store.open()
            try:
                return await claimed(store, key)
            finally:
                await store.close()

        return asyncio.run(use())

    for key in ("msg_1", "msg_2"):
        assert await asyncio.to_thread(in_a_loop_of_its_own, key) == "claimed"


def test_stores_on_one_file_are_equal(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """However its path is written."""
    monkeypatch.chdir(tmp_path)
    assert SQLiteStore("a.db") == SQLiteStore(tmp_path / "a.db")
    assert hash(SQLiteStore("a.db")) == hash(SQLiteStore(tmp_path / "a.db"))
    assert SQLiteStore("a.db") != SQLiteStore("b.db")


def test_urls() -> None:
    """What the README shows."""
    assert isinstance(store_from_url("memory:"), MemoryStore)
    assert isinstance(store_from_url("memory://"), MemoryStore)
    assert repr(store_from_url("sqlite:///a.db")) == "SQLiteStore('a.db')"
    assert repr(store_from_url("sqlite:////tmp/a.db")) == "SQLiteStore('/tmp/a.db')"


@pytest.mark.parametrize("url", ["sqlite:a.db", "sqlite://a.db", "sqlite:///", "mysql://u:secret@h/d", "nonsense", ""])
def test_urls_that_name_no_store(url: str) -> None:
    """The message shows how to write one, and no password."""
    with pytest.raises(ConfigurationError) as caught:
        store_from_url(url)
    assert "sqlite:///" in str(caught.value)
    assert "secret" not in str(caught.value)


async def test_the_memory_store_forgets_the_oldest_finished(tmp_path: Path) -> None:
    """It is bounded: finished records make room, and unfinished ones are never dropped."""
    store = MemoryStore(most_records=3)
    for n in range(5):
        claim = a_claim(f"done_{n}")
        (answer,) = await store.claim([claim])
        await store.settle([Settle(lease_of(claim, answer), "done")])
    assert await store.get([a_claim(f"done_{n}").key for n in range(2)]) == [None, None]
    for n in range(3):
        await store.claim([a_claim(f"open_{n}")])
    with pytest.raises(Busy, match="3 unfinished"):
        await store.claim([a_claim("one too many")])
