"""The example of a Django project as its user runs it, under each server."""

import contextlib
import json
import sqlite3
from pathlib import Path

import pytest

from airweave_webhooks.testing import Sender
from airweave_webhooks.testing.payloads import payload
from conftest import SECRET
from django_servers import Project

pytestmark = pytest.mark.anyio

EXAMPLE = Path(__file__).parents[2] / "examples" / "django_project"
COLLECTION = json.loads(payload("sync.completed"))["collection_readable_id"]


async def test_the_example(tmp_path: Path) -> None:
    """Migrated, checked, served by runserver, gunicorn and uvicorn in turn: each delivery counts once."""
    project = Project(EXAMPLE, "project.settings", tmp_path)
    assert "no changes detected" in project.manage("makemigrations", "--check", "--dry-run").lower()
    project.manage("migrate", "--verbosity=0")
    assert "no issues" in project.manage("check", "--database=default")
    assert "Ran 2 tests" in project.manage("test", "syncs")
    message = None
    for server, options in {"runserver": [], "gunicorn": ["--workers=2"], "uvicorn": []}.items():
        with project.served(server, *options) as served:
            async with Sender(f"{served.url}/webhooks/airweave", secrets=SECRET) as sender:
                assert await sender.probe() == 200
                if message is not None:
                    assert (await sender.attempt(message)).outcome == "duplicate", "the record is the project's"
                message = sender.message(payload("sync.completed"))
                attempts = await sender.concurrent(message, 5)
                assert {attempt.outcome for attempt in attempts} <= {"processed", "duplicate", "in_progress"}
                assert (await sender.resend(message.id)).outcome == "duplicate"
                failed = sender.message(payload("sync.failed"))
                assert (await sender.attempt(failed)).outcome == "processed"
                assert (await sender.attempt(sender.message(payload("collection.created")))).outcome == "ignored"
        assert "known: Engineering Context failed with" in served.log
        assert "Traceback" not in served.log
    with contextlib.closing(sqlite3.connect(tmp_path / "project.sqlite3")) as database:
        assert database.execute("SELECT name, syncs FROM syncs_collection").fetchall() == [(COLLECTION, 3)]
        assert database.execute("SELECT count(*) FROM airweave_webhooks_delivery").fetchall() == [(9,)]
