"""`make bench`: run Penstock on a fresh database and measure its performance.

    python benchmarks/run.py [--quick] [--only ingest|answers|memory|delivery|latency]
                             [--database postgres://user@host:port | sqlite] [--broker redis://…]

It prints one JSON line for each figure, and a table for people on stderr. docs/benchmarks.md
explains what each figure means, and figures.py measures them. This module only prepares a new
database, free ports and an environment, and removes them afterwards, whatever happens.
"""

import argparse
import base64
import os
import secrets
import shlex
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import urlsplit

import psycopg

ROOT = Path(__file__).resolve().parent.parent
POSTGRESQL = "postgres://postgres@127.0.0.1:5432"
FIGURES = ("ingest", "answers", "memory", "delivery", "latency")
NOT_OURS = ("PENSTOCK_", "BENCH_", "DATABASE_URL", "BROKER_URL", "DEBUG", "LOG_LEVEL")
KEPT_LOG = Path(tempfile.gettempdir()) / "penstock-bench.log"
INTERRUPTED = 130  # exit code, after Ctrl-C


def main(figures: Sequence[str] = FIGURES) -> int:
    options = read_options(figures)
    with tempfile.TemporaryDirectory(prefix="penstock-bench-") as name:
        folder = Path(name)
        (folder / "log").touch()
        with database(options.database or reachable(POSTGRESQL), folder) as url:
            code = measure(options, environment(url, options.broker, folder))
        if code not in (0, INTERRUPTED):
            shutil.copy(folder / "log", KEPT_LOG)
            say(f"The measurement failed; the log of its processes is {KEPT_LOG}")
    return code


def read_options(figures: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Measure Penstock on this machine.")
    parser.add_argument(
        "--database",
        help=f"A PostgreSQL server, such as {POSTGRESQL} (the default if it is running), in which "
        "a database is created and dropped; or sqlite.",
    )
    parser.add_argument("--broker", default="", help="redis://…; the default is the database.")
    parser.add_argument("--quick", action="store_true", help="A tenth of the events.")
    parser.add_argument("--only", dest="figures", nargs=1, choices=figures, default=figures)
    return parser.parse_args()


def reachable(server: str) -> str:
    """Return the server, or "sqlite" if no server responds at that address."""
    try:
        psycopg.connect(f"{server}/postgres", connect_timeout=3).close()
    except psycopg.OperationalError:
        say(f"No PostgreSQL at {server}: measuring on SQLite.")
        return "sqlite"
    return server


@contextmanager
def database(server: str, folder: Path) -> Iterator[str]:
    """Create a new database and yield its URL; drop the database afterwards."""
    if server == "sqlite":
        yield f"sqlite:///{folder}/bench.sqlite3"
        return
    name = f"penstock_bench_{secrets.token_hex(4)}"
    server = urlsplit(server)._replace(path="").geturl()
    administer(server, f"CREATE DATABASE {name}")
    try:
        yield f"{server}/{name}"
    finally:
        administer(server, f"DROP DATABASE {name} WITH (FORCE)")


def administer(server: str, statement: str) -> None:
    with psycopg.connect(f"{server}/postgres", autocommit=True) as connection:
        connection.execute(statement)


def environment(url: str, broker: str, folder: Path) -> dict[str, str]:
    """Return the environment of the processes: default settings, except for addresses."""
    web, sandbox = free_ports(2)
    return {
        **{name: value for name, value in os.environ.items() if not name.startswith(NOT_OURS)},
        "DJANGO_SETTINGS_MODULE": "benchmarks.settings",
        "SECRET_KEY": secrets.token_urlsafe(48),
        "PENSTOCK_SECRETS_KEYS": base64.urlsafe_b64encode(secrets.token_bytes(32)).decode(),
        "PENSTOCK_WRITE_KEY": "wk_benchmarks",
        "PENSTOCK_WEB_BIND": f"127.0.0.1:{web}",
        "PENSTOCK_SANDBOX_URL": f"http://127.0.0.1:{sandbox}",
        "DATABASE_URL": url,
        "BROKER_URL": broker,
        "BENCH_QUEUE": f"bench-{secrets.token_hex(4)}",
        "BENCH_SCHEDULER": "true",
        "BENCH_LOG": str(folder / "log"),
        "BENCH_COMMAND": f"python benchmarks/{shlex.join([Path(sys.argv[0]).name, *sys.argv[1:]])}",
    }


def free_ports(count: int) -> list[int]:
    listeners = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    ports = [listener.getsockname()[1] for listener in listeners]
    for listener in listeners:
        listener.close()
    return ports


def measure(options: argparse.Namespace, env: dict[str, str]) -> int:
    """Run the measurement and return its exit code.

    If this process is killed, everything that the measurement started ends with it.
    """
    what = ["--quick"] * options.quick + [",".join(options.figures)]
    command = [
        sys.executable,
        "-m",
        "delivery.operations.die_with_parent",
        sys.executable,
        "-m",
        "benchmarks",
        *what,
    ]
    child = subprocess.Popen(
        command, cwd=ROOT, env=env, stdin=subprocess.PIPE, start_new_session=True
    )
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, lambda *_: child.terminate())
    try:
        return child.wait()
    finally:
        child.terminate()


def say(text: str) -> None:
    print(text, file=sys.stderr)


if __name__ == "__main__":
    sys.exit(main())
