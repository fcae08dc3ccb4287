"""Databases of a Django project, each under an alias of its own, made and migrated while the tests run."""

import os
from typing import Any

import django
from django.core.management import call_command
from django.db import connections

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "django_settings")
django.setup()


def add_database(alias: str, **settings: Any) -> None:
    """Let Django know a database. `settings` are as in `DATABASES`."""
    connections.settings[alias] = settings
    connections.configure_settings(connections.settings)


def forget_database(alias: str) -> None:
    """Disconnect in this thread, and let Django know no more of it."""
    connections[alias].close()
    del connections[alias]
    del connections.settings[alias]


def migrate(alias: str) -> None:
    """Make the tables."""
    call_command("migrate", database=alias, verbosity=0)
