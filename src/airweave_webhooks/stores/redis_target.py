"""Where a Redis store connects to: what a URL, or the user's own client, says."""

from typing import Any, Final, NamedTuple
from urllib.parse import urlsplit

import redis
import redis.asyncio
from redis.asyncio.connection import Connection, SSLConnection, parse_url

from airweave_webhooks.errors import ConfigurationError

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
        """The same, found out to be a node of a cluster."""
        options = {name: value for name, value in self.options.items() if name not in {"host", "port", "db"}}
        node = self.options.get("host", "localhost"), int(self.options.get("port", 6379))
        return self._replace(options=options, nodes=(node,))


def target_of(source: Any) -> Target:
    """Read a URL, or the settings of the user's own client.

    Raises:
        ConfigurationError: it is neither, or cannot be used; the message says what to do.
    """
    nodes: tuple[tuple[str, int], ...] = ()
    settings: dict[str, Any]
    connection_class: Any = None
    if isinstance(source, str):
        settings = _from_url(source)
    elif isinstance(source, redis.asyncio.RedisCluster):
        settings = source.get_connection_kwargs()
        nodes = tuple((node.host, int(node.port)) for node in source.nodes_manager.startup_nodes.values())
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
    connection_class = connection_class or settings.get("connection_class") or Connection
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
