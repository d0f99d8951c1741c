"""Bulk SQL: inserts and updates many rows in one statement, on both databases.

The rows are sent as one JSON parameter. Python lists as array parameters cost about ten times as
much on PostgreSQL, and a statement per row even more.
"""

import math
import threading
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from functools import cache
from typing import Any, NamedTuple

import msgspec
from django.db import Error, OperationalError, connection, models
from django.db.transaction import atomic

Rows = Iterable[Sequence[Any]]

CONNECTION_TRUST_SECONDS = (
    1.0  # seconds after a transaction during which its connection is assumed to be alive
)

_last_transaction = threading.local()  # .at: monotonic time of this thread's last transaction


class Statement(NamedTuple):
    """SQL and its parameters."""

    sql: str
    values: Sequence[Any] = ()


def insert(
    model: type[models.Model],
    names: Sequence[str],
    rows: Rows,
    *,
    ignore_conflicts: bool = False,
    returning: Sequence[str] = (),
) -> list[tuple[Any, ...]]:
    """Insert rows of the named columns, in order, in one statement. See `insert_statement`."""
    return fetch_rows(
        insert_statement(model, names, rows, ignore_conflicts=ignore_conflicts, returning=returning)
    )


def insert_statement(
    model: type[models.Model],
    names: Sequence[str],
    rows: Rows,
    *,
    ignore_conflicts: bool = False,
    returning: Sequence[str] = (),
    lock_order: str = "",
) -> Statement:
    """Return the statement that inserts rows of the named columns, in order.

    ignore_conflicts  skip rows that violate a unique constraint, instead of failing
    returning         columns to return for each inserted row, in the order of the rows
    lock_order        a text column of that constraint, by which rows are inserted, so that
                      concurrent statements with the same rows cannot deadlock. Ids still rise in
                      the order of the rows, but rows are returned in another order
    """
    sql = _insert_sql(
        connection.vendor, model, tuple(names), ignore_conflicts, tuple(returning), lock_order
    )
    return Statement(sql, [_encode_rows(names, rows)])


@cache
def _insert_sql(
    vendor: str,
    model: type[models.Model],
    names: tuple[str, ...],
    ignore_conflicts: bool,
    returning: tuple[str, ...],
    lock_order: str,
) -> str:
    source, columns, order = _rows_source_sql(vendor, model, names), ", ".join(names), ""
    if lock_order and vendor == "postgresql":
        source, columns = _numbered_source(model, source), f"id, {columns}"
        order = f' ORDER BY {lock_order} COLLATE "C"'
    # Without WHERE, SQLite parses ON CONFLICT as a join condition.
    selected = f"SELECT {columns} FROM {source} WHERE true{order}"  # noqa: S608
    sql = f"INSERT INTO {_table(model)} ({columns}) {selected}"  # noqa: S608
    if ignore_conflicts:
        sql += " ON CONFLICT DO NOTHING"
    if returning:
        sql += f" RETURNING {', '.join(returning)}"
    return sql


def update(
    model: type[models.Model],
    names: Sequence[str],
    rows: Rows,
    *,
    add: Sequence[str] = (),
    fill: Sequence[str] = (),
    where: str = "",
) -> int:
    """Update rows by `id` in one statement; return how many were updated.

    names   columns to set, in the order of each row's values after the id
    add     the columns, of `names`, whose values are added to the stored ones
    fill    the columns, of `names`, where null keeps the stored value
    where   an SQL condition; rows that do not meet it are not updated
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
        f"UPDATE {table} SET {assignments} FROM {_rows_source(model, given)} "  # noqa: S608
        f"WHERE {table}.id = new.id{f' AND {where}' if where else ''}"
    )
    with connection.cursor() as cursor:
        cursor.execute(sql, [_encode_rows(given, rows)])
        return int(cursor.rowcount)


class Transaction:
    """The statements of one transaction, sent in as few round trips as possible.

    For a single ingested message, one round trip costs as much as all of its parsing.
    """

    def __init__(self) -> None:
        self.queue: list[Statement] = []
        self.on_commit_statements: list[Statement] = []
        self.on_commit_rows: list[list[tuple[Any, ...]]] = []

    def do(self, statement: Statement) -> None:
        """Queue a statement; it is sent with the next `rows` call, or at the end."""
        self.queue.append(statement)

    def rows(self, *statements: Statement) -> list[list[tuple[Any, ...]]]:
        """Send the queued statements and these; return the rows of each of these."""
        queue, self.queue = [*self.queue, *statements], []
        return _execute_all(queue)[len(queue) - len(statements) :]

    def on_commit(self, statements: Iterable[Statement]) -> None:
        """Send statements after the commit; `on_commit_rows` then holds the rows of each.

        They run in a second transaction, and its errors are raised too.
        """
        self.on_commit_statements += statements


@contextmanager
def transaction() -> Iterator[Transaction]:
    """Open a transaction that needs few round trips.

    It may be nested in Django's `atomic`, but must not contain one.
    """
    whole = Transaction()
    if connection.vendor != "postgresql" or connection.in_atomic_block:
        with atomic():
            yield whole
            whole.rows()
        whole.on_commit_rows = _execute_all(whole.on_commit_statements)
        return
    if time.monotonic() - getattr(_last_transaction, "at", -math.inf) < CONNECTION_TRUST_SECONDS:
        connection.health_check_done = True  # type: ignore[attr-defined]  # saves a round trip
    try:
        whole.do(Statement("BEGIN"))  # Django's BEGIN costs a round trip
        yield whole
        _, *whole.on_commit_rows = whole.rows(Statement("COMMIT"), *whole.on_commit_statements)
    except BaseException:
        _roll_back_or_close()
        raise
    _last_transaction.at = time.monotonic()


def _roll_back_or_close() -> None:
    try:
        connection.rollback()
    except Error:
        connection.close()  # the next query opens a new one


def fetch_rows(statement: Statement) -> list[tuple[Any, ...]]:
    """Run a statement; return its rows."""
    with connection.cursor() as cursor:
        cursor.execute(*statement)
        return list(cursor.fetchall()) if cursor.description else []


def _execute_all(statements: Sequence[Statement]) -> list[list[tuple[Any, ...]]]:
    """Send statements, in one round trip on PostgreSQL; return the rows of each."""
    if connection.vendor != "postgresql" or not statements:
        return [fetch_rows(each) for each in statements]
    values = [value for each in statements for value in each.values]
    with connection.cursor() as cursor:
        cursor.execute("; ".join(each.sql for each in statements), values)
        return list(_iter_results(cursor.cursor))  # read all, so that errors surface here


def _iter_results(cursor: Any) -> Iterator[list[tuple[Any, ...]]]:
    """Yield the rows of each statement that was sent to PostgreSQL in one round trip.

    cursor  the driver's cursor; Django's wrapper costs more per call than PostgreSQL per row
    """
    while True:
        if cursor.statusmessage == "ROLLBACK":  # COMMIT of a failed transaction raises no error
            raise OperationalError("The transaction failed before its commit.")
        yield cursor.fetchall() if cursor.pgresult.nfields else []
        if not cursor.nextset():
            return


def _table(model: type[models.Model]) -> str:
    return connection.ops.quote_name(model._meta.db_table)


def _rows_source(model: type[models.Model], names: Sequence[str]) -> str:
    """Return the SQL that reads the JSON parameter as a table `new`."""
    return _rows_source_sql(connection.vendor, model, tuple(names))


@cache  # looking up the field types took an eighth of an ingest request
def _rows_source_sql(vendor: str, model: type[models.Model], names: tuple[str, ...]) -> str:
    if vendor == "postgresql":
        types = {f.column: f.cast_db_type(connection) for f in model._meta.concrete_fields}
        return f"json_to_recordset(%s) AS new({', '.join(f'{n} {types[n]}' for n in names)})"
    extracted = ", ".join(f"json_extract(value, '$.{name}') AS {name}" for name in names)
    return f"(SELECT {extracted} FROM json_each(%s)) AS new"  # noqa: S608


def _numbered_source(model: type[models.Model], source: str) -> str:
    """Return the SQL of the table `new` with a new `id` for each row, in the order of the rows."""
    sequence = f"pg_get_serial_sequence('{model._meta.db_table}', 'id')"
    return f"(SELECT nextval({sequence}) AS id, new.* FROM {source} OFFSET 0) AS new"  # noqa: S608


def _encode_rows(names: Sequence[str], rows: Rows) -> str:
    encoded = [dict(zip(names, map(to_database_value, row), strict=True)) for row in rows]
    return msgspec.json.encode(encoded).decode()


def to_database_value(value: Any) -> Any:
    """Return a value as the database stores it."""
    # In SQLite, Django stores times as text, in UTC and without a zone.
    if isinstance(value, datetime) and connection.vendor == "sqlite":
        return str(value.astimezone(UTC).replace(tzinfo=None))
    return value


def from_database_time(value: Any) -> Any:
    """Return a time, or None, read with raw SQL; the inverse of `to_database_value`."""
    return datetime.fromisoformat(value).replace(tzinfo=UTC) if isinstance(value, str) else value
