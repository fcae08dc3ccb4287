"""Seeing that a Python file has changed."""

import os
from pathlib import Path

import pytest

from airweave_webhooks.cli.serve import watching
from airweave_webhooks.cli.serve.watching import Watch


@pytest.fixture
def watch(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Watch:
    monkeypatch.setattr(watching, "LOOK_EVERY", 0.0)
    for folder in ("pack", ".hidden", "env", "node_modules", "__pycache__"):
        (tmp_path / folder).mkdir()
    (tmp_path / "env" / "pyvenv.cfg").touch()
    (tmp_path / "pack" / "web.py").write_text("1")
    return Watch(tmp_path)


def test_nothing(watch: Watch) -> None:
    assert watch.changes() == []


def test_changed_made_removed_renamed(watch: Watch, tmp_path: Path) -> None:
    file = tmp_path / "pack" / "web.py"
    file.write_text("2")
    os.utime(file, ns=(1, 1))
    assert watch.changes() == [Path("pack/web.py")]
    (tmp_path / "new.py").touch()
    assert watch.changes() == [Path("new.py")]
    file.rename(tmp_path / "pack" / "site.py")
    assert watch.changes() == [Path("pack/site.py"), Path("pack/web.py")]
    (tmp_path / "new.py").unlink()
    assert watch.changes() == [Path("new.py")]
    assert watch.changes() == []


def test_replaced_by_one_of_the_same_size_and_time(watch: Watch, tmp_path: Path) -> None:
    """As editors and version control do."""
    file, other = tmp_path / "pack" / "web.py", tmp_path / "other"
    other.write_text("2")
    before = file.stat()
    os.utime(other, ns=(before.st_atime_ns, before.st_mtime_ns))
    other.replace(file)
    assert watch.changes() == [Path("pack/web.py")]


def test_what_does_not_count(watch: Watch, tmp_path: Path) -> None:
    for name in (".hidden/a.py", "env/a.py", "node_modules/a.py", "__pycache__/a.py", "pack/a.txt"):
        (tmp_path / name).touch()
    (tmp_path / "pack" / "gone.py").symlink_to("nowhere")
    assert watch.changes() == []
