"""Commands on their way to Redis: many in one round trip, on connections of our own.

The driver is imported here, so this module is imported when a Redis store is made, and not before. Its connections do
the protocol, the login and TLS; its client for clusters knows who serves which key, and follows when that changes.
What its clients do beyond that for every command costs more than the command, and is left out.
"""

import asyncio
import contextlib
import importlib
import inspect
import os
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, NamedTuple, Protocol, TypeAlias, cast

import redis
import redis.asyncio
from redis import exceptions
from redis.asyncio.cluster import ClusterNode
from redis.asyncio.connection import SSLConnection

from airweave_webhooks.stores.redis_records import Value
from airweave_webhooks.stores.redis_target import Target

pack_command: Callable[[Any], bytes] | None
try:
    # redis-py's asynchronous connections use it for replies only. What it exports has no complete types.
    pack_command = importlib.import_module("hiredis").pack_command
except ImportError:
    pack_command = None


class Call(NamedTuple):
    """A command, and the key that says which node of a cluster it is for."""

    key: bytes
    command: tuple[Value, ...]


Reply: TypeAlias = Any  # what the command gives, or the `redis.ResponseError` that it failed with


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
        # Without a time limit for connecting (which redis-py has by itself) and for each read: there is one for the
        # exchange.
        options = {"socket_connect_timeout": None, **target.options, **place, "socket_timeout": None}
        self._make: Callable[[], Any] = partial(cast("Callable[..., Any]", target.connection_class), **options)
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
                if self._closing or any(map(is_read_only, replies)):
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


def is_read_only(reply: Reply) -> bool:
    """Whether a replica has refused to write. Redis 6 wraps what a script ran into."""
    return isinstance(reply, redis.ReadOnlyError) or (
        isinstance(reply, redis.ResponseError) and "-READONLY " in str(reply)
    )


class Cluster:
    """A Redis Cluster: what is for one node goes there in one piece, to all nodes at the same time.

    What a node refuses because its keys have moved, and what a lost node leaves, goes through redis-py's client.
    """

    def __init__(self, target: Target) -> None:
        self._target = target
        self._servers: dict[str, Server] = {}
        known = inspect.signature(redis.asyncio.RedisCluster).parameters
        options: dict[str, Any] = {"socket_connect_timeout": target.patience}
        options |= {name: value for name, value in target.options.items() if name in known}
        self._client: Any = redis.asyncio.RedisCluster(
            startup_nodes=[ClusterNode(host, port) for host, port in target.nodes],
            socket_timeout=target.patience,
            ssl=issubclass(target.connection_class, SSLConnection),
            **options,
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
                if isinstance(reply, exceptions.AskError | exceptions.ClusterDownError):
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
        nodes = [*self._client.get_nodes(), *self._client.nodes_manager.startup_nodes.values()]
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
