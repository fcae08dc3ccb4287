"""How commands find each other, where they listen, and where they send to."""

import contextlib
import json
import os
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from airweave_webhooks.cli import local
from airweave_webhooks.cli.listening import fresh_secret, listen, url_of
from airweave_webhooks.cli.local import announced, destination, local_servers
from airweave_webhooks.cli.settings import Settings, read_settings
from airweave_webhooks.errors import ConfigurationError, OperatorError
from airweave_webhooks.signing import SigningSecret
from conftest import SECRET

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


def test_one_announces_and_another_finds(runtime: Path) -> None:
    with announced(URL, "whsec_x"):
        (file,) = runtime.glob("*.json")
        assert file.stat().st_mode & 0o777 == 0o600
        assert runtime.stat().st_mode & 0o777 == 0o700
        assert local_servers() == [(os.getpid(), URL, "whsec_x")]
        assert destination(settings()) == (URL, ("whsec_x",), f"the local server {os.getpid()}")
        assert destination(settings(), "http://localhost:8000/any").secrets == ("whsec_x",)
    assert local_servers() == []


def test_what_was_left_behind_is_removed(runtime: Path) -> None:
    """Also where the process id is another process's by now; what is being written is left alone."""
    runtime.mkdir(mode=0o700)
    for pid in (os.getpid(), 2**22 + 1):
        (runtime / f"{pid}.json").write_text(json.dumps({"pid": pid, "url": URL, "secret": "x"}))
    (runtime / "1.json").write_text('{"pid"')
    assert local_servers() == []
    assert [file.name for file in runtime.iterdir()] == ["1.json"]


def test_an_announcement_that_somebody_removed() -> None:
    with announced(URL, None):
        for file in local._folder().iterdir():
            file.unlink()


def test_a_folder_of_somebody_else(runtime: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    runtime.mkdir(mode=0o777)
    runtime.chmod(0o777)
    assert local_servers() == []
    assert runtime.stat().st_mode & 0o777 == 0o700
    monkeypatch.setattr(os, "getuid", lambda: 4711)
    with pytest.raises(ConfigurationError, match="is not yours"), announced(URL, None):
        pass


def test_where_to_send(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(OperatorError, match="no receiver runs here"):
        destination(settings())
    set_ = settings(AIRWEAVE_WEBHOOKS_URL="http://set/x", AIRWEAVE_WEBHOOK_SECRET=f"{SECRET}, {SECRET}")
    assert destination(set_) == ("http://set/x", (SECRET, SECRET), "AIRWEAVE_WEBHOOK_SECRET")
    assert destination(set_, "http://flag/x").url == "http://flag/x"
    with pytest.raises(ConfigurationError, match="no webhook secret"):
        destination(settings(), URL)
    with announced(URL, None):
        assert destination(settings(AIRWEAVE_WEBHOOK_SECRET=SECRET)) == (URL, (SECRET,), "AIRWEAVE_WEBHOOK_SECRET")


def test_several_run(runtime: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with announced(URL, "a"):
        monkeypatch.setattr(os, "getpid", os.getppid)
        with (
            announced("http://127.0.0.1:8001", "b"),
            pytest.raises(OperatorError, match="several receivers run here: --to http://127"),
        ):
            destination(settings())


@pytest.mark.parametrize(
    ("url", "message"),
    [
        ("localhost:8000", "did you mean http://localhost:8000?"),
        ("ftp://x/", "write a whole URL"),
        ("http:///x", "write a whole URL"),
        ("http://x:99999/", "is no URL"),
        ("http://me:hunter2@x/", "others can read a password on the command line"),
    ],
)
def test_what_is_no_url(url: str, message: str) -> None:
    with pytest.raises(OperatorError) as raised:
        destination(settings(), url)
    assert message in str(raised.value)
    assert "hunter2" not in str(raised.value)


def test_places() -> None:
    assert local.same_place("http://localhost/x", "http://127.0.0.1:80/y")
    assert not local.same_place("http://127.0.0.1:1", "http://127.0.0.1:2")
    assert not local.same_place("http://127.0.0.1:1", "http://127.0.0.1:xyz")


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
