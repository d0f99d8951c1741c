"""The fault suite: `make faults` runs all of it, CI the short forms. docs/reliability.md."""

import sys
from collections.abc import Iterator

import pytest
from django.db import connection

from tests.faults import registry  # noqa: F401
from tests.faults.registry import POSTGRES, SQLITE, TABLE, Place, Row, perform
from tests.faults.rows import (
    broken_settings,  # noqa: F401
    isolation,  # noqa: F401
    kills,  # noqa: F401
    outages,  # noqa: F401
    races,  # noqa: F401
    readers,  # noqa: F401
    replays,  # noqa: F401
    retention,  # noqa: F401
    ssrf,  # noqa: F401
    throughput,  # noqa: F401
    traceability,  # noqa: F401
    upgrades_and_alerts,  # noqa: F401
    vendors,  # noqa: F401
    workers,  # noqa: F401
)
from tests.faults.support import secret_canaries  # noqa: F401
from tests.faults.support.servers import Servers
from tests.faults.table import HEAD, line_of
from tests.support.services import Missing, required


@pytest.fixture(scope="session")
def servers() -> Iterator[Servers]:
    with Servers() as servers:
        yield servers


def cases(*, inside: bool) -> list[object]:
    found = [
        (each, database)
        for each in TABLE
        if each.inside == inside
        for database in (each.on if registry.FULL or inside else each.on[:1])
    ]
    return [
        pytest.param(each, database, id=f"{each.number}-{database}-{each.name}")
        for each, database in found
    ]


@pytest.mark.kills
@pytest.mark.parametrize(("each", "database"), cases(inside=False))
def test_fault(each, database, servers, tmp_path, capsys):
    run(each, database, servers, tmp_path, capsys)


@pytest.mark.parametrize(("each", "database"), cases(inside=True))
def test_fault_inside(each, database, servers, tmp_path, capsys, transactional_db):
    here = POSTGRES if connection.vendor == "postgresql" else SQLITE
    if database != here:
        pytest.skip(f"pytest's own database is {here}")
    run(each, database, servers, tmp_path, capsys)


def run(each: Row, database: str, servers: Servers, folder, capsys) -> None:
    place = Place(database, each.rounds, registry.FULL, folder, servers)
    try:
        result = perform(each, place)
    except Missing as missing:
        if required("postgres"):
            pytest.fail(str(missing))
        pytest.skip(str(missing))
    except registry.Unfit as unfit:
        pytest.skip(f"it needs {unfit}")
    if registry.FULL:
        with capsys.disabled():
            sys.stdout.write(f"\n{HEAD}\n{line_of(result)}\n")
