"""How `trigger` finds the secret of a `dev` in another terminal: a file that only the user can read, while it runs."""

import contextlib
import importlib
import json
import os
import stat
import warnings
from collections.abc import Generator
from pathlib import Path
from typing import Any, Final, NamedTuple, TextIO
from urllib.parse import urlsplit

import platformdirs

from airweave_webhooks.cli.settings import Setting, Settings, variable
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
    secret: str | None
    """None where it is the one that is set: that is not written down once more."""


@contextlib.contextmanager
def announced(url: str, secret: str | None) -> Generator[None]:
    """Let the user's other processes find this one, and its secret, inside the block.

    The file is locked meanwhile: a process id alone could be somebody else's by now.

    Args:
        url: where it is.
        secret: what it verifies with; None for what is set.

    Raises:
        ConfigurationError: the folder for it is not the user's alone.
    """
    server = LocalServer(os.getpid(), url, secret)
    file = _folder() / f"{server.pid}.json"
    try:
        file.unlink(missing_ok=True)  # of a process that had our number
        descriptor = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        stream = open(descriptor, "w", encoding="utf-8")  # noqa: PTH123, SIM115 - of a descriptor; open to the end
    except OSError as error:
        raise ConfigurationError(f"{file} cannot be written: {error.strerror}") from None
    with stream:
        try:
            _lock(stream)
            stream.write(json.dumps(server._asdict()))
            stream.flush()
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
        if _is_locked(file):
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
        case {"pid": int(pid), "url": str(url), "secret": str() | None as secret} if _is_pid(pid):
            return LocalServer(pid, url, secret)
        case _:
            return None


def _is_pid(number: int) -> bool:
    return type(number) is int and 0 < number <= LARGEST_PID  # True is an int, too


class Destination(NamedTuple):
    """Where to send, and what to sign with."""

    url: str
    secrets: tuple[str, ...]
    source: str
    """Where the secrets come from, for people."""


def destination(settings: Settings, to: str | None = None) -> Destination:
    """Find where to send: what a flag or a setting says, or a server of ours that runs on this machine.

    Raises:
        OperatorError: nothing says where to, or several would do, or it is no URL.
        ConfigurationError: there is no secret for it.
    """
    servers = local_servers()
    url = settings.get("url") if to is None else _checked(to)
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
        if server.secret is not None and same_place(server.url, url):
            return Destination(url, (server.secret,), f"the local server {server.pid}")
    secret = secret_of(settings)
    return Destination(url, tuple(secret.value.split()), secret.source)


def _checked(url: str) -> str:
    """A URL from the command line, where others can read it."""
    try:
        parts = urlsplit(url)
        _ = parts.port
    except ValueError as error:
        raise OperatorError(f"{url!r} is no URL: {error}") from None
    if parts.scheme not in {"http", "https"} or not parts.hostname:
        hint = f"; did you mean http://{url}?" if "://" not in url else ""
        raise OperatorError(f"{url!r}: write a whole URL, as in http://127.0.0.1:8000/webhooks{hint}")
    if parts.password is not None:
        raise OperatorError(
            f"{parts.scheme}://…@{parts.hostname}: others can read a password on the command line; set"
            f" {variable('url')} instead"
        )
    return url


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
    match [server for server in local_servers() if server.secret is not None]:
        case []:
            return secret_of(settings)
        case [LocalServer(pid, _, str(secret))]:
            return Setting(secret, f"the local server {pid}")
        case servers:
            which = ", ".join(server.url for server in servers)
            raise OperatorError(
                f"several receivers run here ({which}): set {SECRET_VARIABLE} to the secret that is meant"
            )


def same_place(one: str, other: str) -> bool:
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
        folder.parent.mkdir(mode=0o700, parents=True, exist_ok=True)  # or the next process takes another folder
        folder.mkdir(mode=0o700, exist_ok=True)
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


def _lock(stream: TextIO) -> None:
    if fcntl := _fcntl():
        fcntl.flock(stream, fcntl.LOCK_EX)


def _is_locked(file: Path) -> bool:
    """Whether the process that announced itself in `file` still has it open."""
    fcntl = _fcntl()
    if fcntl is None:
        return True
    try:
        with file.open() as stream:
            fcntl.flock(stream, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    except FileNotFoundError:
        pass
    return False


def _fcntl() -> Any:
    """Python's module for locks on files, which only POSIX has."""
    return importlib.import_module("fcntl") if os.name == "posix" else None
