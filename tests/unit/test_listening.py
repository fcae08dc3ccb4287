"""Where `dev` and `capture` listen, and with which secret."""

import contextlib
import os
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from airweave_webhooks.cli import local
from airweave_webhooks.cli.local import announced
from airweave_webhooks.cli.serve.listening import fresh_secret, listen, url_of
from airweave_webhooks.cli.settings import Settings, read_settings
from airweave_webhooks.errors import ConfigurationError
from airweave_webhooks.signing import SigningSecret

URL = "http://127.0.0.1:8000"


@pytest.fixture(autouse=True)
def runtime(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    return tmp_path / local.APP


def settings(monkeypatch: pytest.MonkeyPatch | None = None, **environment: str) -> Settings:
    with pytest.MonkeyPatch.context() as patch:
        for name, value in environment.items():
            patch.setenv(name, value)
        return read_settings()


def test_secrets_are_fresh_and_good() -> None:
    one, other = fresh_secret(), fresh_secret()
    assert one != other
    assert len(SigningSecret(one).key) == 32


@contextlib.contextmanager
def listening(host: str | None = None, port: int | None = 0) -> Iterator[socket.socket]:
    with listen(settings(), host, port) as listener:
        yield listener


@pytest.mark.parametrize("host", [None, "0.0.0.0", "localhost"])
def test_listening(host: str | None) -> None:
    with listening(host) as listener:
        port = listener.getsockname()[1]
        assert url_of(listener) == f"http://127.0.0.1:{port}"
        socket.create_connection(("127.0.0.1", port)).close()


@pytest.mark.skipif(not socket.has_ipv6, reason="no IPv6")
def test_listening_on_ipv6() -> None:
    try:
        with listening("::1") as listener:
            assert url_of(listener) == f"http://[::1]:{listener.getsockname()[1]}"
        with listening("::") as listener:
            assert url_of(listener) == f"http://[::1]:{listener.getsockname()[1]}"
    except ConfigurationError:
        pytest.skip("no IPv6")


def test_a_port_in_use() -> None:
    """Says by whom, where that is known."""
    with listening() as listener:
        port = listener.getsockname()[1]
        with pytest.raises(ConfigurationError, match=f"port {port} is in use: end what listens there"):
            listen(settings(), None, port)
        with announced(url_of(listener), None), pytest.raises(ConfigurationError, match=f"process {os.getpid()}: end"):
            listen(settings(), None, port)


@pytest.mark.parametrize(
    ("host", "message"),
    [("no.such.host.invalid", "is unknown"), ("192.0.2.1", "is no address of this machine"), ("x" * 70, "no name")],
)
def test_addresses_that_cannot_be_had(host: str, message: str) -> None:
    with pytest.raises(ConfigurationError, match=message):
        listen(settings(), host, 0)


def test_other_reasons(monkeypatch: pytest.MonkeyPatch) -> None:
    for number, message in ((13, "below 1024"), (24, "Too many open files")):

        def refuse(*_: object, number: int = number, **__: object) -> None:
            raise OSError(number, os.strerror(number))

        monkeypatch.setattr(socket, "create_server", refuse)
        with pytest.raises(ConfigurationError, match=message):
            listen(settings(), None, 80)


def test_a_port_that_is_set() -> None:
    with listen(settings(AIRWEAVE_WEBHOOKS_PORT="0"), None, None) as listener:
        assert listener.getsockname()[1]
    for text in ("x", "-1", "65536"):
        with pytest.raises(ConfigurationError, match="AIRWEAVE_WEBHOOKS_PORT: port takes a number"):
            listen(settings(AIRWEAVE_WEBHOOKS_PORT=text), None, None)
