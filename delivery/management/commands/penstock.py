"""The command-line interface. Exit codes: 0 done, 1 refused, 2 not understood."""

import sys

from django.core.exceptions import ValidationError
from django.core.management.base import BaseCommand, CommandError

from delivery.management.cli.deliveries import add_deliveries
from delivery.management.cli.installations import add_install, add_installations
from delivery.management.cli.replays import add_replay
from delivery.management.cli.screen import CommandRefused, TerminalScreen, describe_validation_error
from delivery.management.cli.sources import add_sources
from delivery.replay.lifecycle import ReplayAlreadyRunning
from integrations.installations.install import InvalidInstallation, NameTaken
from integrations.request_context import Caller, acting_as


class Command(BaseCommand):
    help = "Install integrations, manage sources, and read the log. See docs/cli.md."

    def add_arguments(self, parser):
        commands = parser.add_subparsers(dest="command", required=True, metavar="command")
        for add in (add_install, add_installations, add_sources, add_deliveries, add_replay):
            add(commands)

    def handle(self, *args, command, act, **options):
        screen = TerminalScreen(self.stdout, as_json=options["json"])
        with acting_as(Caller(name=f"penstock {command}")):
            try:
                act(screen, options)
            except (InvalidInstallation, ValidationError) as error:
                raise CommandError(describe_validation_error(error)) from None
            except (NameTaken, CommandRefused, ReplayAlreadyRunning) as error:
                raise CommandError(str(error)) from None
            except KeyboardInterrupt:
                sys.exit(130)
