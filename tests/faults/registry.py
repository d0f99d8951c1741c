"""The table of faults: its rows, the databases they run on, and their results.

PENSTOCK_FAULTS         "short" (the default) runs the short form of each row, as CI does; "full"
                        runs all rounds, as `make faults` does
PENSTOCK_FAULT_ROUNDS   number of rounds to run instead of the full number
"""

import json
import os
import subprocess
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, TypeVar

import psutil

from tests.faults.support.servers import Servers
from tests.faults.table import RESULTS
from tests.support import databases as support_databases
from tests.support.processes import ROOT

FULL = os.environ.get("PENSTOCK_FAULTS", "short") == "full"

POSTGRES, SQLITE = "PostgreSQL", "SQLite"
Value = TypeVar("Value")


class RowUnavailable(Exception):
    """This checkout lacks something that a row needs; the text names it."""


@dataclass(slots=True)
class Result:
    """The result of a row; if the row failed, its result up to that point.

    accepted   messages that were answered with 200
    failed     deliveries that failed as expected
    reasons    number of failed or cancelled deliveries by reason
    lost       accepted, and neither delivered, queued, filtered, failed with a reason nor cancelled
    doubled    counted twice by the vendor
    again      sent twice with the same idempotency key, and counted once
    recovery   seconds until delivery resumed, for each round
    """

    number: str
    name: str
    database: str
    rounds: int
    full: int
    accepted: int = 0
    delivered: int = 0
    pending: int = 0
    failed: int = 0
    reasons: dict[str, int] = field(default_factory=dict)
    lost: int = 0
    doubled: int = 0
    again: int = 0
    recovery: list[float] = field(default_factory=list)
    note: str = ""

    def add(self, account: dict[str, Any]) -> None:
        """Add the ledger line of an installation."""
        self.delivered += account["delivered"]
        self.pending += account["queued"]
        self.failed += account["failed"]

    def write(self, verdict: str, seconds: float) -> dict[str, Any]:
        """Append the result to the file that the table is made from; return the appended line."""
        RESULTS.parent.mkdir(exist_ok=True)
        line = (
            asdict(self) | {"verdict": verdict, "seconds": round(seconds, 1)} | _environment_info()
        )
        with RESULTS.open("a") as file:
            file.write(json.dumps(line) + "\n")
        return line


@dataclass(frozen=True, slots=True)
class RowContext:
    """The database and servers of a row, and its number of rounds."""

    database: str
    rounds: int
    full: bool
    folder: Path
    servers: Servers

    def url(self, *, empty: bool = False) -> str:
        """Create a database, migrated unless it should be empty, and return its URL."""
        if self.database == POSTGRES:
            server = self.servers.postgres
            return server.new_database() if empty else support_databases.new_postgres(server.url)
        name = f"penstock-{time.monotonic_ns()}"
        if empty:
            return f"sqlite:///{self.folder}/{name}.sqlite3"
        return support_databases.new_sqlite(self.folder, name)

    def full_or_short(self, full: Value, short: Value) -> Value:
        """Return the value for the form that runs."""
        return full if self.full else short


Work = Callable[[RowContext, Result], None]


@dataclass(frozen=True, slots=True, kw_only=True)
class FaultRow:
    """One fault.

    short, full   number of rounds in the short form (CI) and in the full form. Both forms assert
                  the counts. The short form asserts only the times that a busy machine can keep,
                  as the docstring of the row says.
    on            databases that the row runs on; the short form uses only the first, unless the
                  row runs in process
    in_process    whether the row runs in pytest's own process and database
    """

    number: str
    name: str
    work: Work
    short: int
    full: int
    on: tuple[str, ...]
    in_process: bool

    @property
    def rounds(self) -> int:
        if not FULL:
            return self.short
        return int(os.environ.get("PENSTOCK_FAULT_ROUNDS", "0")) or self.full


TABLE: list[FaultRow] = []


def row(
    number: str,
    name: str,
    *,
    short: int,
    full: int,
    on: tuple[str, ...] = (POSTGRES,),
    in_process: bool = False,
) -> Callable[[Work], Work]:
    """Register a function as a row. It fills in its result and asserts the required figures."""

    def register(work: Work) -> Work:
        TABLE.append(
            FaultRow(
                number=number,
                name=name,
                work=work,
                short=short,
                full=full,
                on=on,
                in_process=in_process,
            )
        )
        return work

    return register


def run_row(each: FaultRow, context: RowContext) -> dict[str, Any]:
    """Run a row, save its result and return it. Raises AssertionError if the row fails."""
    result = Result(each.number, each.name, context.database, context.rounds, each.full)
    started = time.monotonic()
    try:
        each.work(context, result)
    except AssertionError as error:
        result.note = f"{result.note} {str(error)[:300]}".replace("\n", " ").strip()
        result.write("fail", time.monotonic() - started)
        raise
    return result.write("pass", time.monotonic() - started)


def _environment_info() -> dict[str, Any]:
    commit = subprocess.run(
        ["git", "rev-parse", "--short", "HEAD"], cwd=ROOT, capture_output=True, text=True
    ).stdout.strip()
    return {
        "commit": commit,
        "date": time.strftime("%Y-%m-%d"),
        "machine": f"{psutil.cpu_count()} cores",
        "form": "full" if FULL else "short",
    }
