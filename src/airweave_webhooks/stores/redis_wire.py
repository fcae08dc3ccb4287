"""Commands on their way to Redis: many in one round trip, on connections of our own.

The driver is imported here, so this module is imported when a Redis store is made, and not before. Its connections do
the protocol, the login and TLS; its client for clusters knows who serves which key, and follows when that changes.
What its clients do beyond that for every command costs more than the command, and is left out.
"""

import asyncio
import contextlib
import inspect
import os
from collections.abc import Sequence
from functools import partial
from typing import Any, Final, NamedTuple, Protocol, TypeAlias
from urllib.parse import urlsplit

import redis
import redis.asyncio
from redis.asyncio.cluster import ClusterNode
from redis.asyncio.connection import Connection, SSLConnection, parse_url

from airweave_webhooks.errors import ConfigurationError
from airweave_webhooks.stores.redis_records import Value

try:  # redis-py uses it for replies only
    from hiredis import pack_command
except ImportError:
    pack_command = None

# Seconds for one exchange, connecting included, unless the target has a `socket_timeout`.
PATIENCE: Final = 5.0
# What a target's connections are made with, but ours are not: it belongs to its pool, or is ours to decide.
NOT_TAKEN: Final = frozenset(
    """
    connection_class connection_pool decode_responses encoding encoding_errors encoder_class event_dispatcher
    health_check_interval himport_registry max_connections parser_class response_callbacks retry retry_on_error
    retry_on_timeout socket_timeout legacy_responses maint_notifications_config maint_notifications_pool_handler
    maintenance_state maintenance_notification_hash orig_host_address orig_socket_timeout orig_socket_connect_timeout
    oss_cluster_maint_notifications_handler
    """.split()  # noqa: SIM905 - a list of thirty strings would be a page
)


class Call(NamedTuple):
    """A command, and the key that says which node of a cluster it is for."""

    key: bytes
    command: tuple[Value, ...]


Reply: TypeAlias = Any  # what the command gives, or the `redis.ResponseError` that it failed with


class Target(NamedTuple):
    """How to connect."""

    connection_class: type[Any]
    options: dict[str, Any]
    nodes: tuple[tuple[str, int], ...]
    """Where to ask for the nodes of a cluster; empty where it is none."""
    patience: float

    @property
    def address(self) -> str:
        """Where it is, without a user or a password."""
        if "path" in self.options:
            return f"unix://{self.options['path']}"
        scheme = "rediss" if issubclass(self.connection_class, SSLConnection) else "redis"
        nodes = self.nodes or ((self.options.get("host", "localhost"), self.options.get("port", 6379)),)
        database = "" if self.nodes else f"/{self.options.get('db') or 0}"
        return f"{scheme}://{','.join(f'{host}:{port}' for host, port in nodes)}{database}"

    def as_cluster(self) -> "Target":
        """The same, found out to be a node of a cluster.

        Raises:
            ConfigurationError: a cluster has one database.
        """
        if int(self.options.get("db") or 0) != 0:
            raise ConfigurationError(f"{self.address} is a cluster, which has only the database 0: end the URL with /0")
        options = {name: value for name, value in self.options.items() if name not in {"host", "port", "db"}}
        node = self.options.get("host", "localhost"), int(self.options.get("port", 6379))
        return self._replace(options=options, nodes=(node,))


def target_of(source: Any) -> Target:
    """Read a URL, or the settings of the user's own client.

    Raises:
        ConfigurationError: it is neither, or cannot be used; the message says what to do.
    """
    nodes: tuple[tuple[str, int], ...] = ()
    if isinstance(source, str):
        settings = _from_url(source)
        connection_class = settings.get("connection_class", Connection)
    elif isinstance(source, redis.asyncio.RedisCluster):
        settings = source.get_connection_kwargs()
        connection_class = settings.get("connection_class", Connection)
        nodes = tuple((node.host, int(node.port)) for node in source.startup_nodes)
    elif isinstance(source, redis.asyncio.Redis):
        settings, connection_class = source.connection_pool.connection_kwargs, source.connection_pool.connection_class
        if "connection_pool" in settings or hasattr(source.connection_pool, "sentinel_manager"):
            raise ConfigurationError(
                "RedisStore does not work with a client of Sentinel: give it a URL or client that always leads to the"
                " primary, or use Redis Cluster"
            )
    else:
        raise ConfigurationError(
            f"RedisStore({type(source).__name__}): takes a URL, a redis.asyncio.Redis or a redis.asyncio.RedisCluster"
        )
    options = {name: value for name, value in settings.items() if name not in NOT_TAKEN and value is not None}
    target = Target(connection_class, options, nodes, float(settings.get("socket_timeout") or PATIENCE))
    try:
        connection_class(**options)
    except (TypeError, ValueError, redis.RedisError):
        # What the error says may hold a part of the password.
        raise ConfigurationError(
            f"{target.address}: the options behind the question mark are not all options of redis-py's connections"
        ) from None
    return target


def _from_url(url: str) -> dict[str, Any]:
    try:
        parts = urlsplit(url)
        settings: dict[str, Any] = dict(parse_url(url))
        usable = (parts.scheme == "unix" and bool(settings.get("path"))) or bool(parts.hostname)
        # redis-py takes a path that is no number for the database 0.
        usable = usable and (parts.scheme == "unix" or parts.path in {"", "/"} or parts.path[1:].isdecimal())
    except ValueError:
        usable, settings = False, {}
    if not usable:
        raise ConfigurationError(
            "a Redis store is written redis://user:password@host:6379/0, rediss://… for TLS, or unix:///path/to/socket,"
            " with %-encoded user and password"
        )
    return settings


class Wire(Protocol):
    """A way to Redis, on one event loop."""

    async def send(self, calls: Sequence[Call]) -> list[Reply]:
        """Send each, at the same time; an error of one is its reply.

        Raises:
            redis.RedisError, OSError: there is no connection, or no answer in time.
        """
        ...

    async def everywhere(self, *command: str) -> list[Reply]:
        """Ask every primary."""
        ...

    async def close(self) -> None:
        """Wait for what is under way, and disconnect."""
        ...

    def connections(self) -> list[Any]:
        """Every connection that may be open."""
        ...


class Server:
    """One server. A connection serves one exchange at a time, and is kept for the next.

    Args:
        target: how to connect.
        place: host and port, where the target does not say it.
    """

    def __init__(self, target: Target, **place: Any) -> None:
        # Without a time limit for each read: there is one for the exchange.
        self._make = partial(target.connection_class, **target.options, **place, socket_timeout=None)
        self._patience = target.patience
        self._all: set[Any] = set()
        self._idle: list[Any] = []
        self._closing = False
        self._quiet = asyncio.Event()

    async def send(self, calls: Sequence[Call]) -> list[Reply]:
        """Send each."""
        try:
            async with asyncio.timeout(self._patience):
                return await self._send(calls)
        except TimeoutError:
            raise redis.TimeoutError(f"no answer within {self._patience:g} s") from None

    async def everywhere(self, *command: str) -> list[Reply]:
        """Ask it."""
        return await self.send([Call(b"", command)])

    async def _send(self, calls: Sequence[Call]) -> list[Reply]:
        while True:
            connection = self._idle.pop() if self._idle else self._make()
            was_connected = connection.is_connected
            self._all.add(connection)
            try:
                replies = await _exchange(connection, calls)
            except redis.ConnectionError:
                await self._drop(connection)
                if not was_connected:
                    raise
                # It was cut while it was idle, as the others may have been: a new one decides.
            except BaseException:
                await self._drop(connection)
                raise
            else:
                if self._closing or any(isinstance(reply, redis.ReadOnlyError) for reply in replies):
                    await self._drop(connection)  # a replica: the primary may be elsewhere now
                else:
                    self._idle.append(connection)
                    self._tell_if_quiet()
                return replies

    async def _drop(self, connection: Any) -> None:
        with contextlib.suppress(redis.RedisError, OSError):
            await connection.disconnect(nowait=True)
        self._all.discard(connection)
        self._tell_if_quiet()

    def _tell_if_quiet(self) -> None:
        if self._closing and len(self._all) == len(self._idle):
            self._quiet.set()

    async def close(self) -> None:
        """Wait for what is under way, and disconnect."""
        self._closing = True
        self._tell_if_quiet()
        await self._quiet.wait()  # not for longer than the patience of an exchange
        while self._idle:
            connection = self._idle.pop()
            self._all.discard(connection)
            with contextlib.suppress(redis.RedisError, OSError):
                await connection.disconnect()

    def connections(self) -> list[Any]:
        """Every connection that may be open."""
        return list(self._all)


async def _exchange(connection: Any, calls: Sequence[Call]) -> list[Reply]:
    await connection.connect()
    if pack_command is None:
        packed = [part for call in calls for part in connection.pack_command(*call.command)]
    else:
        packed = [pack_command(call.command) for call in calls]
    await connection.send_packed_command(packed)
    replies: list[Reply] = []
    for _ in calls:
        try:
            replies.append(await connection.read_response())
        except redis.ResponseError as error:  # this one only: the next reply is behind it
            replies.append(error)
    return replies


class Cluster:
    """A Redis Cluster: what is for one node goes there in one piece, to all nodes at the same time.

    What a node refuses because its keys have moved, and what a lost node leaves, goes through redis-py's client.
    """

    def __init__(self, target: Target) -> None:
        self._target = target
        self._servers: dict[str, Server] = {}
        known = inspect.signature(redis.asyncio.RedisCluster).parameters
        self._client: Any = redis.asyncio.RedisCluster(
            startup_nodes=[ClusterNode(host, port) for host, port in target.nodes],
            socket_timeout=target.patience,
            ssl=issubclass(target.connection_class, SSLConnection),
            **{name: value for name, value in target.options.items() if name in known},
        )
        # One at a time: redis-py may send ASKING on another connection than the command that it is for.
        self._following = asyncio.Lock()

    async def send(self, calls: Sequence[Call]) -> list[Reply]:
        """Send each to the node that serves its key."""
        replies: list[Reply] = [None] * len(calls)
        left: list[int] = []
        await self._know_nodes()
        by_node: dict[Server, list[int]] = {}
        for position, call in enumerate(calls):
            by_node.setdefault(self._server(self._client.get_node_from_key(call.key)), []).append(position)

        async def one_node(server: Server, positions: list[int]) -> None:
            try:
                found = await server.send([calls[position] for position in positions])
            except redis.ConnectionError:
                left.extend(positions)
                return
            for position, reply in zip(positions, found, strict=True):
                replies[position] = reply
                if isinstance(reply, redis.exceptions.AskError | redis.exceptions.ClusterDownError):
                    left.append(position)

        await asyncio.gather(*(one_node(server, positions) for server, positions in by_node.items()))
        for position in left:
            replies[position] = await self._follow(calls[position])
        return replies

    async def _follow(self, call: Call) -> Reply:
        try:
            async with asyncio.timeout(self._target.patience), self._following:
                return await self._client.execute_command(*call.command)
        except redis.ResponseError as error:
            return error
        except TimeoutError:
            raise redis.TimeoutError(f"the cluster did not serve a key within {self._target.patience:g} s") from None

    async def _know_nodes(self) -> None:
        try:
            async with asyncio.timeout(self._target.patience):
                await self._client.initialize()
        except TimeoutError:
            raise redis.TimeoutError(f"no answer within {self._target.patience:g} s") from None

    def _server(self, node: Any) -> Server:
        if node.name not in self._servers:
            self._servers[node.name] = Server(self._target, host=node.host, port=node.port)
        return self._servers[node.name]

    async def everywhere(self, *command: str) -> list[Reply]:
        """Ask every primary."""
        await self._know_nodes()
        servers = [self._server(node) for node in self._client.get_primaries()]
        found = await asyncio.gather(*(server.everywhere(*command) for server in servers))
        return [reply for replies in found for reply in replies]

    async def close(self) -> None:
        """Wait for what is under way, and disconnect."""
        for server in self._servers.values():
            await server.close()
        async with self._following:
            await self._client.aclose()
            # The client believes itself closed after an error, and is not.
            for nodes in ("nodes_cache", "startup_nodes"):
                await self._client.nodes_manager.aclose(nodes)

    def connections(self) -> list[Any]:
        """Every connection that may be open."""
        own = [connection for server in self._servers.values() for connection in server.connections()]
        nodes = [*self._client.get_nodes(), *self._client.startup_nodes]
        return own + [connection for node in nodes for connection in getattr(node, "_connections", ())]


def sever(connections: Sequence[Any]) -> None:
    """Cut this process off from sockets that it shares with the process it was forked from.

    Closing them is not enough: TLS says goodbye on closing, and an event loop takes a socket that it closes off the
    kernel's list of events, which both processes share. So their numbers get to mean /dev/null.
    """
    nowhere = os.open(os.devnull, os.O_RDWR)
    try:
        for connection in connections:
            writer = getattr(connection, "_writer", None)
            socket = None if writer is None else writer.get_extra_info("socket")
            if socket is not None and socket.fileno() >= 0:
                os.dup2(nowhere, socket.fileno(), inheritable=False)
    finally:
        os.close(nowhere)
