"""Where `dev` and `capture` listen, and with which secret."""

import base64
import errno
import os
import secrets
import socket
from typing import Annotated, Final, TypeAlias

import typer

from airweave_webhooks.cli.destinations import same_place
from airweave_webhooks.cli.local import known_servers
from airweave_webhooks.cli.settings import Settings
from airweave_webhooks.errors import ConfigurationError

HIGHEST_PORT: Final = 65_535
WAITING_CONNECTIONS: Final = 512
"""That the system keeps until the program takes them, such as while it is started anew."""

Host: TypeAlias = Annotated[
    str | None, typer.Option(metavar="ADDRESS", help="Where to listen; 127.0.0.1 by default.", show_default=False)
]
Port: TypeAlias = Annotated[
    int | None,
    typer.Option(
        min=0, max=HIGHEST_PORT, metavar="N", help="Likewise; 8000 by default, 0 for any free one.", show_default=False
    ),
]


def fresh_secret() -> str:
    """Make a secret that nobody else has: 32 random bytes."""
    return f"whsec_{base64.b64encode(secrets.token_bytes(32)).decode()}"


def listen(settings: Settings, host: str | None, port: int | None) -> socket.socket:
    """Take an address, before anything else is done.

    Args:
        settings: what holds where the other two are None.
        host: an address of this machine, or a name of one.
        port: 0 for any that is free.

    Raises:
        ConfigurationError: it cannot be had; says why, and what to do.
    """
    host = host or settings.get("host") or ""
    port = port_of(settings) if port is None else port
    try:
        family, *_, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)[0]
        return socket.create_server((str(address[0]), port), family=family, backlog=WAITING_CONNECTIONS)
    except UnicodeError:
        raise ConfigurationError(f"{host!r} is no name of a host") from None
    except socket.gaierror as error:
        raise ConfigurationError(f"--host {host!r} is unknown: {error.strerror}") from None
    except OSError as error:
        raise ConfigurationError(_why(error, host, port)) from None


def url_of(listener: socket.socket) -> str:
    """Where the programs of this machine reach what listens."""
    host, port = listener.getsockname()[:2]
    if host in {"0.0.0.0", "::"}:  # noqa: S104 - it is told apart, not taken
        host = {"::": "::1"}.get(host, "127.0.0.1")
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


def port_of(settings: Settings) -> int:
    """The port that is set.

    Raises:
        ConfigurationError: it is none.
    """
    setting = settings.values["port"]
    if not setting.value.isascii() or not setting.value.isdigit() or int(setting.value) > HIGHEST_PORT:
        raise ConfigurationError(f"{setting.source}: port takes a number up to {HIGHEST_PORT}, not {setting.value!r}")
    return int(setting.value)


def _why(error: OSError, host: str, port: int) -> str:
    where = f"{host} port {port}"
    match error.errno:
        case errno.EADDRINUSE:
            holders = [server for server in known_servers() if same_place(server.url, f"http://{host}:{port}")]
            by = f" by another airweave-webhooks, process {holders[0].pid}" if holders else ""
            return f"{where} is in use{by}: end what listens there, or take --port {port % HIGHEST_PORT + 1}"
        case errno.EACCES:
            return f"{where} is not yours to take: ports below 1024 are the system's; take --port 8000"
        case errno.EADDRNOTAVAIL:
            return f"{where} cannot be had: {host} is no address of this machine; take --host 127.0.0.1"
        case _:
            return f"{where} cannot be had: {error.strerror or os.strerror(error.errno or 0)}"
