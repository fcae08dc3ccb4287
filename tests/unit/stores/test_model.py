"""Our stores do what the model does."""

from pathlib import Path

import pytest
from hypothesis import settings

from airweave_webhooks.stores import MemoryStore, SQLiteStore
from airweave_webhooks.testing.model import prove
from sabotage.plain import PlainInbox


@pytest.mark.timeout(900)
def test_the_memory_store_is_right(how: settings) -> None:
    """One object: it shares its data with nobody."""
    prove(lambda _: MemoryStore(), how)


@pytest.mark.timeout(1800)
def test_the_sqlite_store_is_right(tmp_path: Path, how: settings) -> None:
    """Two on one file."""
    prove(lambda name: SQLiteStore(tmp_path / f"{name}.db"), how)


@pytest.mark.timeout(900)
def test_a_plain_inbox_is_right(how: settings) -> None:
    """Or what follows would prove nothing."""
    prove(lambda _: PlainInbox(), how)
