"""Counts that stop at a limit, so that their cost is bounded."""

from typing import Any

from django.db.models import (
    IntegerField,
    QuerySet,
    Subquery,
)

QUEUE_COUNT_LIMIT = 10_000  # a queue is counted up to this many


class BoundedCount(Subquery):
    """Counts the rows of a sliced query; the slice is the limit.

    where   the SQL condition of rows to count; as a filter of the query it would make the database
            read past the slice
    """

    template = "(SELECT COUNT(*) FROM (%(subquery)s) AS counted WHERE %(where)s)"
    output_field = IntegerField()

    def __init__(self, queryset: QuerySet[Any], *, where: str = "1 = 1"):
        super().__init__(queryset, where=where)


def format_bounded_count(number: int) -> str:
    """Return a count as text; above QUEUE_COUNT_LIMIT, the limit with a plus sign."""
    return f"{QUEUE_COUNT_LIMIT:,}+" if number > QUEUE_COUNT_LIMIT else f"{number:,}"
