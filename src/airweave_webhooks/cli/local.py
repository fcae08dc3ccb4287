"""What runs on this machine, and its secret: a file that only the user can read, for as long as it runs."""

import contextlib
import importlib
import json
import os
import stat
import warnings
from collections.abc import Generator
from pathlib import Path
from typing import Any, Final, NamedTuple, TextIO

import platformdirs

from airweave_webhooks.errors import ConfigurationError

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


def known_servers() -> list[LocalServer]:
    """The same, where they are only a hint: none, if there is no folder for it."""
    try:
        return local_servers()
    except ConfigurationError:
        return []


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
