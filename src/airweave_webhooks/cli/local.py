"""How `trigger` finds the secret of a `dev` in another terminal: a file that only the user can read, while it runs."""

import contextlib
import json
import os
import stat
import warnings
from collections.abc import Generator
from pathlib import Path
from typing import Final, NamedTuple
from urllib.parse import urlsplit

import platformdirs

from airweave_webhooks.cli.settings import Setting, Settings
from airweave_webhooks.errors import ConfigurationError, OperatorError
from airweave_webhooks.keyring import SECRET_VARIABLE

APP: Final = "airweave-webhooks"
LARGEST: Final = 64 * 1024
"""Characters of a file that announces a server; a larger one is none of ours."""
LARGEST_PID: Final = 2**31 - 1


class LocalServer(NamedTuple):
    """A `dev` or `capture` that runs on this machine."""

    pid: int
    url: str
    secret: str


@contextlib.contextmanager
def announced(url: str, secret: str) -> Generator[None]:
    """Let the user's other processes find this one's secret, inside the block.

    Raises:
        ConfigurationError: the folder for it is not the user's alone.
    """
    server = LocalServer(os.getpid(), url, secret)
    file = _folder() / f"{server.pid}.json"
    text = json.dumps(server._asdict())
    try:
        file.unlink(missing_ok=True)  # of a process that had our number
        descriptor = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with open(descriptor, "w", encoding="utf-8") as stream:  # noqa: PTH123 - of a descriptor
            stream.write(text)
    except OSError as error:
        with contextlib.suppress(OSError):
            file.unlink()
        raise ConfigurationError(f"{file} cannot be written: {error.strerror}") from None
    try:
        yield
    finally:
        with contextlib.suppress(OSError):
            file.unlink()


def local_servers() -> list[LocalServer]:
    """Find what runs; what a process that was killed left behind is removed.

    Raises:
        ConfigurationError: the folder for it is not the user's alone.
    """
    found: list[LocalServer] = []
    for file in sorted(_folder().glob("*.json")):
        server = _read(file)
        if server is None:
            continue  # it is being written, or removed
        if _runs(server.pid):
            found.append(server)
        else:
            with contextlib.suppress(OSError):
                file.unlink()
    return found


def _read(file: Path) -> LocalServer | None:
    """What a file announces; None if it is not one of ours."""
    try:
        # Not through a link, and not waiting for somebody to write into a pipe.
        descriptor = os.open(file, os.O_RDONLY | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0))
        with open(descriptor, encoding="utf-8") as stream:  # noqa: PTH123 - of a descriptor
            if os.name == "posix" and os.fstat(descriptor).st_uid != os.getuid():
                return None
            content: object = json.loads(stream.read(LARGEST))
    except (OSError, ValueError, RecursionError):
        return None
    match content:
        case {"pid": int(pid), "url": str(url), "secret": str(secret)} if type(pid) is int and 0 < pid <= LARGEST_PID:
            return LocalServer(pid, url, secret)
        case _:
            return None


class Destination(NamedTuple):
    """Where to send, and what to sign with."""

    url: str
    secrets: tuple[str, ...]
    source: str
    """Where the secrets come from, for people."""


def destination(settings: Settings, to: str | None = None) -> Destination:
    """Find where to send: what a flag or a setting says, or a server of ours that runs on this machine.

    Raises:
        OperatorError: nothing says where to, or several would do.
        ConfigurationError: there is no secret for it.
    """
    servers = local_servers()
    url = to or settings.get("url")
    if url is None:
        if len(servers) != 1:
            which = " or ".join(server.url for server in servers)
            why = (
                f"several receivers run here: --to {which}"
                if servers
                else ("no receiver runs here: start one with `airweave-webhooks dev module:receiver`, or say --to URL")
            )
            raise OperatorError(why)
        url = servers[0].url
    for server in servers:
        if _same_place(server.url, url):
            return Destination(url, (server.secret,), f"the local server {server.pid}")
    secret = secret_of(settings)
    return Destination(url, tuple(secret.value.split()), secret.source)


def secret_of(settings: Settings) -> Setting:
    """The secret that is set.

    Raises:
        ConfigurationError: none is.
    """
    if settings.secret is None:
        raise ConfigurationError(
            f"no webhook secret: set {SECRET_VARIABLE} in the environment or in .env (a secret is never taken from the"
            " command line, where others could read it)"
        )
    return Setting(settings.secret.value.replace(",", " "), settings.secret.source)


def secret_in_use(settings: Settings) -> Setting:
    """The secret that is set; without one, that of the server of ours that runs on this machine.

    Raises:
        ConfigurationError: there is none.
        OperatorError: several servers run.
    """
    if settings.secret is not None:
        return secret_of(settings)
    match local_servers():
        case []:
            return secret_of(settings)
        case [server]:
            return Setting(server.secret, f"the local server {server.pid}")
        case servers:
            which = ", ".join(server.url for server in servers)
            raise OperatorError(
                f"several receivers run here ({which}): set {SECRET_VARIABLE} to the secret that is meant"
            )


def _same_place(one: str, other: str) -> bool:
    """Whether two URLs name the same server; its receiver answers on every path."""
    origin = _origin(one)
    return origin is not None and origin == _origin(other)


def _origin(url: str) -> tuple[str, int | None] | None:
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError:
        return None
    if parts.hostname is None:
        return None
    host = "127.0.0.1" if parts.hostname in {"localhost", "0.0.0.0"} else parts.hostname  # noqa: S104 - of a server
    return host, port or {"http": 80, "https": 443}.get(parts.scheme)


def _folder() -> Path:
    try:
        with warnings.catch_warnings(
            action="ignore"
        ):  # without XDG_RUNTIME_DIR it is in the folder for temporary files
            folder = platformdirs.user_runtime_path(APP)
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        if os.name == "posix":
            _check(folder)
    except OSError as error:
        raise ConfigurationError(
            f"there is no folder in which what runs here can be announced ({error}): set XDG_RUNTIME_DIR to a folder of"
            " your own"
        ) from None
    return folder


def _check(folder: Path) -> None:
    """Refuse a folder that somebody else could read, or put another one in the place of."""
    found, above = folder.lstat(), folder.parent.stat()
    if (
        found.st_uid != os.getuid()
        or not stat.S_ISDIR(found.st_mode)
        or above.st_uid not in {0, os.getuid()}
        or (above.st_mode & 0o022 and not above.st_mode & stat.S_ISVTX)
    ):
        raise ConfigurationError(f"{folder} is not yours: remove it, or set XDG_RUNTIME_DIR to a folder of your own")
    if found.st_mode & 0o077:
        folder.chmod(0o700)


def _runs(pid: int) -> bool:
    if os.name != "posix":
        return True  # there this question would end the process
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True
