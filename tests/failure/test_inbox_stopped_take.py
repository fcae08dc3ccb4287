"""Workers on PostgreSQL that are stopped in the midst of a take, which goes under a lock of its receiver."""

import asyncio
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import psycopg
import pytest
from psycopg.sql import SQL, Identifier

from failure.servers import ENVIRONMENT
from servers.postgres import PostgresServer

pytestmark = pytest.mark.anyio

RELEASED_WITHIN = 2.0
"""Seconds, on a machine that is busy."""
LOCKED = "SELECT FROM pg_locks WHERE locktype = 'advisory' AND granted"
MADE = "SELECT FROM pg_tables WHERE schemaname = %s AND tablename = 'workers'"
WORKER = """
import asyncio, sys
from airweave_webhooks import Inbox, PostgresStore, Receiver

store = PostgresStore(sys.argv[1], schema=sys.argv[2])
secret = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
receiver = Receiver(store=store, secrets=secret, mode=Inbox(poll=0.001))
receiver.on("sync.*")(print)
asyncio.run(receiver.work(stop=asyncio.Event()))
"""


async def test_a_worker_that_is_stopped_in_a_take_keeps_nobody_from_taking(
    postgres_server: PostgresServer, schema: str, long: bool, tmp_path: Path
) -> None:
    """Whatever moment it is stopped in, the server ends the take by itself."""
    with (tmp_path / "log").open("wb") as log, psycopg.connect(postgres_server.url, autocommit=True) as connection:
        worker = subprocess.Popen(
            [sys.executable, "-c", WORKER, postgres_server.url, schema], env=ENVIRONMENT, stdout=log, stderr=log
        )
        try:
            give_up = time.monotonic() + 30
            seen = SQL("SELECT FROM {}.workers").format(Identifier(schema))
            while not (connection.execute(MADE, [schema]).fetchall() and connection.execute(seen).fetchall()):
                assert time.monotonic() < give_up, (tmp_path / "log").read_text()
                await asyncio.sleep(0.001)
            for _ in range(300 if long else 20):
                os.kill(worker.pid, signal.SIGSTOP)
                give_up = time.monotonic() + RELEASED_WITHIN
                while connection.execute(LOCKED).fetchall():
                    assert time.monotonic() < give_up, "a stopped worker keeps the lock"
                    await asyncio.sleep(0.01)
                os.kill(worker.pid, signal.SIGCONT)
                await asyncio.sleep(random.uniform(0.005, 0.05))
            assert worker.poll() is None, (tmp_path / "log").read_text()
        finally:
            worker.kill()
            worker.wait()
