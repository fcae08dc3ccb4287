"""What the README and the docs show runs as it stands."""

import re
from pathlib import Path
from typing import Any

import pytest

from conftest import SECRET

ROOT = Path(__file__).parents[2]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_the_code_on_a_page_runs(page: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The blocks of one page, in order, are one program."""
    monkeypatch.setenv("AIRWEAVE_WEBHOOK_SECRET", SECRET)
    monkeypatch.chdir(tmp_path)
    names: dict[str, Any] = {"__name__": "page"}
    for block in re.findall(r"```python\n(.*?)```", page.read_text(), re.DOTALL):
        exec(compile(block, page.name, "exec"), names)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_the_links_of_a_page_lead_somewhere(page: Path) -> None:
    """Relative links name files that exist."""
    for target in re.findall(r"\]\((?!https?:)([^)#]+)", page.read_text()):
        assert (page.parent / target).exists(), target


def test_the_readme_shows_the_commands_that_exist() -> None:
    """Every script that a page names is there, and can be run."""
    for page in PAGES:
        for script in set(re.findall(r"\bscripts/\w+", page.read_text())):
            assert (ROOT / script).stat().st_mode & 0o111, script
