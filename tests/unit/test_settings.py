"""The command's settings: which one holds, where it comes from, and what may not stand in a file."""

import logging
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from airweave_webhooks.cli.settings import NAMES, Setting, Settings, read_settings, variable
from airweave_webhooks.errors import ConfigurationError
from conftest import SECRET

TABLE = "[tool.airweave-webhooks]\n"


@pytest.fixture(autouse=True)
def environment(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Nothing is set; and what is put into it is gone afterwards."""
    before = dict(os.environ)
    for name in (*map(variable, NAMES), "AIRWEAVE_WEBHOOK_SECRET"):
        monkeypatch.delenv(name, raising=False)
    yield
    for name in os.environ.keys() - before.keys():
        del os.environ[name]


def project(folder: Path, toml: str | None = "", env: str | None = None) -> Settings:
    """Read the settings of a folder with these files."""
    for name, text in (("pyproject.toml", toml), (".env", env)):
        if text is not None:
            (folder / name).write_text(text, encoding="utf-8")
    return read_settings(folder)


def test_the_defaults(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also of the current folder, where there is no project."""
    monkeypatch.chdir(tmp_path)
    read = read_settings()
    assert read.project == tmp_path
    assert read.values == {"host": Setting("127.0.0.1", "default"), "port": Setting("8000", "default")}
    assert (read.get("port"), read.get("receiver"), read.secret) == ("8000", None, None)


def test_what_counts_more(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The environment before `.env` before `pyproject.toml` before the default; and each says where it comes from."""
    toml = f'{TABLE}host = "from-toml"\nport = 1\nreceiver = " app:toml "\nurl = "http://toml"'
    env = "AIRWEAVE_WEBHOOKS_PORT=2\nAIRWEAVE_WEBHOOKS_RECEIVER=app:env\nAIRWEAVE_WEBHOOKS_URL="
    monkeypatch.setenv("AIRWEAVE_WEBHOOKS_PORT", "3")
    monkeypatch.setenv("AIRWEAVE_WEBHOOKS_HOST", "  ")
    assert project(tmp_path, toml, env).values == {
        "host": Setting("from-toml", str(tmp_path / "pyproject.toml")),
        "port": Setting("3", "AIRWEAVE_WEBHOOKS_PORT"),
        "receiver": Setting("app:env", str(tmp_path / ".env")),
        "url": Setting("http://toml", str(tmp_path / "pyproject.toml")),
    }


def test_the_project_is_the_nearest_folder_above(tmp_path: Path) -> None:
    (tmp_path / "pyproject.toml").write_text(f"{TABLE}port = 1")
    (tmp_path / ".env").write_text(f"AIRWEAVE_WEBHOOK_SECRET={SECRET}")
    below = tmp_path / "a" / "b"
    below.mkdir(parents=True)
    read = read_settings(below)
    assert (read.project, read.get("port")) == (tmp_path, "1")
    assert read.secret == Setting(SECRET, str(tmp_path / ".env"))
    (tmp_path / "a" / "pyproject.toml").write_text("")
    assert read_settings(below).project == tmp_path / "a"


@pytest.mark.parametrize(
    ("line", "value"),
    [
        ("AIRWEAVE_WEBHOOKS_URL=http://a/b", "http://a/b"),
        ("export AIRWEAVE_WEBHOOKS_URL=http://a/b", "http://a/b"),
        ("AIRWEAVE_WEBHOOKS_URL = 'http://a/#b'  # a comment", "http://a/#b"),
        ('AIRWEAVE_WEBHOOKS_URL="http://a/b"', "http://a/b"),
        ("AIRWEAVE_WEBHOOKS_URL=http://a/b # a comment", "http://a/b"),
        ("# a comment\n\nOTHER\nAIRWEAVE_WEBHOOKS_URL=http://a/b\r\n", "http://a/b"),
        ("\ufeffAIRWEAVE_WEBHOOKS_URL=http://a/b", "http://a/b"),
        ("HOST_OF=a\nAIRWEAVE_WEBHOOKS_URL=http://${HOST_OF}/b", "http://a/b"),
        ("#AIRWEAVE_WEBHOOKS_URL=http://a/b", None),
        ("AIRWEAVE_WEBHOOKS_URL", None),
        ("", None),
    ],
)
def test_how_a_line_of_env_can_be_written(tmp_path: Path, line: str, value: str | None) -> None:
    assert project(tmp_path, env=line).get("url") == value


def test_a_line_of_env_that_is_none(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """It is told of, and the others count."""
    with caplog.at_level(logging.WARNING):
        assert project(tmp_path, env="'''\nAIRWEAVE_WEBHOOKS_PORT=7").get("port") == "7"
    assert "could not parse statement starting at line 1" in caplog.text


def test_what_env_holds_is_in_the_environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where it is missing there, so that the user's program sees it."""
    monkeypatch.setenv("OURS_AND_SET", "before")
    project(tmp_path, env="OURS_AND_SET=other\nOURS_AND_NEW=new")
    assert (os.environ["OURS_AND_SET"], os.environ["OURS_AND_NEW"]) == ("before", "new")


@pytest.mark.parametrize("line", ["OURS=a\0b", "'OURS=x'=a"])
def test_what_no_environment_can_hold(tmp_path: Path, line: str) -> None:
    with pytest.raises(ConfigurationError, match="cannot be put into the environment"):
        project(tmp_path, env=line)


@pytest.mark.parametrize("toml", ["", "[tool.other]\nport = 1", "tool = 7", "[[tool]]\nport = 1", TABLE])
def test_a_pyproject_without_the_table(tmp_path: Path, toml: str) -> None:
    assert project(tmp_path, toml).get("port") == "8000"


@pytest.mark.parametrize(
    ("toml", "message"),
    [
        ("[tool]\nairweave-webhooks = 7", r"\[tool.airweave-webhooks\] is no table"),
        ("[[tool.airweave-webhooks]]\nport = 1", r"\[tool.airweave-webhooks\] is no table"),
        (f"{TABLE}prot = 1", "knows no 'prot'; did you mean 'port'?"),
        (f"{TABLE}xyz = 1", "knows no 'xyz'$"),
        (f"{TABLE}port = true", "port takes a text or a small number, not bool"),
        (f"{TABLE}port = 1.5", "port takes a text or a small number, not float"),
        (f"{TABLE}port = ['1']", "port takes a text or a small number, not list"),
        (f"{TABLE}port = ' '", "port takes a text or a small number, not an empty text"),
        (f"{TABLE}port = 0x{'f' * 5000}", "port takes a text or a small number, not int"),
        (f"{TABLE}port = {'9' * 5000}", "cannot be read: "),
        (f"{TABLE}port = 2026-01-01", "port takes a text or a small number, not date"),
        (f"{TABLE}port = ", "cannot be read: Invalid value"),
        (f"{TABLE}port = {'[' * 10_000}", "cannot be read: "),
    ],
)
def test_a_pyproject_that_is_wrong(tmp_path: Path, toml: str, message: str) -> None:
    """It says which file, and what would do."""
    with pytest.raises(ConfigurationError, match=message) as error:
        project(tmp_path, toml)
    assert str(error.value).startswith(str(tmp_path / "pyproject.toml"))


@pytest.mark.parametrize("line", [f"secret = '{SECRET}'", f"webhook_SECRETS = ['{SECRET}']", f"receiver = '{SECRET}'"])
def test_a_secret_in_pyproject_is_refused(tmp_path: Path, line: str) -> None:
    """Under any name, and without being shown."""
    with pytest.raises(ConfigurationError, match="put that into the environment or") as error:
        project(tmp_path, TABLE + line)
    assert SECRET not in str(error.value)


@pytest.mark.parametrize("name", [".env", "pyproject.toml"])
def test_a_file_that_is_no_text(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_bytes(b"\xff\xfe")
    with pytest.raises(ConfigurationError, match=f"{name} cannot be read"):
        read_settings(tmp_path)


def refuse(path: Path, *_: Any, **__: Any) -> bool:
    raise PermissionError(13, "Permission denied", str(path))


@pytest.mark.parametrize("name", [".env", "pyproject.toml"])
def test_a_file_that_may_not_be_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    (tmp_path / name).write_text("")
    monkeypatch.setattr("airweave_webhooks.cli.settings.dotenv_values", refuse)
    monkeypatch.setattr(Path, "read_text", refuse)
    with pytest.raises(ConfigurationError, match=f"{name} cannot be read: .*Permission denied"):
        read_settings(tmp_path)


def test_folders_that_may_not_be_looked_into(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Above the project, whose are no concern of ours."""
    monkeypatch.setattr(Path, "is_file", refuse)
    assert read_settings(tmp_path).project == tmp_path


@pytest.mark.parametrize("name", [".env", "pyproject.toml"])
def test_a_folder_of_that_name_is_no_file(tmp_path: Path, name: str) -> None:
    (tmp_path / name).mkdir()
    assert read_settings(tmp_path).get("port") == "8000"


def test_the_names_of_the_variables() -> None:
    names: Mapping[str, str] = {name: variable(name) for name in NAMES}
    assert names["app-dir"] == "AIRWEAVE_WEBHOOKS_APP_DIR"
    assert len(set(names.values())) == len(NAMES)
