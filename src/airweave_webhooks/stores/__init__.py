"""Where deliveries are remembered. `store_from_url` knows the URLs; a store of your own implements `Store`."""

from airweave_webhooks.errors import ConfigurationError
from airweave_webhooks.stores.base import Store
from airweave_webhooks.stores.memory import MemoryStore
from airweave_webhooks.stores.postgres import PostgresStore
from airweave_webhooks.stores.redis import RedisStore
from airweave_webhooks.stores.sqlite import SQLiteStore

__all__ = ["MemoryStore", "PostgresStore", "RedisStore", "SQLiteStore", "Store", "store_from_url"]


def store_from_url(url: str) -> Store:
    """Make the store that a URL names.

    `memory:`, `sqlite:///relative.db`, `sqlite:////absolute.db`, `postgresql://user:password@host:5432/database`,
    `redis://host:6379/0`, `rediss://…`, `unix:///path/to/redis.sock`.

    Raises:
        ConfigurationError: it names none.
    """
    scheme, colon, rest = url.partition(":")
    if colon and scheme == "memory" and rest.strip("/") == "":
        return MemoryStore()
    if colon and scheme == "sqlite":
        if not rest.startswith("///") or rest == "///":
            raise ConfigurationError(
                "a SQLite store is written sqlite:///relative.db or, with four slashes, sqlite:////absolute.db"
            )
        return SQLiteStore(rest.removeprefix("///"))
    if colon and scheme in {"postgresql", "postgres"}:
        return PostgresStore(url)
    if colon and scheme in {"redis", "rediss", "unix"}:
        return RedisStore(url)
    # Whatever stands behind the scheme can be a password.
    raise ConfigurationError(
        f"no store for {scheme + ':…' if colon else repr(url)}: use memory:, sqlite:///path,"
        " postgresql://host/database or redis://host:6379/0"
    )
