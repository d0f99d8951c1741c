"""Counts that stop at a limit, so that their cost is bounded."""

from typing import Any

from django.db.models import (
    IntegerField,
    QuerySet,
    Subquery,
)

QUEUE_COUNT_LIMIT = 10_000  # what is queued is counted no further


class BoundedCount(Subquery):
    """Counts the rows of a sliced query: the slice is how far it counts.

    where   which of them to count, in SQL: a condition of the query itself would be met by
            looking further than the slice
    """

    template = "(SELECT COUNT(*) FROM (%(subquery)s) AS counted WHERE %(where)s)"
    output_field = IntegerField()

    def __init__(self, queryset: QuerySet[Any], *, where: str = "1 = 1"):
        super().__init__(queryset, where=where)


def format_bounded_count(number: int) -> str:
    """Return a number as it is shown: beyond QUEUE_COUNT_LIMIT, that it is more."""
    return f"{QUEUE_COUNT_LIMIT:,}+" if number > QUEUE_COUNT_LIMIT else f"{number:,}"
