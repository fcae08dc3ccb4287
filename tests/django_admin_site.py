"""A project with the admin, in this process: its people, its deliveries and its pages."""

import asyncio
import contextlib
import html
import re
import shutil
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any

from django.core.management import call_command
from django.db import connections
from django.test import Client

from airweave_webhooks.integrations.django import DjangoStore
from inbox_records import Filler

LIST = "/admin/airweave_webhooks/delivery/"
REPLAY = f"{LIST}replay/"


@contextlib.contextmanager
def as_default(settings: dict[str, Any]) -> Iterator[None]:
    """Let another database be the project's own, for a block."""
    before = connections.settings["default"]
    connections["default"].close()
    del connections["default"]
    connections.settings["default"] = settings
    connections.configure_settings(connections.settings)
    try:
        yield
    finally:
        connections["default"].close()
        del connections["default"]
        connections.settings["default"] = before


_MAY = {
    "operator": ["view_delivery", "replay_delivery"],
    "reader": ["view_delivery"],
    "blind": ["replay_delivery"],
    "nobody": [],
}


def make_tables_and_people() -> None:
    """`root` may do everything, `operator` see and replay, `reader` see, `blind` replay, `nobody` nothing."""
    from django.contrib.auth.models import Permission, User

    call_command("migrate", verbosity=0)
    User.objects.create_superuser("root")
    permissions = {one.codename: one for one in Permission.objects.filter(content_type__app_label="airweave_webhooks")}
    for name, given in _MAY.items():
        User.objects.create_user(name, is_staff=True).user_permissions.set([permissions[one] for one in given])


def empty_project(folder: Path) -> Path:
    """Make a file with that, and no deliveries."""
    file = folder / "project.sqlite"
    with as_default({"ENGINE": "django.db.backends.sqlite3", "NAME": str(file)}):
        make_tables_and_people()
    return file


class Site:
    """The project, as somebody sees it who is logged in."""

    def __init__(self, using: str = "default") -> None:
        self.using = using

    def fill(self, work: Callable[[Filler], Awaitable[Any]]) -> None:
        """Bring deliveries into the store."""

        async def run() -> None:
            store = DjangoStore(self.using)
            await store.open()
            await work(Filler(store))
            await store.close()

        asyncio.run(run())

    def client(self, name: str) -> Client:
        from django.contrib.auth.models import User

        client = Client()
        client.force_login(User.objects.get(username=name))
        return client

    def rows(self) -> dict[str, Any]:
        """Each delivery by its message id."""
        from airweave_webhooks.integrations.django.models import Delivery

        return {row.message_id: row for row in Delivery.objects.using(self.using).all()}

    def listed(self, page: str) -> list[str]:
        """What a list shows, by message id."""
        names = {row.pk: name for name, row in self.rows().items()}
        return [names[pk] for pk in re.findall(r'<th class="field-received"><a href="[^"]*/(\w{64})/change/', page)]

    def page_of(self, name: str) -> str:
        """The page of a delivery."""
        return f"{LIST}{self.rows()[name].pk}/change/"


def texts(page: str) -> str:
    """A page's text without its marks."""
    return " ".join(html.unescape(re.sub(r"<[^>]*>", " ", page)).split())


def hidden(page: str) -> dict[str, Any]:
    """The hidden fields of the form that asks before a replay."""
    found: dict[str, list[str]] = {}
    for field in re.findall(r'<input type="hidden"[^>]*>', page[page.index('id="content"') :]):
        names = dict(re.findall(r'(\w+)="([^"]*)"', field))
        found.setdefault(names["name"], []).append(names["value"])
    return found


def copied(file: Path, folder: Path, **settings: Any) -> dict[str, Any]:
    """A copy of a file as in `DATABASES`."""
    there = shutil.copy(file, folder / "project.sqlite")
    return {"ENGINE": "django.db.backends.sqlite3", "NAME": str(there), **settings}
