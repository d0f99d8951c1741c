"""The measured processes, run as in production, and the tables that they work on."""

import os
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from io import StringIO
from typing import Any

import requests
from django.conf import settings
from django.core.management import call_command
from django.core.management.color import no_style
from django.db import connection
from django_q.brokers import get_broker
from django_q.models import OrmQ

from benchmarks import hurried
from delivery.management.commands import up
from delivery.models import (
    Attempt,
    AttemptBody,
    Carried,
    Delivery,
    Event,
    EventBody,
    Lane,
    Metric,
    Past,
    Settlement,
    Tally,
    Told,
)
from delivery.operations.processes import ProcessGroup, manage
from integrations.catalog import catalog
from integrations.installations.install import install

READY = 90.0  # seconds a process may take to start
STOP = 20.0  # seconds a cluster may take to end
STOP_SERVER = 5.0  # seconds a server may take: granian never ends if stopped while it starts
LOOK = 0.1  # seconds between two checks of a condition

STORED = (Event, EventBody, Delivery, Tally)  # what one ingest request writes
COUNTED = (Settlement, Metric, Past)
WORKED = (*STORED, *COUNTED, Attempt, AttemptBody, Carried, Told, Lane, OrmQ, hurried.Event)
QUEUES = (os.environ["BENCH_QUEUE"], f"{os.environ['BENCH_QUEUE']}-hurried")
HURRIED = {
    "BENCH_URLCONF": hurried.__name__,
    "BENCH_QUEUE": QUEUES[1],
    "BENCH_SCHEDULER": "false",  # Penstock's sweep must not run in it
}


def prepare() -> None:
    """Create the tables, a source, and an installation of Heap that sends to the sandbox."""
    call_command("migrate", verbosity=0)
    call_command("bootstrap", stdout=StringIO())  # it prints the credentials of this run
    config = {"app_id": hurried.APP_ID, "region": "sandbox"}
    install(catalog()["heap"], name="Heap", config=config)
    with connection.schema_editor() as editor:
        editor.create_model(hurried.Event)


def clear() -> None:
    """Empty the tables and the queues."""
    tables = [model._meta.db_table for model in WORKED]
    statements = connection.ops.sql_flush(no_style(), tables, reset_sequences=True)
    connection.ops.execute_sql_flush(statements)
    forget_queues()


def forget_queues() -> None:
    for queue in QUEUES:
        get_broker(queue).delete_queue()


# --- processes -----------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Web:
    """A running web server."""

    port: int
    group: ProcessGroup

    def megabytes(self) -> float:
        """Return the memory of its largest process."""
        return max(each.memory_info().rss for each in self.group.members()) / 1e6


@contextmanager
def web(environment: Mapping[str, str] | None = None) -> Iterator[Web]:
    """Run the web server as in production."""
    address = up.web_address()
    ready = partial(up.is_responding, address, "/healthz")  # as `manage.py up` checks
    with _running(up.web_command(address), environment, ready) as group:
        yield Web(address[1], group)


@contextmanager
def bare() -> Iterator[Web]:
    """Run the bare function in the same server, on another port, behind its WSGI interface.

    That interface is the fastest for it, because it needs no event loop.
    """
    with socket.create_server(("127.0.0.1", 0)) as listener:
        address = listener.getsockname()
    command = [
        *(sys.executable, "-m", "granian", "--interface", "wsgi", "--no-ws"),
        *("--host", address[0], "--port", str(address[1])),
        *("--workers", str(settings.WEB_WORKERS)),
        *("--blocking-threads", str(settings.WEB_THREADS)),
        "benchmarks.bare:application",
    ]
    ready = partial(up.is_responding, address, "/")
    with _running(command, ready=ready) as group:
        yield Web(address[1], group)


@contextmanager
def cluster() -> Iterator[None]:
    with _running(manage("cluster"), stop=STOP):
        yield


@contextmanager
def hurried_cluster() -> Iterator[None]:
    with _running(manage("qcluster"), HURRIED, stop=STOP):
        yield


@contextmanager
def sandbox() -> Iterator[None]:
    address = up.sandbox_address()
    with _running(
        up.sandbox_command(address), ready=partial(up.is_responding, address, "/_sandbox/")
    ):
        yield


@contextmanager
def _running(
    command: Sequence[str],
    environment: Mapping[str, str] | None = None,
    ready: Callable[[], bool] = lambda: True,
    stop: float = STOP_SERVER,
) -> Iterator[ProcessGroup]:
    with open(os.environ["BENCH_LOG"], "ab") as log:
        group = ProcessGroup(
            command, {**up.MALLOC_ENVIRONMENT, **(environment or {})}, output=log.fileno()
        )
    try:
        wait_until(ready, seconds=READY, what=f"{command[1:]} responds", alive=group.is_running)
        yield group
    finally:
        group.stop(stop)
        group.close()


def wait_until(
    condition: Callable[[], bool],
    *,
    seconds: float,
    what: str,
    alive: Callable[[], bool] = lambda: True,
) -> None:
    """Wait for the condition. Raises TimeoutError, with a message that ends with `what`."""
    until = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > until or not alive():
            raise TimeoutError(f"Gave up waiting until {what}.")
        time.sleep(LOOK)


# --- sandbox and ledger --------------------------------------------------------------------------


def sink(page: str) -> dict[str, Any]:
    """Return the JSON of one of the sandbox's pages."""
    return requests.get(f"{settings.SANDBOX_URL}/_sandbox/{page}", timeout=30).json()


def clear_sink() -> None:
    requests.post(f"{settings.SANDBOX_URL}/_sandbox/reset", timeout=30).raise_for_status()


def ledger_closes() -> bool:
    """Return whether `manage.py ledger --json` reports that the ledger closes."""
    done = subprocess.run(manage("ledger", "--json"), stdout=subprocess.PIPE, check=False)
    return done.returncode == 0
