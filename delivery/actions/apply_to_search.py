"""Something done to all deliveries that a search means, a page of them at a time.

Each page is a transaction of its own. What takes too long for one request ends after a page and
says so: asked again, it goes on with what is left.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import datetime

from django.db.models import QuerySet

from delivery.log.search.language import Search, Term
from delivery.log.search.query import LogQuery, compile_search
from delivery.models import Delivery, Lane

BULK_PAGE_SIZE = 1_000  # deliveries a transaction
BULK_BUDGET = 4.0  # seconds that a person, or a program, waits

State = Delivery.State


class AmbiguousSelection(ValueError):
    """A search is not about deliveries of one installation, or not about those in question."""


@dataclass(frozen=True, slots=True)
class BulkResult:
    """How many it was done to, and whether those were all."""

    count: int
    is_complete: bool

    def format_count(self) -> str:
        return f"{self.count:,}" if self.is_complete else f"{self.count:,}+"


def apply_to_all(
    query: LogQuery, action: Callable[[QuerySet[Delivery]], int], *, budget: float = BULK_BUDGET
) -> BulkResult:
    """Do something to all that a search means, the newest first.

    action  is given up to BULK_PAGE_SIZE of them, and returns to how many it did it
    """
    until, before, count = time.monotonic() + budget, None, 0
    while True:
        page = query.page(limit=BULK_PAGE_SIZE, before=before)
        ids = [each.pk for each in page.rows]
        count += action(Delivery.objects.filter(pk__in=ids)) if ids else 0
        if not page.has_older:
            return BulkResult(count, True)
        if time.monotonic() > until:
            return BulkResult(count, False)
        before = page.scanned_to or ids[-1]


def count_matching(query: LogQuery) -> BulkResult:
    """Count what a search means, as far as one look goes."""
    return BulkResult(*query.count_within_scan())


def select_unresolved(search: Search, now: datetime) -> LogQuery:
    """Return the failed deliveries of a search that nobody resolved. Raises AmbiguousSelection."""
    _validate_search(search, State.FAILED)
    return compile_search(search.only("state", State.FAILED).only("resolved", "no"), now)


def select_queued(search: Search, now: datetime) -> LogQuery:
    """Return the queued deliveries of a search, by the queues of its installation. Raises
    AmbiguousSelection."""
    _validate_search(search, State.QUEUED)
    query = compile_search(search.only("state"), now)
    [installation] = search.ids_of("installation")
    lanes = list(Lane.objects.filter(installation=installation).values_list("pk", flat=True))
    return replace(query, rows=query.rows.order_by().filter(lane__in=lanes, state=State.QUEUED))


def _validate_search(search: Search, state: str) -> None:
    if search.problems:
        raise AmbiguousSelection(" ".join(search.problems))
    if len(search.values("installation")) != 1:
        raise AmbiguousSelection("Name one installation, as in installation:Heap.")
    states = search.values("state")
    if (states and state not in states) or Term("state", state, negated=True) in search.terms:
        raise AmbiguousSelection(f"That is for {state} deliveries, and the search leaves them out.")
