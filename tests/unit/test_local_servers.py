"""How commands find each other on one machine: only their own user's, and only while they run."""

import contextlib
import fcntl
import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from airweave_webhooks.cli import local
from airweave_webhooks.cli.destinations import Destination, destination, same_place, secret_in_use, secret_of
from airweave_webhooks.cli.local import LocalServer, announced, local_servers
from airweave_webhooks.cli.settings import Setting, Settings
from airweave_webhooks.errors import ConfigurationError, OperatorError
from conftest import OTHER_SECRET, SECRET

URL = "http://127.0.0.1:8000"
OURS = LocalServer(os.getpid(), URL, SECRET)


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The user's folder for what runs."""
    folder = tmp_path / "run" / "airweave-webhooks"
    monkeypatch.setattr("platformdirs.user_runtime_path", lambda _: folder)
    return folder


def settings(secret: str | None = None, **values: str) -> Settings:
    found = {name: Setting(value, "test") for name, value in values.items()}
    return Settings(Path(), found, None if secret is None else Setting(secret, "a test"))


def plant(folder: Path, name: str, content: Any) -> Path:
    """Put a file where those of servers are."""
    folder.mkdir(parents=True, exist_ok=True)
    file = folder / name
    file.write_bytes(content if isinstance(content, bytes) else json.dumps(content).encode())
    return file


@contextlib.contextmanager
def runs(folder: Path, name: str, content: Any) -> Iterator[Path]:
    """What another process has announced, and still runs."""
    file = plant(folder, name, content)
    with file.open() as stream:
        fcntl.flock(stream, fcntl.LOCK_EX)
        yield file


def other(pid: int = 1, url: str = "http://127.0.0.1:9000", secret: str = OTHER_SECRET) -> dict[str, Any]:
    """What another process of the user announces."""
    return {"pid": pid, "url": url, "secret": secret}


def test_what_runs_is_found_while_it_runs(folder: Path) -> None:
    """And only its user can read it."""
    assert local_servers() == []
    with announced(URL, SECRET):
        assert local_servers() == [OURS]
        (file,) = folder.iterdir()
        assert file.stat().st_mode & 0o777 == 0o600
        assert folder.stat().st_mode & 0o777 == 0o700
    assert local_servers() == []
    assert not list(folder.iterdir())


def test_it_is_gone_after_an_error(folder: Path) -> None:
    with pytest.raises(ZeroDivisionError), announced(URL, SECRET):
        raise ZeroDivisionError
    assert not list(folder.iterdir())


def test_somebody_removed_it(folder: Path) -> None:
    with announced(URL, SECRET):
        (folder / f"{os.getpid()}.json").unlink()


def test_what_a_process_with_our_number_left_is_replaced(folder: Path) -> None:
    plant(folder, f"{os.getpid()}.json", other())
    with announced(URL, SECRET):
        assert local_servers() == [OURS]


def test_what_was_killed_is_removed(folder: Path) -> None:
    """Also where its number is another process's by now."""
    files = [plant(folder, f"{pid}.json", other(pid)) for pid in (1, os.getppid(), 2**22 + 1)]
    assert local_servers() == []
    assert not any(file.exists() for file in files)


def test_without_locks_each_is_believed_to_run(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """On Windows."""
    plant(folder, "1.json", other())
    monkeypatch.setattr("airweave_webhooks.cli.local.os.name", "nt")
    assert len(local_servers()) == 1
    with announced(URL, SECRET):
        assert len(local_servers()) == 2


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"{",
        b"\xff",
        b"[" * 100_000,
        b'{"pid": 1}' + b" " * 100_000,
        [],
        [1, "a", "b"],
        other() | {"pid": "1"},
        other() | {"pid": 0},
        other() | {"pid": -1},
        other() | {"pid": True},
        other() | {"pid": 10**30},
        other() | {"url": None},
        other() | {"secret": ["a"]},
    ],
    ids=lambda content: str(content)[:20],
)
def test_garbage_is_passed_over(folder: Path, content: Any) -> None:
    """It may be somebody's who writes at this moment."""
    file = plant(folder, "garbage.json", content)
    with announced(URL, SECRET):
        assert local_servers() == [OURS]
    assert file.exists()


def test_files_that_are_none(folder: Path, tmp_path: Path) -> None:
    """A link leads elsewhere, and nobody may ever write into a pipe."""
    elsewhere = plant(tmp_path, "elsewhere", other())
    folder.mkdir(parents=True)
    (folder / "1.json").symlink_to(elsewhere)
    (folder / "2.json").mkdir()
    os.mkfifo(folder / "3.json")
    assert local_servers() == []


def test_a_file_of_another_user(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    plant(folder, "1.json", other())
    real = os.fstat

    def of_another(descriptor: int) -> os.stat_result:
        return os.stat_result((*real(descriptor)[:4], os.getuid() + 1, *real(descriptor)[5:]))

    monkeypatch.setattr(os, "fstat", of_another)
    assert local_servers() == []


def test_a_folder_that_others_could_read_is_closed(folder: Path) -> None:
    folder.mkdir(parents=True)
    folder.chmod(0o755)
    assert local_servers() == []
    assert folder.stat().st_mode & 0o777 == 0o700


def test_a_folder_of_another_user(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder.mkdir(parents=True)
    monkeypatch.setattr(os, "getuid", lambda: folder.stat().st_uid + 1)
    with pytest.raises(ConfigurationError, match="is not yours"):
        local_servers()


def test_a_folder_that_another_user_could_replace(folder: Path) -> None:
    """Unless, as in the folder for temporary files, only owners may."""
    folder.mkdir(parents=True)
    folder.parent.chmod(0o777)
    with pytest.raises(ConfigurationError, match="is not yours"), announced(URL, SECRET):
        pass
    folder.parent.chmod(0o1777)
    assert local_servers() == []


def test_a_link_instead_of_a_folder(folder: Path, tmp_path: Path) -> None:
    """To a folder, and to nothing."""
    folder.parent.mkdir()
    (tmp_path / "real").mkdir()
    folder.symlink_to(tmp_path / "real")
    with pytest.raises(ConfigurationError, match="is not yours"):
        local_servers()
    (tmp_path / "real").rmdir()
    with pytest.raises(ConfigurationError, match="set XDG_RUNTIME_DIR"):
        local_servers()


def test_no_place_for_a_folder(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Such as a system that can only be read; or a temporary folder of somebody else."""
    folder.parent.write_text("")
    with pytest.raises(ConfigurationError, match="set XDG_RUNTIME_DIR"):
        local_servers()

    def refuse(_: str) -> Path:
        raise PermissionError(1, "somebody else's")

    monkeypatch.setattr("platformdirs.user_runtime_path", refuse)
    with pytest.raises(ConfigurationError, match="somebody else's"):
        local_servers()


def test_a_full_disk(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No half file is left."""

    def full(_: Any) -> Any:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(local, "_lock", full)
    with pytest.raises(ConfigurationError, match="No space left on device"), announced(URL, SECRET):
        pass
    assert not list(folder.iterdir())


def test_what_is_dead_and_cannot_be_removed(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: Any, **__: Any) -> None:
        raise PermissionError

    plant(folder, "1.json", other())
    monkeypatch.setattr(Path, "unlink", refuse)
    assert local_servers() == []


@pytest.mark.parametrize("to", [None, URL, "http://localhost:8000/any/path", "http://0.0.0.0:8000"])
def test_a_destination_that_runs_here(to: str | None) -> None:
    """Its secret is known, whatever is set; by whichever name it is called."""
    with announced(URL, SECRET):
        found = destination(settings(OTHER_SECRET), to)
    assert found == Destination(to or URL, (SECRET,), f"the local server {os.getpid()}")


@pytest.mark.parametrize("to", ["https://example.com/hook", "http://127.0.0.1", "http://127.0.0.1:8001", None])
def test_a_destination_elsewhere(to: str | None) -> None:
    """Never gets a local secret."""
    with announced(URL, SECRET):
        found = destination(settings(f"{OTHER_SECRET}, {OTHER_SECRET}", url=to or "http://set"), to)
    assert found == Destination(to or "http://set", (OTHER_SECRET, OTHER_SECRET), "a test")


def test_a_destination_that_is_set() -> None:
    assert destination(settings(SECRET, url="http://127.0.0.1:7")).url == "http://127.0.0.1:7"
    with pytest.raises(ConfigurationError, match="no webhook secret"):
        destination(settings(url="http://127.0.0.1:7"))


def test_a_receiver_with_the_secret_that_is_set() -> None:
    """It announces where it is, and not once more what it verifies with."""
    with announced(URL, None):
        assert local_servers() == [(os.getpid(), URL, None)]
        assert destination(settings(SECRET)) == Destination(URL, (SECRET,), "a test")
        with pytest.raises(ConfigurationError, match="no webhook secret"):
            secret_in_use(settings())


@pytest.mark.parametrize(
    ("url", "message"),
    [
        ("localhost:8000", "did you mean http://localhost:8000?"),
        ("x", "did you mean http://x?"),
        ("", "write a whole URL"),
        ("ftp://x/", "write a whole URL"),
        ("http:///x", "write a whole URL"),
        ("http://[", "is no URL"),
        ("http://x:99999/", "is no URL"),
        ("http://me:hunter2@x/", "others can read a password on the command line"),
    ],
)
def test_what_is_no_url(url: str, message: str) -> None:
    with pytest.raises(OperatorError) as raised:
        destination(settings(SECRET), url)
    assert message in str(raised.value)
    assert "hunter2" not in str(raised.value)


@pytest.mark.parametrize("url", ["nonsense", "http://[", "http://127.0.0.1:xyz"])
def test_a_name_that_is_no_url_is_no_servers(url: str) -> None:
    """Even if the server's is none either; and where it is set, it says where."""
    with pytest.raises(ConfigurationError, match=r"test: '.*(no URL|a whole URL)"):
        destination(settings(SECRET, url=url))
    assert not same_place(url, url)


def test_a_url_with_a_password_that_is_set() -> None:
    """Nobody reads it there."""
    url = "http://me:hunter2@x/"
    assert destination(settings(SECRET, url=url)).url == url


def test_a_destination_without_a_folder_for_what_runs(folder: Path) -> None:
    """What runs here is then no more than a hint."""
    folder.parent.write_text("")
    assert destination(settings(SECRET), URL) == Destination(URL, (SECRET,), "a test")
    with pytest.raises(ConfigurationError, match="set XDG_RUNTIME_DIR"):
        destination(settings(SECRET))


def test_no_destination_or_several(folder: Path) -> None:
    with pytest.raises(OperatorError, match="no receiver runs here"):
        destination(settings(SECRET))
    several = pytest.raises(OperatorError, match=f"several .*9000 or {URL}")
    with runs(folder, "1.json", other()), announced(URL, SECRET), several:
        destination(settings(SECRET))


def test_the_secret_that_is_set() -> None:
    assert secret_of(settings("a,b c")) == Setting("a b c", "a test")
    with pytest.raises(ConfigurationError, match="set AIRWEAVE_WEBHOOK_SECRET in the environment"):
        secret_of(settings())


def test_the_secret_in_use(folder: Path) -> None:
    """What is set; else that of the one server that runs."""
    with pytest.raises(ConfigurationError, match="no webhook secret"):
        secret_in_use(settings())
    with announced(URL, SECRET):
        assert secret_in_use(settings(OTHER_SECRET)) == Setting(OTHER_SECRET, "a test")
        assert secret_in_use(settings()) == Setting(SECRET, f"the local server {os.getpid()}")
        with runs(folder, "1.json", other()), pytest.raises(OperatorError, match="several receivers run here"):
            secret_in_use(settings())
