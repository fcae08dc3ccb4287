"""`manage.py airweave_webhooks …`: the command line's commands, with the receiver that the settings describe."""

import argparse
import sys
from collections.abc import Sequence
from typing import Any, NoReturn

from django.core.management.base import BaseCommand, CommandError, CommandParser

from airweave_webhooks.cli import require_extra


class Command(BaseCommand):
    """Only hands on what was typed: the commands read it, and write, as on the command line."""

    help = "Operate and look into this project's receiver of Airweave's webhooks."
    requires_system_checks: tuple[str, ...] = ()  # `doctor` looks, and a worker has to start where a check has doubts

    def run_from_argv(self, argv: Sequence[str]) -> NoReturn:
        """Run a command, and exit."""
        self._run(argv)

    def add_arguments(self, parser: CommandParser) -> None:
        """For `call_command`."""
        parser.add_argument("words", nargs=argparse.REMAINDER)

    def handle(self, *_: Any, words: Sequence[str], **__: Any) -> None:
        """Run a command for a program that goes on.

        Raises:
            CommandError: it did not end well; with its exit code.
        """
        try:
            self._run([sys.argv[0], "airweave_webhooks", *words])
        except SystemExit as ended:
            if code := ended.code:
                message = f"airweave_webhooks {' '.join(words)} has ended with {code}"
                raise CommandError(message, returncode=code if isinstance(code, int) else 1) from None

    def _run(self, argv: Sequence[str]) -> NoReturn:
        require_extra("cli,django")
        from airweave_webhooks.cli import project
        from airweave_webhooks.integrations.django.commanding import Project

        source = Project(argv)
        project.run(source, source.arguments)
