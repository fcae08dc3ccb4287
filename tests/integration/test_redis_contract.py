"""The Redis store keeps the public contract, on one server and on a cluster."""

import pytest
from hypothesis import settings

from airweave_webhooks import RedisStore
from airweave_webhooks.testing.contracts import SharedStoreContract
from airweave_webhooks.testing.model import prove


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


@pytest.mark.timeout(1800)
def test_it_is_what_the_model_says(redis_url: str, prefix: str, how: settings) -> None:
    """Whatever the order of the steps."""
    prove(lambda name: RedisStore(redis_url, prefix=f"{prefix}-{name}"), how)
