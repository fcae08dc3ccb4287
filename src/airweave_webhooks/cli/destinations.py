"""Where to send, and which secrets to sign and to verify with: what is set, or what runs on this machine."""

from typing import NamedTuple
from urllib.parse import urlsplit

from airweave_webhooks.cli.local import LocalServer, known_servers, local_servers
from airweave_webhooks.cli.settings import Setting, Settings, variable
from airweave_webhooks.cli.words import redacted
from airweave_webhooks.errors import ConfigurationError, OperatorError
from airweave_webhooks.keyring import SECRET_VARIABLE


class Destination(NamedTuple):
    """Where to send, and what to sign with."""

    url: str
    secrets: tuple[str, ...]
    source: str
    """Where the secrets come from, for people."""


def destination(settings: Settings, to: str | None = None) -> Destination:
    """Find where to send: what a flag or a setting says, or a server of ours that runs on this machine.

    Raises:
        OperatorError: nothing says where to, or several would do, or the flag's is no URL.
        ConfigurationError: there is no secret for it, or what is set is no URL.
    """
    return signed_for(settings, url_of(settings, to))


def signed_for(settings: Settings, url: str) -> Destination:
    """Find what to sign with there: the secret of the server of ours that runs there, or what is set.

    Raises:
        ConfigurationError: there is none.
    """
    for server in known_servers():
        if server.secret is not None and same_place(server.url, url):
            return Destination(url, (server.secret,), f"the local server {server.pid}")
    secret = secret_of(settings)
    return Destination(url, tuple(secret.value.split()), secret.source)


def url_of(settings: Settings, to: str | None = None) -> str:
    """The URL that a flag or a setting says, or that of the server of ours that runs on this machine.

    Raises:
        OperatorError: nothing says one, or several would do, or the flag's is none.
        ConfigurationError: what is set is none.
    """
    if to is not None:
        _check(to)
        if urlsplit(to).password is not None:
            raise OperatorError(
                f"{redacted(to)}: others can read a password on the command line; set {variable('url')} instead"
            )
        return to
    if (setting := settings.values.get("url")) is not None:
        try:
            _check(setting.value)
        except OperatorError as error:
            raise ConfigurationError(f"{setting.source}: {error}") from None
        return setting.value
    match local_servers():
        case []:
            raise OperatorError(
                "no receiver runs here: start one with `airweave-webhooks dev module:receiver`, or say --to URL"
            )
        case [server]:
            return server.url
        case servers:
            raise OperatorError(f"several receivers run here: --to {' or '.join(server.url for server in servers)}")


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
    return Setting(" ".join(settings.secrets), settings.secret.source)


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


def _check(url: str) -> None:
    """Refuse what is no URL.

    Raises:
        OperatorError: it is none.
    """
    try:
        parts = urlsplit(url)
        _ = parts.port
    except ValueError as error:
        raise OperatorError(f"{url!r} is no URL: {error}") from None
    if parts.scheme not in {"http", "https"} or not parts.hostname:
        hint = f"; did you mean http://{url}?" if "://" not in url else ""
        raise OperatorError(f"{url!r}: write a whole URL, as in http://127.0.0.1:8000/webhooks{hint}")
