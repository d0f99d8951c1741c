"""The table of faults: its rows, where they run, and what came of each.

PENSTOCK_FAULTS   "short" (the default): each row in its short form, as CI runs them; "full": with
                  its full rounds, as `make faults` does
PENSTOCK_FAULT_ROUNDS   instead of the full rounds
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
    """This checkout has not what a row needs; the text says what."""


@dataclass(slots=True)
class Result:
    """What came of a row, or of as much of it as was done before it failed.

    accepted   messages that were answered with 200
    failed     deliveries that failed as they should, with their reasons
    lost       accepted, and neither delivered, queued, filtered, failed with a reason nor cancelled
    doubled    counted twice by the vendor
    again      sent twice with the same idempotency key, and counted once
    recovery   seconds until it went on, of each round
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
        """Add the ledger's lines of installations."""
        self.delivered += account["delivered"]
        self.pending += account["queued"]
        self.failed += account["failed"]

    def write(self, verdict: str, seconds: float) -> dict[str, Any]:
        """Append it to the results that the table is made of, and return it as it is there."""
        RESULTS.parent.mkdir(exist_ok=True)
        line = (
            asdict(self) | {"verdict": verdict, "seconds": round(seconds, 1)} | _environment_info()
        )
        with RESULTS.open("a") as file:
            file.write(json.dumps(line) + "\n")
        return line


@dataclass(frozen=True, slots=True)
class RowContext:
    """Where a row runs, and for how many rounds."""

    database: str
    rounds: int
    full: bool
    folder: Path
    servers: Servers

    def url(self, *, empty: bool = False) -> str:
        """Return the address of a new database, migrated unless it is to be empty."""
        if self.database == POSTGRES:
            server = self.servers.postgres
            return server.new_database() if empty else support_databases.new_postgres(server.url)
        name = f"penstock-{time.monotonic_ns()}"
        if empty:
            return f"sqlite:///{self.folder}/{name}.sqlite3"
        return support_databases.new_sqlite(self.folder, name)

    def full_or_short(self, full: Value, short: Value) -> Value:
        """Return what the form that is asked for takes."""
        return full if self.full else short


Work = Callable[[RowContext, Result], None]


@dataclass(frozen=True, slots=True, kw_only=True)
class FaultRow:
    """One fault.

    short, full   rounds in CI and by hand. What is counted is asserted in both; how long things
                  took in both only where a busy machine can hold it, as the row's own words say
    on            the databases it is done on, in CI the first of them only
    in_process        it works on pytest's own database, without processes
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
    """Put a function into the table. It fills in its result, and asserts its pass figures."""

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
    """Do a row, write its result down, and return it. Raises AssertionError when it failed."""
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
