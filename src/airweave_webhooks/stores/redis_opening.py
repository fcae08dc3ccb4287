"""What is looked at when a Redis store opens, and what its errors mean to whoever runs it."""

from typing import Any, Final

import redis
from redis import exceptions

from airweave_webhooks.errors import ConfigurationError, StoreBusy, StoreDataError, StoreUnavailable, WebhookError
from airweave_webhooks.stores.redis_wire import Call, Wire, is_read_only
from airweave_webhooks.telemetry import logger

# Scripts may write after they asked for the time since Redis 5, HELLO and users came with 6.0; this is what is tested.
OLDEST: Final = (6, 2)
# What the store, and redis-py under it, use.
PERMISSIONS: Final = (
    "~{prefix}:* +@scripting +@hash +@sortedset +@string +@keyspace +@connection +time +info +config|get"
)
CLUSTER_PERMISSIONS: Final = " +cluster +command"


def explain(error: Exception, address: str, prefix: str, *, opening: bool = False) -> WebhookError:
    """Say what an error of the driver means.

    Args:
        error: what was raised.
        address: of the server, for people.
        prefix: of the keys, likewise.
        opening: whether nothing has worked yet.
    """
    if isinstance(error, WebhookError):
        return error
    text = " ".join(str(error).split())
    remedy = _remedy(error, text, address, prefix) or (_remedy_at_first(error, text, address) if opening else "")
    if remedy:
        return ConfigurationError(remedy)
    if isinstance(error, redis.DataError | TypeError | ValueError | OverflowError):
        return StoreDataError(f"Redis cannot store this record: {text}")
    # The last is redis-py's, when a slot that is being moved asked it to try again until it was tired of it.
    if isinstance(error, exceptions.TryAgainError) or text.startswith(("BUSY ", "TTL exhausted")):
        return StoreBusy(f"{address}: {text}")
    if isinstance(error, exceptions.OutOfMemoryError) or "-OOM " in text:  # the latter from a script in Redis 6
        return StoreUnavailable(f"{address} is full (maxmemory): {text}")
    return StoreUnavailable(f"{address}: {type(error).__name__}: {text}")


def _remedy(error: Exception, text: str, address: str, prefix: str) -> str:
    """What to do about an error that will not go away by itself."""
    in_script = "can't run this command" in text or "ACL failure in script" in text
    if in_script or isinstance(error, exceptions.NoPermissionError):
        needed = PERMISSIONS.format(prefix=prefix) + CLUSTER_PERMISSIONS
        return f"the user of {address} lacks a permission ({text}): grant it {needed}"
    if isinstance(error, redis.AuthenticationError | exceptions.AuthenticationWrongNumberOfArgsError):
        return f"{address} refused the login: check the user and the password, and that both are set"
    if "CERTIFICATE_VERIFY_FAILED" in text:
        return f"the certificate of {address} is not trusted: name its authority with ?ssl_ca_certs=/path/to/ca.pem"
    if address.startswith("rediss:") and "No such file" in text:
        return f"{address}: a file that is named behind the question mark, or in the client, does not exist"
    if "DB index is out of range" in text or "SELECT is not allowed in cluster mode" in text:
        return f"{address}: the server has no database of this number, end the URL with /0"
    return ""


def _remedy_at_first(error: Exception, text: str, address: str) -> str:
    """What to do about an error that, later on, could come from a server that is being restarted."""
    if is_read_only(error):
        return f"{address} is a replica, which takes no writes: name its primary"
    if address.startswith("rediss:") and (isinstance(error, redis.TimeoutError) or "[SSL" in text):
        return f"{address} did not answer in TLS ({text}): write redis:// if it does not speak it"
    cut = isinstance(error, redis.ConnectionError) and ("closed by server" in text or "while reading" in text)
    if address.startswith("redis:") and (cut or isinstance(error, redis.InvalidResponse)):
        return f"{address} cut the connection at the first command: write rediss:// if it expects TLS"
    return ""


async def is_cluster(wire: Wire) -> bool:
    """Whether the server is a node of a cluster."""
    facts = await _facts(wire)
    return facts is not None and facts[0].get("cluster_enabled") == "1"


async def check_servers(wire: Wire, address: str) -> None:
    """Refuse servers that cannot be used, and warn of those that forget.

    Raises:
        ConfigurationError: saying what to do.
    """
    facts = await _facts(wire)
    if facts is None:
        logger.warning(
            "%s: this user may not run INFO, so it could not be checked whether the server evicts records or loses them"
            " in a crash; grant it +info and +config|get",
            address,
        )
        return
    for server in facts:
        version = server.get("redis_version", "0")
        if tuple(int(part) for part in version.split(".")[:2]) < OLDEST:
            oldest = ".".join(map(str, OLDEST))
            raise ConfigurationError(f"{address} is Redis {version}: upgrade it to {oldest} or later, or to Valkey")
        if server.get("role", "master") != "master":
            raise ConfigurationError(
                f"{address} is a replica, which takes no writes: name its primary"
                f" {server.get('master_host')}:{server.get('master_port')}"
            )
    settings = await _settings(wire)
    for sentence in dict.fromkeys(
        sentence
        for server, config in zip(facts, settings, strict=True)
        for sentence in (_eviction(server), _crash(server, config))
        if sentence
    ):
        logger.warning("%s %s", address, sentence)


def _eviction(server: dict[str, str]) -> str:
    policy = server.get("maxmemory_policy", "noeviction")
    if policy == "noeviction" or server.get("maxmemory", "0") == "0":
        return ""
    lost = "finished records" if policy.startswith("volatile") else "any record"
    return (
        f"may evict {lost} when its memory is full (maxmemory-policy {policy}), and then a resend is processed twice:"
        " set maxmemory-policy noeviction"
    )


def _crash(server: dict[str, str], config: dict[str, str] | None) -> str:
    if server.get("aof_enabled") == "1":
        if config is None:
            return (
                "may forget the last second or more in a crash, and then a resend is processed twice; it could not be"
                " checked, because this user may not run CONFIG GET: see that appendfsync is always"
            )
        fsync = config.get("appendfsync", "always")
        span = {"everysec": "up to two seconds", "no": "up to half a minute"}.get(fsync)
        if span is None:
            return ""
        return (
            f"may forget {span} of finished records in a power cut (appendfsync {fsync}), and then a resend is"
            " processed twice: set appendfsync always if that must not be"
        )
    if config is None:
        return (
            "has no append-only file, so a crash forgets what was finished since its last snapshot, if it makes any"
            " (this user may not run CONFIG GET), and a resend is processed twice: set appendonly yes"
        )
    lost = "what was finished since its last snapshot" if config.get("save") else "every record"
    return f"forgets {lost} in a crash (appendonly no), and then a resend is processed twice: set appendonly yes"


async def agree_on_partitions(wire: Wire, prefix: str, wanted: int | None, default: int) -> int:
    """Write down the number of partitions, or read the one that was.

    Raises:
        ConfigurationError: it is another one than wanted, or belongs to a newer version.
    """
    key = f"{prefix}:layout".encode()
    layout = b"1/%d" % (wanted or default)
    (written,) = await wire.send([Call(key, ("SET", key, layout, "NX"))])
    (found,) = await wire.send([Call(key, ("GET", key))])
    for reply in (written, found):
        if isinstance(reply, Exception):
            raise reply
    version, _, partitions = bytes(found).partition(b"/")
    if version != b"1" or not partitions.isdigit():
        raise ConfigurationError(
            f"the records under {prefix!r} were written by a newer version of airweave-webhooks: upgrade the package,"
            " or choose another prefix"
        )
    if wanted not in {None, int(partitions)}:
        raise ConfigurationError(
            f"the records under {prefix!r} are spread over {int(partitions)} partitions, not {wanted}:"
            f" use RedisStore(…, partitions={int(partitions)}), or another prefix"
        )
    return int(partitions)


async def _facts(wire: Wire) -> list[dict[str, str]] | None:
    """What INFO says of each primary, None if it is forbidden."""
    replies = await wire.everywhere("INFO")
    if any(isinstance(reply, exceptions.NoPermissionError) for reply in replies):
        return None
    for reply in replies:
        if isinstance(reply, Exception):
            raise reply
    lines = [_text(reply).splitlines() for reply in replies]
    return [dict(line.split(":", 1) for line in server if ":" in line) for server in lines]


async def _settings(wire: Wire) -> list[dict[str, str] | None]:
    """What CONFIG says of each primary about crashes, None where it is forbidden or unknown."""
    asked = [await wire.everywhere("CONFIG", "GET", name) for name in ("appendfsync", "save")]
    return [_pairs(*server) for server in zip(*asked, strict=True)]


def _pairs(*replies: Any) -> dict[str, str] | None:
    pairs: dict[str, str] = {}
    for reply in replies:
        if isinstance(reply, Exception):
            return None
        # A mapping in RESP 3, a flat list in RESP 2.
        flat: Any = [part for pair in reply.items() for part in pair] if hasattr(reply, "items") else reply
        pairs |= {_text(name): _text(value) for name, value in zip(flat[::2], flat[1::2], strict=True)}
    return pairs


def _text(reply: Any) -> str:
    return reply.decode() if isinstance(reply, bytes) else str(reply)
