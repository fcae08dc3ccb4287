"""Where MariaDB's programs come from: the PATH, or on Debian and Ubuntu packages that are unpacked, not installed.

Unpacked they stand in the checkout's environment, where the next run finds them. Nobody needs to be root for it.
"""

import fcntl
import os
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Final, NamedTuple

PACKAGE: Final = "mariadb-server-core"
HOW_TO_GET_IT: Final = (
    "tests with MariaDB need its server: install `mariadbd` (on Debian and Ubuntu: apt-get install"
    " mariadb-server-core), or name a server in AIRWEAVE_WEBHOOKS_TEST_MARIADB=mysql://user:password@host:3306"
)
UNPACKED: Final = Path(sys.prefix) / "mariadb"
FETCH_WITHIN: Final = 300.0
"""Seconds."""


class Programs(NamedTuple):
    """A MariaDB that can be run."""

    mariadbd: Path
    share: Path
    """Where the SQL is that makes its own tables."""
    libraries: str
    """For LD_LIBRARY_PATH; empty where the system knows them."""

    def environment(self) -> dict[str, str]:
        """What they run in."""
        return {**os.environ, **({"LD_LIBRARY_PATH": self.libraries} if self.libraries else {})}


def find_programs() -> Programs:
    """Find them, or fetch them.

    Raises:
        AssertionError: saying what to install.
    """
    on_path = shutil.which("mariadbd", path=os.environ.get("PATH", "") + ":/usr/sbin:/usr/local/sbin")
    if on_path:
        return _programs(Path(on_path).resolve(), libraries="")
    UNPACKED.parent.mkdir(exist_ok=True)
    with UNPACKED.with_name("mariadb.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # tests run in several processes
        if not UNPACKED.exists():
            _unpack(UNPACKED)
    libraries = [str(folder) for folder in (UNPACKED / "usr" / "lib").glob("*-linux-*") if folder.is_dir()]
    return _programs(UNPACKED / "usr" / "sbin" / "mariadbd", ":".join(libraries))


def _programs(mariadbd: Path, libraries: str) -> Programs:
    for share in ("share/mysql", "share/mariadb"):
        folder = mariadbd.parents[1] / share
        if (folder / "mysql_system_tables.sql").exists() or (folder / "mariadb_system_tables.sql").exists():
            return Programs(mariadbd, folder, libraries)
    raise AssertionError(f"{mariadbd} has no SQL to make its tables with. {HOW_TO_GET_IT}")


def _unpack(target: Path) -> None:
    assert shutil.which("apt-get"), HOW_TO_GET_IT
    assert shutil.which("dpkg"), HOW_TO_GET_IT
    with tempfile.TemporaryDirectory(dir=target.parent) as name:
        folder = Path(name)
        options: list[str] = []
        names = _missing_packages(options)
        if not names:  # the lists of packages are old or missing; ours may be newer without being root
            for part in ("lists/partial", "cache/archives/partial"):
                (folder / part).mkdir(parents=True)
            options = ["-o", f"Dir::State::lists={folder / 'lists'}", "-o", f"Dir::Cache={folder / 'cache'}"]
            _run(["apt-get", *options, "update"], folder)
            names = _missing_packages(options)
        assert names, f"apt-get knows no {PACKAGE}. {HOW_TO_GET_IT}"
        _run(["apt-get", *options, "download", *names], folder)
        root = folder / "root"
        for package in folder.glob("*.deb"):
            _run(["dpkg", "-x", str(package), str(root)], folder)
        (folder / "root").rename(target)


def _missing_packages(options: list[str]) -> list[str]:
    """The package, and all that it needs and the system has not."""
    command = ["apt-get", *options, "install", "--print-uris", "--no-install-recommends", "-y", PACKAGE]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=FETCH_WITHIN)
    return re.findall(r"^'\S+' ([^_\s]+)_\S+\.deb ", done.stdout, re.MULTILINE) if done.returncode == 0 else []


def _run(command: list[str], folder: Path) -> None:
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False, timeout=FETCH_WITHIN)
    assert done.returncode == 0, f"{' '.join(command)}:\n{done.stdout}{done.stderr}\n{HOW_TO_GET_IT}"
