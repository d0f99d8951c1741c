"""`manage.py up`: run the web server, the cluster and the sandbox under one process."""

import http.client
import json
import resource
import socket
import subprocess
import sys
import threading
import time
from contextlib import suppress
from datetime import UTC, datetime
from io import TextIOBase
from ipaddress import ip_address
from typing import IO, Any
from urllib.parse import urlsplit

from django.conf import settings
from django.core.management import call_command
from django.core.management.base import BaseCommand, CommandError, CommandParser
from django.db import OperationalError

from delivery.operations.processes import Backoff, ProcessGroup, StopRequest, manage
from delivery.telemetry.process_numbers import share_metrics
from integrations.access.sealed_columns import find_unreadable

MAX_SECRETS_LISTED = 10  # in an error
UP_STOP_SECONDS = 20.0  # seconds for all parts together
PART_POLL_SECONDS = 0.2  # seconds between two checks of the parts

# For glibc, which otherwise keeps large blocks and an arena for each thread, so that web processes
# would take a quarter more memory. One arena costs nothing, because the GIL serialises malloc.
MALLOC_ENVIRONMENT = {
    "MALLOC_ARENA_MAX": "1",
    "MALLOC_MMAP_THRESHOLD_": "65536",
    "MALLOC_TRIM_THRESHOLD_": "131072",
}

WEB_CONNECTIONS = 2_048  # that a web process holds
WEB_HEAD_BYTES = 65_536  # of a connection that are read at once; a larger request head is refused

BindAddress = tuple[str, int]


class Command(BaseCommand):
    help = "Migrate, bootstrap, then run web server, cluster and sandbox until Ctrl-C."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument(
            "--allow-unreadable-secrets",
            action="store_true",
            help="Start although PENSTOCK_SECRETS_KEYS cannot open some stored secrets, so that "
            "they can be entered again.",
        )

    def handle(self, *, allow_unreadable_secrets: bool = False, **options: Any) -> None:
        stop = StopRequest()
        web = web_address()
        sandbox = sandbox_address()
        check_can_listen(web, "PENSTOCK_WEB_BIND")
        if sandbox == web:
            raise CommandError(
                f"PENSTOCK_WEB_BIND and PENSTOCK_SANDBOX_URL are both {format_address(web)}. "
                "Use another port for one of them."
            )
        if sandbox:
            check_can_listen(sandbox, "PENSTOCK_SANDBOX_URL")
        prepare_database()
        if not allow_unreadable_secrets:
            check_secrets()
        share_metrics(settings.VAR_DIR / "metrics")
        allow_connections()
        # Each part works without those after it, so they are stopped in reverse order.
        parts = [RestartingProcess("sandbox", sandbox_command(sandbox))] if sandbox else []
        parts += [
            RestartingProcess("web", web_command(web)),
            RestartingProcess("cluster", manage("cluster")),
        ]
        try:
            self.supervise(parts, web, sandbox, stop)
        finally:
            until = time.monotonic() + UP_STOP_SECONDS
            for part in reversed(parts):
                part.stop(max(until - time.monotonic(), 0.0))
        print_part_line("up", "Penstock has stopped.")

    def supervise(
        self,
        parts: list["RestartingProcess"],
        web: BindAddress,
        sandbox: BindAddress | None,
        stop: StopRequest,
    ) -> None:
        ready = False
        while not stop.wait(PART_POLL_SECONDS):
            for part in parts:
                part.check()
            # An ingest URL, because a page would load code that a web process may never need.
            if (
                not ready
                and is_responding(web, "/healthz")
                and is_responding(sandbox, "/_sandbox/")
            ):
                ready = True
                address = f"http://{format_address(web)}/admin/"
                print_part_line("up", f"\n  Penstock is ready: {address}   (Ctrl-C stops it)\n")


class RestartingProcess:
    """A command that is restarted whenever it ends."""

    def __init__(self, name: str, command: list[str]):
        self.name = name
        self.command = command
        self.backoff = Backoff()
        self.group: ProcessGroup | None = None
        self.pump: threading.Thread | None = None
        self.due = 0.0  # monotonic

    def check(self) -> None:
        """Start the command if it is due; clean up and schedule a restart if it ended."""
        if self.group is None:
            if time.monotonic() >= self.due:
                self.start()
        elif not self.group.is_running():
            delay = self.backoff.delay(self.group.age)
            text = f"ended unexpectedly; restarting in {delay:.0f} s."
            print_part_line(self.name, text)
            self.stop(0.0)
            self.due = time.monotonic() + delay

    def start(self) -> None:
        # Without PYTHONUNBUFFERED its output would arrive late and in blocks.
        environment = {"PYTHONUNBUFFERED": "1", **MALLOC_ENVIRONMENT}
        self.group = ProcessGroup(self.command, environment, output=subprocess.PIPE)
        self.pump = threading.Thread(
            target=forward_lines, args=[self.name, self.group.output], daemon=True
        )
        self.pump.start()

    def stop(self, seconds: float) -> None:
        if self.group is None or self.pump is None:
            return
        self.group.stop(seconds)
        self.pump.join(1.0)  # wait for its last lines
        self.group.close()
        self.group = None


def prepare_database() -> None:
    try:
        call_command("migrate", verbosity=0)
        call_command("bootstrap", stdout=PartOutput("up"))
    except OperationalError as error:
        raise CommandError(f"The database of DATABASE_URL cannot be used: {error}") from None


def check_secrets() -> None:
    """Raise CommandError if the keys open not all stored secrets."""
    if unreadable := find_unreadable():
        listed = ", ".join(unreadable[:MAX_SECRETS_LISTED])
        more = len(unreadable) - MAX_SECRETS_LISTED
        raise CommandError(
            f"PENSTOCK_SECRETS_KEYS cannot open the secrets of {listed}"
            f"{f' and {more:,} more' if more > 0 else ''}. Add the key that sealed them to the "
            "list. If it is lost, use --allow-unreadable-secrets and enter the secrets again; "
            "until then, nothing that needs them works."
        )


def allow_connections() -> None:
    """Let the web processes open a file for each connection: many systems allow 1,024."""
    now, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = 2 * WEB_CONNECTIONS
    if now != resource.RLIM_INFINITY and now < wanted:
        limit = wanted if most == resource.RLIM_INFINITY else min(wanted, most)
        resource.setrlimit(resource.RLIMIT_NOFILE, (limit, most))


def web_command(address: BindAddress) -> list[str]:
    return [
        *(sys.executable, "-m", "granian", "--interface", "rsgi", "--http", "1", "--no-ws"),
        *("--host", address[0], "--port", str(address[1])),
        *("--workers", str(settings.WEB_WORKERS), "--respawn-failed-workers"),
        *("--loop", "asyncio"),
        # Unfinished requests count as well, and a worker accepts no connections beyond these.
        *("--backlog", str(WEB_CONNECTIONS), "--backpressure", str(WEB_CONNECTIONS)),
        *("--http1-buffer-size", str(WEB_HEAD_BYTES)),
        "config.rsgi:application",
    ]


def sandbox_command(address: BindAddress) -> list[str]:
    return manage("sandbox", "heap", "--host", address[0], "--port", str(address[1]))


def web_address() -> BindAddress:
    """Return the IP address and port of PENSTOCK_WEB_BIND. Raises CommandError."""
    host, _, port = settings.WEB_BIND.rpartition(":")
    return resolve_host(host.strip("[]")), int(port)  # a system check has validated them


def resolve_host(host: str) -> str:
    """Return the IP address of a host, because granian takes no names. Raises CommandError."""
    try:
        found = socket.getaddrinfo(host, None, type=socket.SOCK_STREAM)
    except OSError as error:
        raise CommandError(f"PENSTOCK_WEB_BIND: {host} has no address: {error.strerror}.") from None
    found.sort(key=lambda each: each[0] != socket.AF_INET)  # localhost: 127.0.0.1 before ::1
    return str(found[0][4][0])


def sandbox_address() -> BindAddress | None:
    """Return where to run the sandbox, or None if it runs elsewhere or not at all."""
    url = urlsplit(settings.SANDBOX_URL)
    host = "127.0.0.1" if url.hostname == "localhost" else url.hostname
    try:
        here = bool(host) and ip_address(host).is_loopback
    except ValueError:  # a host name
        here = False
    return (host, url.port or 80) if host and here else None


def check_can_listen(address: BindAddress, setting: str) -> None:
    """Raise CommandError if nothing can listen on the address."""
    try:
        family, *_, target = socket.getaddrinfo(*address, type=socket.SOCK_STREAM)[0]
        with socket.socket(family, socket.SOCK_STREAM) as listener:
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            listener.bind(target)
    except OSError as error:
        raise CommandError(
            f"Cannot listen on {format_address(address)}: {error.strerror}. "
            f"Stop the program that uses it, or set {setting} in .env or in the environment."
        ) from None


def is_responding(address: BindAddress | None, path: str) -> bool:
    """Return whether an HTTP server answers at the address, with any status; True without one."""
    if address is None:
        return True
    host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(address[0], address[0])  # noqa: S104
    connection = http.client.HTTPConnection(host, address[1], timeout=5)
    with suppress(OSError, http.client.HTTPException):
        connection.request("GET", path)
        connection.getresponse()
        connection.close()
        return True
    return False


def format_address(address: BindAddress) -> str:
    host, port = address
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def forward_lines(name: str, lines: IO[bytes]) -> None:
    for line in lines:
        print_part_line(name, line.decode(errors="replace").rstrip())


class PartOutput(TextIOBase):
    """The output of a command that `up` calls itself."""

    def __init__(self, name: str):
        self.name = name

    def write(self, text: str) -> int:
        for line in text.splitlines():
            print_part_line(self.name, line)
        return len(text)


def print_part_line(name: str, text: str) -> None:
    """Print a line of a part: `up` itself, or a process whose log lines may be JSON already.

    With LOG_FORMAT=json, every line is JSON, whoever wrote it.
    """
    if settings.LOG_FORMAT != "json":
        print_line(text if name == "up" else f"[{name}] {text}")
    elif text.startswith("{"):
        print_line(text)
    elif text.strip():
        fields = {"timestamp": datetime.now(UTC).isoformat(), "level": "INFO", "logger": name}
        print_line(json.dumps({**fields, "message": text.strip()}))


def print_line(text: str) -> None:
    # OSError: the terminal may be gone, which must not block or end the parts.
    with suppress(OSError):
        sys.stdout.write(text + "\n")
        sys.stdout.flush()
