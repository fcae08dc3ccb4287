"""The PostgreSQL store keeps the public contract, on a real server."""

import pytest

from airweave_webhooks import PostgresStore
from airweave_webhooks.testing.contracts import DurableStoreContract


class TestPostgresStore(DurableStoreContract):
    """`postgresql://…`."""

    @pytest.fixture(autouse=True)
    def place(self, postgres_url: str, schema: str) -> None:
        self.url, self.schema = postgres_url, schema

    def make_store(self) -> PostgresStore:
        return PostgresStore(self.url, schema=self.schema)
