"""The database servers that contenders use: one of each for a whole run, on the core that sends the load."""

import os
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path

from benchmark.load import Cores


@contextmanager
def databases(contenders: Sequence[str], scratch: Path, cores: Cores) -> Iterator[dict[str, str]]:
    """Start what these contenders need; yields the environment that tells them where it is."""
    urls: dict[str, str] = {}
    own = os.sched_getaffinity(0)
    with ExitStack() as stack:
        if cores.wrk is not None:
            os.sched_setaffinity(0, {cores.wrk})  # inherited
            stack.callback(os.sched_setaffinity, 0, own)
        if {"postgres", "floor-postgres", "handwritten-asyncpg"} & set(contenders):
            from servers.postgres import PostgresServer  # noqa: PLC0415 - not all contenders need it

            # Not in the scratch folder: as root the server runs as somebody who may not enter that.
            postgres = PostgresServer(Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="bench-postgres-"))))
            postgres.start()
            stack.callback(postgres.stop)
            urls["BENCH_POSTGRES"] = postgres.url
        if {"redis", "floor-redis", "handwritten-redis"} & set(contenders):
            from servers.redis import RedisServer  # noqa: PLC0415 - likewise

            redis = RedisServer(scratch / "redis", appendonly="yes")
            redis.start()
            stack.callback(redis.stop)
            urls["BENCH_REDIS"] = redis.url
        yield urls
