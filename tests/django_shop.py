"""A Django project in a folder, with deliveries in its database; commands of its `manage.py` run as processes."""

import contextlib
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from commands import Folder, Serving
from conftest import SECRET

MANAGE = """
import sys
from django.core.management import execute_from_command_line
execute_from_command_line(sys.argv)
"""

SETTINGS = f"""
import os
from pathlib import Path

SECRET_KEY = "tests"
INSTALLED_APPS = [
    "django.contrib.contenttypes",
    "django.contrib.auth",
    "airweave_webhooks.integrations.django",
    "syncs",
]
DATABASES = {{"default": {{"ENGINE": "django.db.backends.sqlite3", "NAME": Path(__file__).parent / "shop.db"}}}}
USE_TZ = True
AIRWEAVE_WEBHOOKS = {{"NAME": "shop", "SECRETS": "{SECRET}", "MODE": "inbox"}}
"""

HANDLERS = """
import time
from pathlib import Path
from django.contrib.auth.models import Group
from airweave_webhooks import Delivery, Router, SyncEvent

HERE = Path(__file__).parents[1]
router = Router()


@router.on("sync.*")
def refresh(event: SyncEvent, delivery: Delivery) -> None:
    (HERE / "started").touch()
    while (HERE / "wait").exists():
        time.sleep(0.01)
    Group.objects.create(name=delivery.id)
"""

FILL = """
import asyncio
import django
django.setup()
from django.core.management import call_command
from airweave_webhooks.integrations.django import DjangoStore
from inbox_records import Filler


async def fill():
    store = DjangoStore()
    await store.open()
    await Filler(store).one_of_each()
    await store.close()


call_command("migrate", verbosity=0)
asyncio.run(fill())
"""

AS_MODULE = """
import django
django.setup()
from airweave_webhooks.integrations.django import get_receiver
receiver = get_receiver()
"""


class DjangoShop(Folder):
    """A project whose commands are those of `manage.py airweave_webhooks`."""

    def environment(self, **changed: str) -> dict[str, str]:
        return super().environment(**{"DJANGO_SETTINGS_MODULE": "shop_settings", **changed})

    def python(self, *arguments: str, code: int = 0, **environment: str) -> "subprocess.CompletedProcess[str]":
        """Run Python in the folder to its end, which is as it should be."""
        done = subprocess.run(
            [sys.executable, *arguments],
            cwd=self.folder,
            env=self.environment(**environment),
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        assert done.returncode == code, done.stdout + done.stderr
        return done

    def manage(self, *arguments: str, code: int = 0, **environment: str) -> "subprocess.CompletedProcess[str]":
        return self.python("manage.py", "airweave_webhooks", *arguments, code=code, **environment)

    @contextlib.contextmanager
    def working(self) -> Iterator[Serving]:
        """A worker, until the block ends."""
        process = subprocess.Popen(
            [sys.executable, "manage.py", "airweave_webhooks", "worker"],
            cwd=self.folder,
            env=self.environment(),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        serving = Serving(process)
        try:
            yield serving
        finally:
            serving.kill()


@pytest.fixture(scope="session")
def django_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The project as it is at first, with one delivery in each state."""
    folder = tmp_path_factory.mktemp("django")
    (folder / "syncs").mkdir()
    (folder / "run").mkdir(mode=0o700)
    shop = DjangoShop(folder)
    shop.write("manage.py", MANAGE)
    shop.write("shop_settings.py", SETTINGS)
    shop.write("syncs/__init__.py", "")
    shop.write("syncs/airweave_handlers.py", HANDLERS)
    shop.write("as_module.py", AS_MODULE)
    shop.write("fill.py", FILL)
    shop.python("fill.py", PYTHONPATH=os.pathsep.join(map(str, [Path(__file__).parent, folder])))
    return folder


@pytest.fixture
def django_shop(django_folder: Path, tmp_path: Path) -> DjangoShop:
    """A copy of the project."""
    return DjangoShop(Path(shutil.copytree(django_folder, tmp_path / "shop")))
