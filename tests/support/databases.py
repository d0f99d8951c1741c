"""Migrated databases: copies of a template that this process creates once.

Migrating an empty database takes a process and two seconds. Tests of the migration itself start
from an empty database.
"""

import atexit
import shutil
import tempfile
from contextlib import suppress
from functools import cache
from pathlib import Path

import psycopg
from psycopg import sql

from tests.support import services
from tests.support.processes import environment, manage


@cache
def migrated_sqlite_file() -> Path:
    """Return the path of a migrated file to copy."""
    folder = tempfile.mkdtemp(prefix="penstock-migrated-")
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    path = Path(folder) / "penstock.sqlite3"
    manage(environment(f"sqlite:///{path}"), "migrate", "-v", "0")
    return path


@cache
def migrated_postgres_template(server: str) -> str:
    """Return the name of a migrated database on the server to copy."""
    url = services.database_url_on(server)
    name = url.rpartition("/")[2]
    execute(server, "CREATE DATABASE {}", name)
    atexit.register(drop, server, name)
    manage(environment(url), "migrate", "-v", "0")
    return name


def drop(server: str, name: str) -> None:
    with suppress(psycopg.OperationalError):  # the server belonged to a test and has stopped
        execute(server, "DROP DATABASE {}", name)


def execute(server: str, statement: str, *names: str) -> None:
    with psycopg.connect(server, autocommit=True) as connection:
        connection.execute(sql.SQL(statement).format(*map(sql.Identifier, names)))


def new_sqlite(folder: Path, name: str = "penstock") -> str:
    """Return the address of a new database in the folder."""
    return f"sqlite:///{shutil.copy(migrated_sqlite_file(), folder / f'{name}.sqlite3')}"


def new_postgres(server: str) -> str:
    """Return the address of a new database on the server."""
    url = services.database_url_on(server)
    execute(
        server,
        "CREATE DATABASE {} TEMPLATE {}",
        url.rpartition("/")[2],
        migrated_postgres_template(server),
    )
    return url
