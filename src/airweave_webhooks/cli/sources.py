"""Where the commands have their receiver and their settings from."""

import shlex
import sys
from collections.abc import Collection, Sequence
from pathlib import Path
from typing import Final, Protocol

from airweave_webhooks.cli.loading import load
from airweave_webhooks.cli.settings import NAMES, TABLE, Settings, read_settings, variable
from airweave_webhooks.errors import OperatorError
from airweave_webhooks.receiver import Receiver


class Source(Protocol):
    """What a program brings that has the commands: the command line, or a framework's own."""

    @property
    def program(self) -> Sequence[str]:
        """What its user types before the name of a command."""
        ...

    @property
    def arguments(self) -> Sequence[str]:
        """What was typed after that."""
        ...

    @property
    def named(self) -> bool:
        """Whether its user names a receiver, as `module:receiver`; otherwise there is one."""
        ...

    @property
    def names(self) -> Collection[str]:
        """The settings that it has."""
        ...

    def settings(self) -> Settings:
        """What holds unless a flag says otherwise.

        Raises:
            ConfigurationError: it cannot be read, or means nothing.
        """
        ...

    def files(self, settings: Settings) -> str:
        """Say, for people, which files the settings are read from."""
        ...

    def receiver(self, target: str | None, app_dir: Path | None) -> Receiver:
        """Find the receiver.

        Args:
            target: what the user named it.
            app_dir: where its module is, if not where it is looked for.

        Raises:
            OperatorError: it is named wrongly.
            ConfigurationError: there is no receiver; says what there is.
        """
        ...


class CommandLine:
    """`airweave-webhooks`: receivers are named, by an argument or by a setting."""

    program: Sequence[str] = ("airweave-webhooks",)
    named = True
    names = NAMES

    def __init__(self) -> None:
        self._settings: Settings | None = None

    @property
    def arguments(self) -> Sequence[str]:
        """What was typed after the command's name."""
        return sys.argv[1:]

    def settings(self) -> Settings:
        """Read them once: a process is one command."""
        if self._settings is None:
            self._settings = read_settings()
        return self._settings

    def files(self, settings: Settings) -> str:
        """Those of the project."""
        found = [name for name in ("pyproject.toml", ".env") if (settings.project / name).is_file()]
        return " and ".join(found) or "neither pyproject.toml nor .env"

    def name_of(self, target: str | None) -> str:
        """The `module:receiver` that an argument says, or a setting.

        Raises:
            OperatorError: neither does.
        """
        name = target or self.settings().get("receiver")
        if name is None:
            raise OperatorError(
                f"which receiver? Write module:receiver, as in app:receiver; or set {variable('receiver')}, or receiver"
                f" in [{TABLE}] of pyproject.toml"
            )
        return name

    def folder_of(self, app_dir: Path | None) -> Path | None:
        """Where its module is, if not in the current folder."""
        known = self.settings()
        folder = known.get("app-dir")
        return app_dir or (None if folder is None else known.project / folder)

    def receiver(self, target: str | None, app_dir: Path | None) -> Receiver:
        """Import it."""
        return load(self.name_of(target), self.folder_of(app_dir))


COMMAND_LINE: Final = CommandLine()

_current: Source = COMMAND_LINE


def current() -> Source:
    """The source of this process."""
    return _current


def use(source: Source) -> None:
    """Let the commands of this process have theirs from here on."""
    global _current  # noqa: PLW0603 - a process is one command
    _current = source


def typed(command: str, target: str | None, *options: str) -> str:
    """Write down what a user types for another command of the same receiver.

    Args:
        command: its name, in one or two words.
        target: what the user named the receiver.
        options: what follows.
    """
    return shlex.join([*_current.program, *command.split(), *([target] if target else []), *options])
