"""The Redis store keeps the public contract, on one server and on a cluster."""

import pytest
from hypothesis import settings

from airweave_webhooks import RedisStore
from airweave_webhooks.testing.contracts import SharedStoreContract
from airweave_webhooks.testing.model import prove


def patient(url: str) -> str:
    """With half a minute for an answer: the last one of a storm is as old as the storm, on a busy machine."""
    return f"{url}{'&' if '?' in url else '?'}socket_timeout=30"


class TestRedisStore(SharedStoreContract):
    """One server."""

    @pytest.fixture(autouse=True)
    def place(self, redis_url: str, prefix: str) -> None:
        self.url, self.prefix = patient(redis_url), prefix

    def make_store(self) -> RedisStore:
        return RedisStore(self.url, prefix=self.prefix)


@pytest.mark.one_case_each
class TestRedisCluster(SharedStoreContract):
    """Three nodes."""

    @pytest.fixture(autouse=True)
    def place(self, redis_cluster_url: str, prefix: str) -> None:
        self.url, self.prefix = patient(redis_cluster_url), prefix

    def make_store(self) -> RedisStore:
        return RedisStore(self.url, prefix=self.prefix)


@pytest.mark.timeout(1800)
def test_it_is_what_the_model_says(redis_url: str, prefix: str, how: settings) -> None:
    """Whatever the order of the steps."""
    prove(lambda name: RedisStore(redis_url, prefix=f"{prefix}-{name}"), how)
