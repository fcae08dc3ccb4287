"""What the README and the docs show runs as it stands."""

import asyncio
import os
import re
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import psycopg
import pytest
from sqlalchemy import Engine

from airweave_webhooks import MemoryStore
from airweave_webhooks.testing.payloads import payload
from conftest import SECRET, sign
from databases import in_schema

ROOT = Path(__file__).parents[2]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_the_code_on_a_page_runs(
    page: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest
) -> None:
    """The blocks of one page, in order, are one program."""
    text = page.read_text()
    if "DATABASE_URL" in text:
        url = in_schema(request.getfixturevalue("postgres_url"), request.getfixturevalue("schema"))
        monkeypatch.setenv("DATABASE_URL", url)
    if page.name == "django.md":
        request.getfixturevalue("a_django_project")
    with asyncio.Runner() as runner:
        asyncio.set_event_loop(runner.get_loop())  # for mangum, which otherwise makes one and never closes it
        for value in run(text, page.name, tmp_path, monkeypatch).values():
            if isinstance(value, Engine):
                value.dispose()
        asyncio.set_event_loop(None)


@pytest.fixture
def a_django_project() -> None:
    """Where the page's files would be."""
    import django_databases  # noqa: F401 - sets Django up


def run(text: str, name: str, folder: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    monkeypatch.setenv("AIRWEAVE_WEBHOOK_SECRET", SECRET)
    monkeypatch.chdir(folder)
    module = ModuleType("page")
    monkeypatch.setitem(sys.modules, "page", module)  # where frameworks look for what annotations name
    names = vars(module)
    for block in re.findall(r"```python\n(.*?)```", text, re.DOTALL):
        exec(compile(block, name, "exec"), names)
    return names


@pytest.mark.anyio
async def test_the_handlers_of_exactly_once_work(
    postgres_url: str, schema: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Every handler on the page has its effect once, also when the receiver has forgotten the delivery."""
    monkeypatch.setenv("DATABASE_URL", in_schema(postgres_url, schema))
    names = run((ROOT / "docs" / "exactly-once.md").read_text(), "exactly-once.md", tmp_path, monkeypatch)
    body = payload("sync.completed")
    for _ in range(2):
        names["receiver"].store = MemoryStore()
        async with names["receiver"] as receiver:
            assert (await receiver.handle(sign(body), body)).outcome == "processed"
    with psycopg.connect(os.environ["DATABASE_URL"]) as connection:
        assert connection.execute("SELECT how FROM syncs ORDER BY how").fetchall() == [
            ("async",),
            ("psycopg",),
            ("sync",),
        ]
        assert connection.execute("SELECT count(*) FROM airweave_webhook_once").fetchall() == [(3,)]
    await names["async_engine"].dispose()
    names["engine"].dispose()


def test_the_tests_on_the_testing_page_pass(pytester: pytest.Pytester) -> None:
    """With the option that the page shows."""
    text = (ROOT / "docs" / "testing.md").read_text()
    blocks = re.findall(r"```python\n(.*?)```", text, re.DOTALL)
    pytester.makepyprojecttoml("\n".join(re.findall(r"```toml\n(.*?)```", text, re.DOTALL)))
    pytester.makepyfile(app=blocks[0], test_app="from app import *\n" + "\n".join(blocks[1:]))
    number = len(re.findall(r"^def test_", "".join(blocks), re.MULTILINE))
    assert number > 5
    pytester.runpytest().assert_outcomes(passed=number)


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
