"""Reading rows that only grow, a page at a time: by key, without counting or skipping."""

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from django.db.models import Model, QuerySet

SKEW = timedelta(minutes=5)  # how far the order of ids may differ from the order of time


@dataclass(frozen=True, slots=True)
class Page:
    """Rows, newest first, and whether there are newer and older ones.

    looked_to  the id down to which was looked, when that ended before the page was full
    """

    rows: list[Any]
    has_newer: bool
    has_older: bool
    looked_to: int | None = None


def page(
    rows: QuerySet[Any],
    *,
    limit: int,
    before: int | None = None,
    after: int | None = None,
    by: str = "pk",
) -> Page:
    """Return the page of rows that are older than `before`, or that are newer than `after`.

    by  the column to order by: the id, under whatever name
    """
    if after is not None:
        found = list(rows.filter(pk__gt=after).order_by(by)[: limit + 1])
        return Page(found[:limit][::-1], has_newer=len(found) > limit, has_older=True)
    older = rows if before is None else rows.filter(pk__lt=before)
    found = list(older.order_by(f"-{by}")[: limit + 1])
    return Page(found[:limit], has_newer=before is not None, has_older=len(found) > limit)


def arrived(
    rows: QuerySet[Any], column: str, *, since: datetime | None, until: datetime | None
) -> QuerySet[Any]:
    """Return the rows whose `column` is in [since, until).

    Times have no index. Ids rise with them but for SKEW, so the ends of the range are looked up
    by key first, and the log outside of it is not read.
    """
    if since is not None:
        first = first_id(rows.model, column, since - SKEW)
        rows = rows.filter(**{"pk__gte": first, f"{column}__gte": since})
    if until is not None:
        end = first_id(rows.model, column, until + SKEW)
        rows = rows.filter(**{"pk__lt": end, f"{column}__lt": until})
    return rows


def first_id(model: type[Model], column: str, moment: datetime) -> int:
    """Return the id from which on `column` is at or after `moment`, by bisection of the key."""
    rows = model._default_manager.order_by("pk").values_list("pk", column)
    last = rows.last()
    low, high = 0, last[0] + 1 if last else 0
    while low < high:
        middle = (low + high) // 2
        pk, at = rows.filter(pk__gte=middle)[0]
        low, high = (low, middle) if at >= moment else (pk + 1, high)
    return low
