"""The fault suite: `make faults` runs all of it, CI the short forms. docs/reliability.md."""

import sys
from collections.abc import Iterator

import pytest
from django.db import connection

from tests.faults import (  # noqa: F401
    addresses,
    canaries,
    configs,
    invisible,
    keeping,
    kills,
    neighbours,
    operating,
    outages,
    races,
    replays,
    rows,
    speed,
    vendors,
    viewers,
    workers,
)
from tests.faults.rows import POSTGRES, SQLITE, TABLE, Place, Row, perform
from tests.faults.servers import Servers
from tests.faults.table import HEAD, line_of
from tests.services import Missing, required


@pytest.fixture(scope="session")
def servers() -> Iterator[Servers]:
    with Servers() as servers:
        yield servers


def cases(*, inside: bool) -> list[object]:
    found = [
        (each, database)
        for each in TABLE
        if each.inside == inside
        for database in (each.on if rows.FULL or inside else each.on[:1])
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
    place = Place(database, each.rounds, rows.FULL, folder, servers)
    try:
        result = perform(each, place)
    except Missing as missing:
        if required("postgres"):
            pytest.fail(str(missing))
        pytest.skip(str(missing))
    except rows.Unfit as unfit:
        pytest.skip(f"it needs {unfit}")
    if rows.FULL:
        with capsys.disabled():
            sys.stdout.write(f"\n{HEAD}\n{line_of(result)}\n")
