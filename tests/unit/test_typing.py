"""What type checkers say about user code: one file that they must accept, one that they must refuse line by line."""

import json
import runpy
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, Final, TypeAlias

import pytest

FILES: Final = Path(__file__).parents[1] / "typing"
ACCEPTED: Final = "accepted.py"
REFUSED: Final = "refused.py"
MARKED: Final = {
    number for number, line in enumerate((FILES / REFUSED).read_text().splitlines(), 1) if line.endswith("# refused")
}

# File to line to what was said about it.
Errors: TypeAlias = Mapping[str, Mapping[int, str]]


def run(folder: Path, *command: str) -> str:
    """Run a checker as users do, in a folder that has neither our settings nor our caches."""
    done = subprocess.run(
        [sys.executable, "-m", *command], cwd=folder, capture_output=True, text=True, timeout=110, check=False
    )
    assert done.returncode in {0, 1}, done.stdout + done.stderr
    return done.stdout


def mypy(folder: Path) -> Iterator[tuple[str, int, str]]:
    """Every error of `mypy --strict`."""
    options = ["--strict", "--config-file=", f"--cache-dir={folder / 'cache'}", "--output=json"]
    for line in run(folder, "mypy", *options, ACCEPTED, REFUSED).splitlines():
        found: dict[str, Any] = json.loads(line)
        if found["severity"] == "error":
            yield found["file"], found["line"], found["message"]


def pyright(folder: Path) -> Iterator[tuple[str, int, str]]:
    """Every error and warning of pyright's strict mode."""
    settings = {"include": [ACCEPTED, REFUSED], "typeCheckingMode": "strict"}
    (folder / "pyrightconfig.json").write_text(json.dumps(settings))
    report = json.loads(run(folder, "pyright", "--project", ".", "--pythonpath", sys.executable, "--outputjson"))
    assert report["summary"]["filesAnalyzed"] == 2
    for found in report["generalDiagnostics"]:
        yield Path(found["file"]).name, found["range"]["start"]["line"] + 1, found["message"]


@pytest.fixture(scope="module", params=[mypy, pyright], ids=["mypy", "pyright"])
def errors(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Errors:
    """What one checker says about both files."""
    pytest.importorskip(request.param.__name__)
    folder = tmp_path_factory.mktemp(request.param.__name__)
    for name in (ACCEPTED, REFUSED):
        shutil.copy(FILES / name, folder)
    check: Callable[[Path], Iterator[tuple[str, int, str]]] = request.param
    errors: dict[str, dict[int, str]] = {ACCEPTED: {}, REFUSED: {}}
    for file, line, message in check(folder):
        errors[file][line] = message
    return errors


def quoted(name: str, lines: set[int]) -> list[str]:
    """The lines of a file, to be read in the report of a failed test."""
    text = (FILES / name).read_text().splitlines()
    return [f"{name}:{line}: {text[line - 1].strip()}" for line in sorted(lines)]


def test_correct_code_is_accepted(errors: Errors) -> None:
    """Nothing in the file of correct code is an error."""
    assert errors[ACCEPTED] == {}


def test_every_mistake_is_refused(errors: Errors) -> None:
    """Each marked line is an error."""
    assert MARKED
    assert quoted(REFUSED, MARKED - set(errors[REFUSED])) == []


def test_nothing_but_mistakes_is_refused(errors: Errors) -> None:
    """No other line is: an error stands where the mistake was made, and brings no others with it."""
    assert quoted(REFUSED, set(errors[REFUSED]) - MARKED) == []


def test_correct_code_runs() -> None:
    """What the checkers accept is also accepted when it runs: every decorator, provider and receiver in the file."""
    made = runpy.run_path(str(FILES / ACCEPTED))
    assert len(made["receiver"].table.handlers) > 40
