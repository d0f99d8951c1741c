"""Prints the figures as JSON lines for programs, and as a table for people."""

import json
import os
import platform
import statistics
import subprocess
import sys
from collections.abc import Sequence
from datetime import UTC, datetime
from functools import cache
from typing import Any

import msgspec
from django.conf import settings
from django.db import connection

from benchmarks.events import messages

Line = dict[str, Any]
Measured = Sequence[Sequence[float]]  # repetitions of Penstock, the floor, the hurried design


def line(figure: str, unit: str, measured: Measured, **more: Any) -> Line:
    """Return a figure with its ratios, which divide Penstock's median by the other median."""
    ours, floor, hurried = (_spread(each) for each in measured)
    return {
        "figure": figure,
        "unit": unit,
        **ours,
        "floor": floor,
        "ratio_to_floor": _digits(ours["median"] / floor["median"]),
        "hurried": hurried,
        "ratio_to_hurried": _digits(ours["median"] / hurried["median"]),
        **more,
        **_circumstances(),
    }


def plain(figure: str, unit: str, values: Sequence[float], **more: Any) -> Line:
    """Return a figure that has no floor."""
    return {"figure": figure, "unit": unit, **_spread(values), **more, **_circumstances()}


def _spread(values: Sequence[float]) -> dict[str, float]:
    return {
        "repetitions": len(values),
        "min": _digits(min(values)),
        "median": _digits(statistics.median(values)),
        "max": _digits(max(values)),
    }


def _digits(value: float) -> float:
    """Round to three significant digits, because more would mean nothing."""
    return float(f"{value:.3g}")


def _circumstances() -> dict[str, Any]:
    return {
        **_setup(),
        "load_average": round(os.getloadavg()[0], 1),  # of the last minute, including this work
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
    }


@cache
def _setup() -> dict[str, Any]:
    return {
        "bytes_per_event": bytes_per_event(),
        "database": _database(),
        "broker": settings.BROKER_URL.partition(":")[0] or "database",
        "cluster_workers": settings.CLUSTER_WORKERS,
        "python": platform.python_version(),
        "cores": os.cpu_count(),
        "commit": _commit(),
        "command": os.environ["BENCH_COMMAND"],
    }


def bytes_per_event() -> int:
    sample = messages("bench-event", 1_000)
    return round(statistics.mean(len(msgspec.json.encode(message)) for message in sample))


def _database() -> str:
    version = ".".join(map(str, connection.get_database_version()))
    return f"{connection.vendor} {version}"


def _commit() -> str:
    command = ["git", "describe", "--always", "--dirty", "--exclude=*"]
    done = subprocess.run(command, capture_output=True, text=True, cwd=settings.BASE_DIR)
    return done.stdout.strip() or "none"


def printed(line: Line) -> Line:
    print(json.dumps(line), flush=True)
    return line


def table(lines: Sequence[Line]) -> None:
    head = ("figure", "median", "min", "max", "unit", "floor", "× floor", "hurried", "× hurried")
    rows = [head, *map(_row, lines)]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for row in rows:
        cells = (cell.rjust(width) for cell, width in zip(row, widths, strict=True))
        print("  ".join(cells), file=sys.stderr)


def _row(line: Line) -> tuple[str, ...]:
    compared = ("", "", "", "")
    if "floor" in line:
        compared = (
            f"{line['floor']['median']:,g}",
            f"{line['ratio_to_floor']:g}",
            f"{line['hurried']['median']:,g}",
            f"{line['ratio_to_hurried']:g}",
        )
    return (
        line["figure"],
        *(f"{line[name]:,g}" for name in ("median", "min", "max")),
        line["unit"],
        *compared,
    )
