"""The fault suite. `make faults` runs the full forms, CI the short ones (docs/reliability.md)."""

import sys
from collections.abc import Iterator

import pytest
from django.db import connection

from tests.faults import registry  # noqa: F401
from tests.faults.registry import POSTGRES, SQLITE, TABLE, FaultRow, RowContext, run_row
from tests.faults.rows import (
    broken_settings,  # noqa: F401
    hostile_answers,  # noqa: F401
    hostile_clients,  # noqa: F401
    isolation,  # noqa: F401
    kills,  # noqa: F401
    outages,  # noqa: F401
    races,  # noqa: F401
    readers,  # noqa: F401
    replays,  # noqa: F401
    retention,  # noqa: F401
    ssrf,  # noqa: F401
    starvation,  # noqa: F401
    throughput,  # noqa: F401
    traceability,  # noqa: F401
    upgrades_and_alerts,  # noqa: F401
    vendors,  # noqa: F401
    workers,  # noqa: F401
)
from tests.faults.support import secret_canaries  # noqa: F401
from tests.faults.support.servers import Servers
from tests.faults.table import HEAD, format_line
from tests.support.services import ServiceMissing, is_required


@pytest.fixture(scope="session")
def servers() -> Iterator[Servers]:
    with Servers() as servers:
        yield servers


def cases(*, in_process: bool) -> list[object]:
    found = [
        (each, database)
        for each in TABLE
        if each.in_process == in_process
        for database in (each.on if registry.FULL or in_process else each.on[:1])
    ]
    return [
        pytest.param(each, database, id=f"{each.number}-{database}-{each.name}")
        for each, database in found
    ]


@pytest.mark.kills
@pytest.mark.parametrize(("each", "database"), cases(in_process=False))
def test_fault(each, database, servers, tmp_path, capsys):
    run_in_context(each, database, servers, tmp_path, capsys)


@pytest.mark.parametrize(("each", "database"), cases(in_process=True))
def test_fault_inside(each, database, servers, tmp_path, capsys, transactional_db):
    here = POSTGRES if connection.vendor == "postgresql" else SQLITE
    if database != here:
        pytest.skip(f"pytest's own database is {here}")
    run_in_context(each, database, servers, tmp_path, capsys)


def run_in_context(each: FaultRow, database: str, servers: Servers, folder, capsys) -> None:
    context = RowContext(database, each.rounds, registry.FULL, folder, servers)
    try:
        result = run_row(each, context)
    except ServiceMissing as missing:
        if is_required("postgres"):
            pytest.fail(str(missing))
        pytest.skip(str(missing))
    except registry.RowUnavailable as unfit:
        pytest.skip(f"needs {unfit}")
    if registry.FULL:
        with capsys.disabled():
            sys.stdout.write(f"\n{HEAD}\n{format_line(result)}\n")
