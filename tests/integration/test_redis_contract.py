"""The Redis store keeps the public contract, on one server and on a cluster."""

import pytest

from airweave_webhooks import RedisStore
from airweave_webhooks.testing.contracts import SharedStoreContract


class TestRedisStore(SharedStoreContract):
    """One server."""

    @pytest.fixture(autouse=True)
    def place(self, redis_url: str, prefix: str) -> None:
        self.url, self.prefix = redis_url, prefix

    def make_store(self) -> RedisStore:
        return RedisStore(self.url, prefix=self.prefix)


class TestRedisCluster(SharedStoreContract):
    """Three nodes."""

    @pytest.fixture(autouse=True)
    def place(self, redis_cluster_url: str, prefix: str) -> None:
        self.url, self.prefix = redis_cluster_url, prefix

    def make_store(self) -> RedisStore:
        return RedisStore(self.url, prefix=self.prefix)
