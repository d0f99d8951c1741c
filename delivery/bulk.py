"""Many rows in one statement: the rows travel as one JSON parameter, on both databases.

A list of Python arrays as parameters costs about ten times as much on PostgreSQL, and a statement
per row more still.
"""

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from functools import cache
from typing import Any

import msgspec
from django.db import connection, models

Rows = Iterable[Sequence[Any]]


def insert(
    model: type[models.Model],
    names: Sequence[str],
    rows: Rows,
    *,
    keep_first: bool = False,
    returning: Sequence[str] = (),
    meet_by: str = "",
) -> list[tuple[Any, ...]]:
    """Insert rows of the named columns, in order, in one statement.

    keep_first   leave out rows that a unique constraint refuses, instead of failing
    returning    columns to give back of each row inserted, in the order of the rows
    meet_by      a text column of that constraint: statements with the same rows in different
                 orders then wait for one another, instead of each for the other. Ids rise in the
                 order of the rows nevertheless, but rows come back in another
    """
    source, columns, order = _source(model, names), ", ".join(names), ""
    if meet_by and connection.vendor == "postgresql":
        source, columns = _numbered(model, source), f"id, {columns}"
        order = f' ORDER BY {meet_by} COLLATE "C"'
    # WHERE: without it SQLite takes ON for the beginning of a join
    selected = f"SELECT {columns} FROM {source} WHERE true{order}"  # noqa: S608
    sql = f"INSERT INTO {_table(model)} ({columns}) {selected}"  # noqa: S608
    if keep_first:
        sql += " ON CONFLICT DO NOTHING"
    if returning:
        sql += f" RETURNING {', '.join(returning)}"
    with connection.cursor() as cursor:
        cursor.execute(sql, [_parameter(names, rows)])
        return list(cursor.fetchall()) if returning else []


def update(
    model: type[models.Model],
    names: Sequence[str],
    rows: Rows,
    *,
    add: Sequence[str] = (),
    fill: Sequence[str] = (),
    where: str = "",
) -> int:
    """Change the rows whose `id` is given, in one statement; return how many there were.

    names   columns to set, in the order in which each row gives them after the id
    add     of these: to be added to what is there
    fill    of these: null leaves what is there
    where   a condition in SQL that the row must meet, or it stays as it is
    """
    table = _table(model)
    values = {
        **{name: f"new.{name}" for name in names},
        **{name: f"{table}.{name} + new.{name}" for name in add},
        **{name: f"coalesce(new.{name}, {table}.{name})" for name in fill},
    }
    assignments = ", ".join(f"{name} = {value}" for name, value in values.items())
    given = ["id", *names]
    sql = (
        f"UPDATE {table} SET {assignments} FROM {_source(model, given)} "  # noqa: S608
        f"WHERE {table}.id = new.id{f' AND {where}' if where else ''}"
    )
    with connection.cursor() as cursor:
        cursor.execute(sql, [_parameter(given, rows)])
        return cursor.rowcount


@contextmanager
def few_waits() -> Iterator[None]:
    """In a transaction: wait only for statements whose rows are fetched, and for all at the end.

    Each wait for PostgreSQL costs a message that comes alone as much as all of its parsing.
    """
    if connection.vendor != "postgresql":
        yield
        return
    # what fails may be told at the end only, when no cursor of Django's is there to translate it
    with connection.wrap_database_errors, connection.connection.pipeline():
        yield


def _table(model: type[models.Model]) -> str:
    return connection.ops.quote_name(model._meta.db_table)


def _source(model: type[models.Model], names: Sequence[str]) -> str:
    """Return the SQL of a table `new` made of the JSON parameter."""
    return _source_of(connection.vendor, model, tuple(names))


@cache  # to ask each field for its type took an eighth of an ingest request
def _source_of(vendor: str, model: type[models.Model], names: tuple[str, ...]) -> str:
    if vendor == "postgresql":
        types = {f.column: f.cast_db_type(connection) for f in model._meta.concrete_fields}
        return f"json_to_recordset(%s) AS new({', '.join(f'{n} {types[n]}' for n in names)})"
    extracted = ", ".join(f"json_extract(value, '$.{name}') AS {name}" for name in names)
    return f"(SELECT {extracted} FROM json_each(%s)) AS new"  # noqa: S608


def _numbered(model: type[models.Model], source: str) -> str:
    """Return the SQL of the table `new` with an `id` for each row, in the order of the rows."""
    sequence = f"pg_get_serial_sequence('{model._meta.db_table}', 'id')"
    return f"(SELECT nextval({sequence}) AS id, new.* FROM {source} OFFSET 0) AS new"  # noqa: S608


def _parameter(names: Sequence[str], rows: Rows) -> str:
    encoded = [dict(zip(names, map(plain, row), strict=True)) for row in rows]
    return msgspec.json.encode(encoded).decode()


def plain(value: Any) -> Any:
    """Return a value as the database keeps it."""
    # Django keeps times in SQLite as text without a zone, in UTC.
    if isinstance(value, datetime) and connection.vendor == "sqlite":
        return str(value.astimezone(UTC).replace(tzinfo=None))
    return value
