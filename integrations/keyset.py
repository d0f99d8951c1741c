"""Keyset pagination of growing tables: pages are read by key, without COUNT or OFFSET."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from django.db import connection
from django.db.models import BigIntegerField, BooleanField, ExpressionWrapper, Model, Q, QuerySet
from django.db.models.expressions import RawSQL

ID_TIME_SKEW = timedelta(minutes=5)  # how far the order of ids may deviate from the order of times


@dataclass(frozen=True, slots=True)
class Page:
    """Rows, newest first, and whether newer and older rows exist.

    scanned_to  the id at which the scan stopped, if it stopped before the page was full
    """

    rows: list[Any]
    has_newer: bool
    has_older: bool
    scanned_to: int | None = None


def fetch_page(
    rows: QuerySet[Any],
    *,
    limit: int,
    before: int | None = None,
    after: int | None = None,
    by: str = "pk",
    full_rows: QuerySet[Any] | None = None,
) -> Page:
    """Return the page of rows older than `before`, or newer than `after`.

    by         the name of the id column to order by
    full_rows  an unfiltered queryset of the rows to return, whose joins apply to the page only
    """
    if after is not None:
        fetched = _first_rows(rows.filter(pk__gt=after).order_by(by), limit + 1, full_rows)
        fetched.sort(key=lambda row: row.pk)
        return Page(fetched[:limit][::-1], has_newer=len(fetched) > limit, has_older=True)
    older = rows if before is None else rows.filter(pk__lt=before)
    fetched = _first_rows(older.order_by(f"-{by}"), limit + 1, full_rows)
    return Page(fetched[:limit], has_newer=before is not None, has_older=len(fetched) > limit)


def _first_rows(rows: QuerySet[Any], count: int, full_rows: QuerySet[Any] | None) -> list[Any]:
    return list(
        rows[:count] if full_rows is None else select_by_ids(full_rows, rows.values("pk")[:count])
    )


def select_by_ids(
    full_rows: QuerySet[Any], first: QuerySet[Any], *, is_bounded: bool = False
) -> QuerySet[Any]:
    """Return the rows whose ids a query selects, newest first, so that joins apply to them only.

    This takes one statement, except on SQLite, which sorts every row that an inner query could
    match. There, the inner query must be bounded by more than a LIMIT to be one statement.

    is_bounded  whether conditions of the inner query, not only its LIMIT, bound its rows
    """
    apart = connection.vendor == "sqlite" and not is_bounded
    ids = [row["pk"] for row in first] if apart else first
    return full_rows.filter(pk__in=ids).order_by("-pk")


def filter_time_range(
    rows: QuerySet[Any], column: str, *, since: datetime | None, until: datetime | None
) -> QuerySet[Any]:
    """Return the rows whose `column` is in [since, until).

    Times have no index. Ids rise with time, within ID_TIME_SKEW, so the ends of the range are
    looked up by id first, and rows outside the range are not read.
    """
    if since is not None:
        first = first_id(rows.model, column, since - ID_TIME_SKEW)
        rows = rows.filter(**{"pk__gte": first, f"{column}__gte": since})
    if until is not None:
        end = end_id(rows.model, column, until + ID_TIME_SKEW)
        rows = rows.filter(**{"pk__lt": end, f"{column}__lt": until})
    return rows


@dataclass(frozen=True, slots=True)
class TimeBound:
    """A moment whose id is looked up by a time column; see first_id() and end_id()."""

    model: type[Model]
    column: str
    moment: datetime
    is_end: bool = False


def first_id(model: type[Model], column: str, moment: datetime) -> int:
    """Return the id from which on `column` is at or after `moment`, and before which it is not.

    A recent row about an old time counts from its creation. A model with such rows provides
    `backfilled_since` and `last_backfilled_id`.
    """
    return find_bound_ids(TimeBound(model, column, moment))[0]


def end_id(model: type[Model], column: str, moment: datetime) -> int:
    """Return the id from which on no row has a `column` before `moment`."""
    return find_bound_ids(TimeBound(model, column, moment, is_end=True))[0]


def find_bound_ids(*edges: TimeBound) -> list[int]:
    """Return the id for each bound, in one statement."""
    if not edges:
        return []
    queries = [
        query for edge in edges for query in (_search_query(edge), _last_backfilled_id(edge))
    ]
    with connection.cursor() as cursor:
        cursor.execute(
            f"SELECT {', '.join(f'({sql})' for sql, _ in queries)}",
            [param for _, params in queries for param in params],
        )
        bounds = cursor.fetchone()
    return [
        int(first if late is None else max(first, late + 1))
        for first, late in zip(bounds[::2], bounds[1::2], strict=True)
    ]


def _last_backfilled_id(edge: TimeBound) -> tuple[str, Sequence[Any]]:
    if not edge.is_end or not hasattr(edge.model, "last_backfilled_id"):
        return "NULL", ()
    sql: tuple[str, Sequence[Any]] = edge.model.last_backfilled_id(
        edge.moment
    ).query.sql_with_params()
    return sql


def _search_query(edge: TimeBound) -> tuple[str, Sequence[Any]]:
    model, moment = edge.model, edge.moment
    is_late = Q(**{f"{edge.column}__gte": moment})
    if hasattr(model, "backfilled_since"):
        is_late |= model.backfilled_since(moment)
    probe = RawSQL(PROBE_SQL, (), output_field=BigIntegerField())  # noqa: S611
    rows = model._default_manager.filter(pk__gte=probe).order_by("pk")
    late = rows.annotate(late=ExpressionWrapper(is_late, BooleanField())).values("late")[:1]
    sql, params = late.query.sql_with_params()
    table = connection.ops.quote_name(model._meta.db_table)
    return SEARCH_SQL.format(table=table, probe=PROBE_SQL, late=f"({sql})"), params


# A search in one statement instead of one for each of about 23 steps. All rows before `low` are
# before the moment, and no row from `high` on is. The search starts at the newest row, doubles its
# stride, then bisects the rest: most moments are recent, and after a purge, while an old snapshot
# is open, an index lookup scans all purged rows up to the next row. The oldest id is read only if
# the search gets that far. Recursion rows alternate between a probe, which costs a lookup, and its
# evaluation, because SQLite allows no subquery that does both.
PROBE_SQL = "CASE WHEN stride > 0 THEN high - stride ELSE (low + high) / 2 END"
SEARCH_SQL = """
    WITH RECURSIVE search(low, high, stride, looked, late) AS (
        SELECT CAST(0 AS bigint), CAST(COALESCE((SELECT MAX(id) + 1 FROM {table}), 0) AS bigint),
            CAST(1 AS bigint), FALSE, FALSE
        UNION ALL
        SELECT
            CASE WHEN NOT looked THEN low
                WHEN late IS NOT TRUE THEN {probe} + 1
                WHEN stride > 0 AND {probe} <= 2 * stride THEN (SELECT MIN(id) FROM {table})
                ELSE low END,
            CASE WHEN looked AND late IS TRUE THEN {probe} ELSE high END,
            CASE WHEN NOT looked THEN stride
                WHEN late IS TRUE AND {probe} > 2 * stride THEN 2 * stride
                ELSE 0 END,
            NOT looked,
            CASE WHEN NOT looked THEN {late} END
        FROM search WHERE low < high
    )
    SELECT MAX(low) FROM search
"""
