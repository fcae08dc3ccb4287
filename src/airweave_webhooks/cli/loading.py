"""Finding the receiver that `module:receiver` names."""

import contextlib
import importlib
import sys
import traceback
from pathlib import Path
from types import ModuleType
from typing import Final

from airweave_webhooks.cli.tracebacks import users_frames, what_it_says
from airweave_webhooks.errors import ConfigurationError, OperatorError
from airweave_webhooks.receiver import Receiver
from airweave_webhooks.routing.nearest import nearest


def split(target: str) -> tuple[str, str]:
    """Read `module:receiver`.

    Raises:
        OperatorError: it is not written so.
    """
    name, colon, path = target.partition(":")
    words = [*name.split("."), *path.split(".")]
    if not colon or name.endswith(".py") or not all(word.isidentifier() for word in words):
        hint = name.removesuffix(".py").strip("./").replace("/", ".")
        better = f"; did you mean {hint}:{path or 'receiver'}?" if hint and hint != name else ""
        raise OperatorError(f"{target!r}: write module:receiver, as in app:receiver{better}")
    return name, path


def load(target: str, app_dir: Path | None = None) -> Receiver:
    """Import a module and find a receiver in it.

    Args:
        target: `module:receiver`; both can have dots.
        app_dir: where the module is; by default in the current directory, or installed.

    Raises:
        OperatorError: `target` is not written so.
        ConfigurationError: there is no receiver; says what there is.
    """
    name, path = split(target)
    folder = str((app_dir or Path.cwd()).resolve())
    if folder not in sys.path:
        sys.path.insert(0, folder)
    found: object = _import(name, app_dir)
    module, so_far = found, name
    for part in path.split("."):
        try:
            found = getattr(found, part)
        except AttributeError:
            names = [word for word in dir(found) if not word.startswith("_")]
            hint = nearest(part, names) or _receivers_of(module, name)
            raise ConfigurationError(f"{so_far} has no {part!r}{hint}") from None
        so_far += ("." if ":" in so_far else ":") + part
    if not isinstance(found, Receiver):
        raise ConfigurationError(
            f"{target} is a {type(found).__name__} and not a Receiver{_receivers_of(module, name) or _HOW}"
        )
    return found


_HOW: Final = "; name the Receiver itself, which has to be found in a module: receiver = Receiver(…)"


def _import(name: str, app_dir: Path | None) -> ModuleType:
    try:
        # What a module prints is not the command's output.
        with contextlib.redirect_stdout(sys.stderr):
            return importlib.import_module(name)
    except ModuleNotFoundError as error:
        if error.name is not None and f"{name}.".startswith(f"{error.name}."):
            where = app_dir or "the current directory (--app-dir names another)"
            raise ConfigurationError(f"there is no module {error.name!r} in {where}") from None
        raise ConfigurationError(failure(name, error)) from None
    except KeyboardInterrupt:
        raise
    except BaseException as error:  # noqa: BLE001 - it is the user's program, which may also raise SystemExit
        raise ConfigurationError(failure(name, error)) from None


def failure(name: str, error: BaseException) -> str:
    """Say what went wrong, and where in the user's program.

    Args:
        name: what was imported.
        error: what came of it.
    """
    lines = "".join(traceback.format_list(users_frames(error))).splitlines()
    lines += what_it_says(error).splitlines()
    return "\n".join([f"importing {name} failed:", *(f"  {line}" for line in lines)])


def _receivers_of(module: object, name: str) -> str:
    """Say where the module's receivers are."""
    found = [attribute for attribute, value in vars(module).items() if isinstance(value, Receiver)]
    return f"; {' and '.join(f'{name}:{attribute}' for attribute in found)} would do" if found else ""
