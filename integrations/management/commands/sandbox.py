"""Run the sandbox of a vendor: a local server that behaves like the vendor's API."""

import signal
from importlib import import_module
from pathlib import Path
from types import FrameType, ModuleType
from typing import Any, NoReturn

from django.core.management.base import BaseCommand, CommandError, CommandParser

from integrations import destinations


class Command(BaseCommand):
    help = "Run a local server that behaves like a vendor's API. Stop it with Ctrl-C."
    requires_system_checks = []  # needs no database and no Penstock settings

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("destination", help="Key of the vendor, such as heap.")
        parser.add_argument("--port", type=int, default=8085, help="Default: %(default)s.")
        parser.add_argument(
            "--host",
            default="127.0.0.1",
            help="Default: %(default)s. On another address, anyone who can reach it can read the "
            "received data.",
        )

    def handle(self, *, destination: str, host: str, port: int, **options: Any) -> None:
        sandbox = load_sandbox(destination)
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, _stop)
        try:
            server = sandbox.serve(host, port)
        except (OSError, OverflowError) as error:
            raise CommandError(f"Cannot listen on {host}:{port}: {error}") from error
        self.stdout.write(f"Sandbox of {destination}: {server.url}/_sandbox/ (Ctrl-C stops it)")
        self.stdout.flush()
        try:
            server.serve_forever()
        except KeyboardInterrupt:
            self.stdout.write("Stopped.")
        finally:
            server.shutdown()


def load_sandbox(key: str) -> ModuleType:
    """Return the sandbox of a destination. Raises CommandError if it has none."""
    if key not in (known := sandbox_keys()):
        raise CommandError(
            f"{key!r} has no sandbox. Destinations with a sandbox: {', '.join(known)}."
        )
    return import_module(f"integrations.destinations.{key}.sandbox")


def sandbox_keys() -> list[str]:
    """Return the keys of destinations with a sandbox, which is a module or a package."""
    folders = (Path(place) for place in destinations.__path__)
    paths = (path for folder in folders for path in folder.glob("*/sandbox*"))
    return sorted({p.parent.name for p in paths if p.name == "sandbox.py" or _is_package(p)})


def _is_package(path: Path) -> bool:
    return path.name == "sandbox" and (path / "__init__.py").exists()


def _stop(number: int, frame: FrameType | None) -> NoReturn:
    raise KeyboardInterrupt
