"""What opening a Redis store refuses, and what it warns of: one sentence each, and never a password."""

import logging
import os
import subprocess
import sys
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import redis.asyncio
from redis import exceptions

from airweave_webhooks import RedisStore
from airweave_webhooks.errors import ConfigurationError, StoreBusy, StoreUnavailable
from airweave_webhooks.stores import store_from_url
from airweave_webhooks.stores.redis_opening import explain
from airweave_webhooks.testing.contracts import a_claim, opened
from servers.redis import RedisServer

pytestmark = pytest.mark.anyio

MakeServer = Callable[..., RedisServer]
PASSWORD = "geheim-7f/&?"
QUOTED = "geheim-7f%2F%26%3F"


async def refusal(target: Any, expected: type[Exception] = ConfigurationError, **options: Any) -> str:
    """Open, and give the sentence; neither it nor the traceback holds the password."""
    with pytest.raises(expected) as caught:
        await RedisStore(target, **options).open()
    everything = "".join(traceback.format_exception(caught.value)) + repr(caught.value)
    assert PASSWORD not in everything
    assert QUOTED not in everything
    sentence = str(caught.value)
    assert "\n" not in sentence
    return sentence


@pytest.mark.parametrize(
    "url",
    [
        "redis:",
        "redis://",
        "redis:localhost",
        f"redis://user:{PASSWORD}@127.0.0.1/0",
        f"redis://:{QUOTED}@127.0.0.1:99999/0",
        f"redis://:{QUOTED}@127.0.0.1:x/0",
        f"redis://:{QUOTED}@127.0.0.1/database",
        f"redis://:{QUOTED}@127.0.0.1/0?db=x",
        f"redis://:{QUOTED}@127.0.0.1/0?colour=red",
        f"rediss://:{QUOTED}@127.0.0.1/0?ssl_cert_reqs=perhaps",
        f"redis://:{QUOTED}@[::1/0",
        "unix://",
        "http://127.0.0.1:6379",
    ],
)
async def test_a_wrong_url(url: str) -> None:
    """Its remedy is an example, or the name of what is wrong."""
    sentence = await refusal(url)
    assert "redis://" in sentence or "rediss://" in sentence


async def test_the_password_stays_secret(redis_server: RedisServer, prefix: str) -> None:
    """It is in no representation, wherever the URL has it."""
    for url in (f"redis://user:{QUOTED}@h:1/2", f"redis://h:1/2?password={QUOTED}", f"unix:///s?password={QUOTED}"):
        store = store_from_url(url)
        assert isinstance(store, RedisStore)
        assert repr(store) in {
            "RedisStore('redis://h:1/2', prefix='airweave-webhooks')",
            "RedisStore('unix:///s', prefix='airweave-webhooks')",
        }


def test_stores_in_one_place_are_equal() -> None:
    """So that two receivers of one name are not opened on it."""
    store = RedisStore("redis://u:p@h:1/2")
    assert {store} == {RedisStore("redis://h:1/2")}
    assert store != RedisStore("redis://h:1/3")
    assert store != RedisStore("redis://h:1/2", prefix="other")


@pytest.mark.parametrize(
    "options", [{"prefix": "a{b}"}, {"prefix": ""}, {"prefix": "a b*"}, {"partitions": 0}, {"partitions": 2000}]
)
async def test_wrong_options(options: dict[str, Any]) -> None:
    """Braces would put everything on one node; an asterisk would be a pattern in an ACL."""
    assert "takes" in await refusal("redis://127.0.0.1:1/0", **options)


async def test_clients_of_other_kinds() -> None:
    """Sync ones, and others."""
    assert "redis.asyncio.Redis" in await refusal(redis.Redis())
    assert "redis.asyncio.Redis" in await refusal(None)
    sentinel = redis.asyncio.Sentinel([("127.0.0.1", 1)])  # type: ignore[no-untyped-call]
    assert "Sentinel" in await refusal(sentinel.master_for("primary"))


def test_without_the_driver(tmp_path: Path) -> None:
    """The error names the extra to install."""
    (tmp_path / "redis.py").write_text("raise ModuleNotFoundError(name='redis')")
    program = "from airweave_webhooks import RedisStore; RedisStore('redis://127.0.0.1')"
    done = subprocess.run(
        [sys.executable, "-c", program],
        env={**os.environ, "PYTHONPATH": str(tmp_path)},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.stderr.splitlines()[-1].endswith("pip install 'airweave-webhooks[redis]'")


async def test_nobody_there() -> None:
    """A server that is away is no wrong configuration: it may come."""
    assert "Connect" in await refusal("redis://127.0.0.1:1/0", StoreUnavailable)


async def test_logins(make_server: MakeServer, prefix: str) -> None:
    """No password, a wrong one, and the right one."""
    server = make_server(requirepass=PASSWORD)
    right = server.url.replace("://", f"://:{QUOTED}@")
    for url in (server.url, server.url.replace("://", "://:falsch@"), right.replace("://:", "://nobody:")):
        assert "check the user and the password" in await refusal(url)
    async with opened(lambda: RedisStore(right, prefix=prefix)) as store:
        assert PASSWORD not in repr(store)


async def test_a_user_with_just_enough(make_server: MakeServer, prefix: str) -> None:
    """What the sentence says to grant is enough; less is refused with it, and before a delivery comes."""
    server = make_server(appendonly="yes", appendfsync="always")
    url = server.url.replace("://", "://webhooks:x@")
    base = ["ACL", "SETUSER", "webhooks", "reset", "on", ">x"]
    server.order(*base, "~*", "+@all", "-evalsha")
    sentence = await refusal(url, prefix=prefix)
    granted = sentence.partition("grant it ")[2].split()
    assert "+@scripting" in granted
    server.order(*base, *granted)
    async with opened(lambda: RedisStore(url, prefix=prefix)) as store:
        assert (await store.claim([a_claim()]))[0].verdict == "claimed"
        await store.purge(done_for=1, abandoned_for=1, most=1)
    for less in ("-hset", "-zadd", "-pexpire", "-unlink", "-time", "-zrangebyscore", "-eval", "-set"):
        server.order(*base, *granted, less)
        server.order("SCRIPT", "FLUSH")
        assert "grant it" in await refusal(url, prefix=prefix), less
    assert "grant it" in await refusal(url, prefix="other")


async def test_what_may_not_be_looked_at(
    make_server: MakeServer, prefix: str, caplog: pytest.LogCaptureFixture
) -> None:
    """Without INFO or CONFIG GET the store works, and says what it could not check."""
    server = make_server(appendonly="yes", appendfsync="always")
    url = server.url.replace("://", "://webhooks:x@")
    for less in ("-config", "-info"):
        server.order("ACL", "SETUSER", "webhooks", "reset", "on", ">x", "~*", "+@all", less)
        caplog.clear()
        async with opened(lambda: RedisStore(url, prefix=prefix)) as store:
            assert (await store.claim([a_claim(less)]))[0].verdict == "claimed"
        (message,) = caplog.messages
        assert "could not be checked" in message


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        ({"appendonly": "yes", "appendfsync": "always"}, []),
        ({"appendonly": "yes", "appendfsync": "everysec"}, ["up to two seconds"]),
        ({"appendonly": "yes", "appendfsync": "no"}, ["up to half a minute"]),
        ({"save": "60 1"}, ["since its last snapshot"]),
        ({}, ["forgets every record"]),
        ({"maxmemory": "100mb", "maxmemory-policy": "noeviction"}, ["forgets every record"]),
        ({"maxmemory": "100mb", "maxmemory-policy": "allkeys-lru"}, ["may evict any record", "forgets"]),
        ({"maxmemory": "100mb", "maxmemory-policy": "volatile-ttl"}, ["may evict finished records", "forgets"]),
    ],
    ids=str,
)
async def test_what_would_be_lost(
    make_server: MakeServer,
    prefix: str,
    caplog: pytest.LogCaptureFixture,
    settings: dict[str, str],
    expected: list[str],
) -> None:
    """One sentence for each way in which the server can forget what is done."""
    caplog.set_level(logging.WARNING, "airweave_webhooks")
    server = make_server(**settings)
    async with opened(lambda: RedisStore(server.url, prefix=prefix)):
        pass
    assert len(caplog.messages) == len(expected)
    for message, part in zip(caplog.messages, expected, strict=True):
        assert part in message
        assert "a resend is processed twice" in message


async def test_a_replica(make_server: MakeServer, prefix: str) -> None:
    """It takes no writes; the sentence names its primary."""
    primary = make_server()
    replica = make_server(replicaof=f"127.0.0.1 {primary.port}")
    assert f"127.0.0.1:{primary.port}" in await refusal(replica.url, prefix=prefix)
    # Also where INFO is forbidden.
    replica.order("ACL", "SETUSER", "webhooks", "reset", "on", ">x", "~*", "+@all", "-info")
    assert "replica" in await refusal(replica.url.replace("://", "://webhooks:x@"), prefix=prefix)


async def test_a_primary_that_becomes_a_replica(make_server: MakeServer, prefix: str) -> None:
    """It is not written to, and used again when it is a primary again."""
    server = make_server()
    async with opened(lambda: RedisStore(server.url, prefix=prefix)) as store:
        server.order("REPLICAOF", "127.0.0.1", "1")
        with pytest.raises(StoreUnavailable, match="read only"):
            await store.claim([a_claim()])
        server.order("REPLICAOF", "NO", "ONE")
        assert (await store.claim([a_claim()]))[0].verdict == "claimed"


async def test_the_number_of_partitions_stays(redis_url: str, prefix: str) -> None:
    """Another number would look for the records in the wrong places; without one, the first is kept."""
    async with opened(lambda: RedisStore(redis_url, prefix=prefix, partitions=5)) as store:
        await store.claim([a_claim(f"msg_{number}") for number in range(50)])
    assert "partitions=5" in await refusal(redis_url, prefix=prefix, partitions=6)
    async with opened(lambda: RedisStore(redis_url, prefix=prefix)) as store:
        found = await store.get([a_claim(f"msg_{number}").key for number in range(50)])
        assert all(found)


async def test_records_of_a_newer_version(redis_server: RedisServer, prefix: str) -> None:
    """They are not touched."""
    redis_server.order("SET", f"{prefix}:layout", "2/16/…")
    assert "upgrade the package" in await refusal(redis_server.url, prefix=prefix)


@pytest.mark.parametrize("error", [exceptions.TryAgainError("x"), exceptions.ClusterError("TTL exhausted.")])
def test_a_slot_that_is_being_moved_is_tried_again(error: Exception) -> None:
    """At once, by who gathers the calls: the sender need not come again."""
    assert isinstance(explain(error, "redis://here", "p"), StoreBusy)
