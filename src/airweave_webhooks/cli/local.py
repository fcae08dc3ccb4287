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
    with contextlib.suppress(FileNotFoundError):
        file.unlink()
    descriptor = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with open(descriptor, "w", encoding="utf-8") as stream:  # noqa: PTH123 - of a descriptor
        _lock(stream)
        json.dump(server._asdict(), stream)
        stream.flush()
        try:
            yield
        finally:
            with contextlib.suppress(FileNotFoundError):
                file.unlink()


def local_servers() -> list[LocalServer]:
    """Find what runs; what a process that was killed left behind is removed."""
    found: list[LocalServer] = []
    for file in sorted(_folder().glob("*.json")):
        try:
            server = LocalServer(**json.loads(file.read_text(encoding="utf-8")))
        except (OSError, ValueError, TypeError):
            continue  # it is being written, or removed
        if _runs(server.pid) and _is_locked(file):
            found.append(server)
        else:
            file.unlink(missing_ok=True)
    return found


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


def same_place(one: str, other: str) -> bool:
    """Whether two URLs name the same server of this machine; its receiver answers on every path."""
    return _origin(one) == _origin(other)


def _origin(url: str) -> tuple[str | None, int | None]:
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError:
        return None, None
    host = "127.0.0.1" if parts.hostname == "localhost" else parts.hostname
    return host, port or {"http": 80, "https": 443}.get(parts.scheme)


def _folder() -> Path:
    with warnings.catch_warnings(action="ignore"):  # without XDG_RUNTIME_DIR it is in the folder for temporary files
        folder = platformdirs.user_runtime_path(APP)
    folder.parent.mkdir(mode=0o700, parents=True, exist_ok=True)  # or the next process takes another folder
    folder.mkdir(mode=0o700, exist_ok=True)
    if os.name == "posix":
        found = folder.lstat()
        if found.st_uid != os.getuid() or not stat.S_ISDIR(found.st_mode):
            raise ConfigurationError(
                f"{folder} is not yours: remove it, or set XDG_RUNTIME_DIR to a folder of your own"
            )
        if found.st_mode & 0o077:
            folder.chmod(0o700)
    return folder


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
