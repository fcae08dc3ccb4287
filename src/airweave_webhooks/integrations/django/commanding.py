"""Where `manage.py airweave_webhooks` has its receiver from: the project's settings."""

import contextlib
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Final, cast

from django.conf import settings as project

from airweave_webhooks.cli.loading import failure
from airweave_webhooks.cli.settings import Setting, Settings
from airweave_webhooks.errors import ConfigurationError, OperatorError, WebhookError
from airweave_webhooks.integrations.django.configuration import SETTING, configured, get_receiver
from airweave_webhooks.keyring import SECRET_VARIABLE
from airweave_webhooks.receiver import Receiver

_DJANGOS: Final = ("--settings", "--pythonpath")
"""Options that Django has read before it looks for a command."""
_SECRETS: Final = ("SECRETS", "RETIRED_SECRETS")


class Project:
    """A Django project: it has one receiver.

    Args:
        argv: what was typed: the program, this command's name, and what follows.
    """

    named = False

    def __init__(self, argv: Sequence[str]) -> None:
        djangos, arguments = _apart(argv[2:])
        self.arguments: Sequence[str] = arguments
        name = Path(argv[0]).name
        python = {"__main__.py": ("python", "-m", "django")}.get(name, ("python", name))
        self.program: Sequence[str] = (*(python if name.endswith(".py") else (name,)), argv[1], *djangos)

    @property
    def names(self) -> list[str]:
        """What the setting holds."""
        return [name for name in configured() if name not in _SECRETS]

    def settings(self) -> Settings:
        """What the setting holds; an environment's secret counts where it holds none."""
        where = f"{SETTING} of {project.SETTINGS_MODULE}"
        values = {name: Setting(str(configured()[name]), where) for name in self.names}
        texts = _texts(configured().get("SECRETS"))
        found = " ".join(texts) or os.environ.get(SECRET_VARIABLE, "").strip(" ,")
        secret = Setting(found, where if texts else SECRET_VARIABLE) if found else None
        return Settings(Path(getattr(project, "BASE_DIR", None) or Path.cwd()), values, secret)

    def files(self, settings: Settings) -> str:  # noqa: ARG002 - it is the same one for all
        """The module of the project's settings."""
        return str(sys.modules[project.SETTINGS_MODULE].__file__)

    def receiver(self, target: str | None, app_dir: Path | None) -> Receiver:  # noqa: ARG002 - nobody can type one
        """Make the receiver that the settings describe, and load its handlers.

        Raises:
            OperatorError: something else is named.
            ConfigurationError: it cannot be made; says why, and where in the project.
        """
        if target is not None:
            raise OperatorError(
                f"{target!r}: the receiver is the one of the setting {SETTING}; write a URL, or nothing"
            )
        try:
            # What a module prints is not the command's output.
            with contextlib.redirect_stdout(sys.stderr):
                return get_receiver()
        except (WebhookError, KeyboardInterrupt):
            raise
        except BaseException as error:  # noqa: BLE001 - handlers are the user's program, which may also raise SystemExit
            raise ConfigurationError(failure("the project's receiver", error)) from None


def _texts(secrets: object) -> Sequence[str]:
    """Secrets that are written down; not those that a callable looks up."""
    match secrets:
        case str():
            return secrets.replace(",", " ").split()
        case list() | tuple():
            return [secret for secret in cast("Sequence[object]", secrets) if isinstance(secret, str)]
        case _:
            return ()


def _apart(words: Sequence[str]) -> tuple[list[str], list[str]]:
    """Tell Django's own options from the command's."""
    djangos: list[str] = []
    others: list[str] = []
    rest = iter(words)
    for word in rest:
        if word == "--":
            others += [word, *rest]
        elif word in _DJANGOS:
            djangos += [word, *([value] if (value := next(rest, None)) is not None else [])]
        elif word.startswith(tuple(f"{option}=" for option in _DJANGOS)):
            djangos.append(word)
        else:
            others.append(word)
    return djangos, others
