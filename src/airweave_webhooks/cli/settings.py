"""The command's settings, and where each comes from: a flag, the environment, `.env`, `pyproject.toml`, a default.

`.env` and `pyproject.toml` are those of the project: of the nearest folder, from the current one upwards, that has a
`pyproject.toml`; without one, of the current folder. What `.env` holds is put into the environment where it is missing
there, so that the user's program sees the same.
"""

import os
import re
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final, NamedTuple, cast

from dotenv import dotenv_values

from airweave_webhooks.errors import ConfigurationError
from airweave_webhooks.keyring import SECRET_VARIABLE
from airweave_webhooks.routing.nearest import nearest

TABLE: Final = "tool.airweave-webhooks"
PREFIX: Final = "AIRWEAVE_WEBHOOKS_"
LARGEST: Final = 10**9
"""No number that is set is larger."""

_SECRET: Final = re.compile(r"\bwh(sec|sk)_")


class Setting(NamedTuple):
    """What is set, and where."""

    value: str
    source: str
    """For people: `AIRWEAVE_WEBHOOKS_PORT`, `/path/.env`, `/path/pyproject.toml` or `default`."""


class Settings(NamedTuple):
    """What holds unless a flag says otherwise."""

    project: Path
    values: Mapping[str, Setting]
    """By name, as in `pyproject.toml`; what is neither set nor has a default is missing."""
    secret: Setting | None
    """`AIRWEAVE_WEBHOOK_SECRET`, as it is set; several are separated by spaces or commas."""

    @property
    def secrets(self) -> list[str]:
        """Each of them."""
        return [] if self.secret is None else self.secret.value.replace(",", " ").split()

    def get(self, name: str) -> str | None:
        """The value of a setting."""
        found = self.values.get(name)
        return None if found is None else found.value


class Name(NamedTuple):
    """What can be set."""

    meaning: str
    default: str | None = None


NAMES: Final[Mapping[str, Name]] = {
    "receiver": Name("module:receiver, where a command needs one and none is given"),
    "app-dir": Name("where that module is, from the project's folder"),
    "url": Name("where trigger, send and doctor look for a receiver"),
    "host": Name("where dev and capture listen", "127.0.0.1"),
    "port": Name("likewise", "8000"),
}


def variable(name: str) -> str:
    """The environment variable of a setting."""
    return PREFIX + name.upper().replace("-", "_")


def read_settings(folder: Path | None = None) -> Settings:
    """Read all settings, and complete the environment from `.env`.

    Args:
        folder: where to look from; the current one by default.

    Raises:
        ConfigurationError: a file cannot be read, or holds what cannot be set there.
    """
    folder = folder.absolute() if folder else _here()
    project = next((each for each in (folder, *folder.parents) if _is_file(each / "pyproject.toml")), folder)
    from_file = _complete_environment(project / ".env")
    values = {name: Setting(each.default, "default") for name, each in NAMES.items() if each.default is not None}
    values |= _of_pyproject(project / "pyproject.toml")
    for name in NAMES:
        if found := _of_environment(variable(name), from_file):
            values[name] = found
    secret = _of_environment(SECRET_VARIABLE, from_file)
    return Settings(project, values, secret if secret and secret.value.strip(" ,") else None)


def _here() -> Path:
    try:
        return Path.cwd()
    except OSError:
        raise ConfigurationError("the current folder has been removed: go into one that is there") from None


def _of_environment(name: str, from_file: Mapping[str, str]) -> Setting | None:
    value = os.environ.get(name, "").strip()
    return Setting(value, from_file.get(name, name)) if value else None


def _complete_environment(file: Path) -> dict[str, str]:
    """Put what a file says into the environment, where it is missing; and say which names came from it."""
    try:
        found = dotenv_values(file, encoding="utf-8-sig") if _is_file(file) else {}  # editors write a mark in front
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigurationError(f"{file} cannot be read: {error}") from None
    missing = {name: value for name, value in found.items() if value is not None and name not in os.environ}
    for name, value in missing.items():
        try:
            os.environ[name] = value
        except ValueError:
            raise ConfigurationError(f"{file}: {name!r} and its value cannot be put into the environment") from None
    return dict.fromkeys(missing, str(file))


def _is_file(path: Path) -> bool:
    try:
        return path.is_file()
    except OSError:  # a folder above that is not ours to look into
        return False


def _of_pyproject(file: Path) -> dict[str, Setting]:
    if not _is_file(file):
        return {}
    try:
        content = tomllib.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:  # also of a number that is too long
        raise ConfigurationError(f"{file} cannot be read: {error}") from None
    match content:
        case {"tool": {"airweave-webhooks": {**table}}}:
            return {name: _checked(file, name, value) for name, value in cast("dict[str, Any]", table).items()}
        case {"tool": {"airweave-webhooks": _}}:
            raise ConfigurationError(f"{file}: [{TABLE}] is no table")
        case _:
            return {}


def _checked(file: Path, name: str, value: object) -> Setting:
    if "secret" in name.lower() or (isinstance(value, str) and _SECRET.search(value)):
        raise ConfigurationError(
            f"{file}: [{TABLE}] holds a secret, {name!r}: that does not belong into a file that is committed;"
            f" remove it, take a new one, and put that into the environment or .env as {SECRET_VARIABLE}"
        )
    if name not in NAMES:
        raise ConfigurationError(f"{file}: [{TABLE}] knows no {name!r}{nearest(name, NAMES)}")
    match value:
        case str() if value.strip():
            return Setting(value.strip(), str(file))
        case int() if not isinstance(value, bool) and abs(value) <= LARGEST:
            return Setting(str(value), str(file))
        case _:
            kind = "an empty text" if isinstance(value, str) else type(value).__name__
            raise ConfigurationError(f"{file}: [{TABLE}] {name} takes a text or a small number, not {kind}")
