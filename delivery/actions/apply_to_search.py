"""Applies an action to all deliveries that match a search, one page at a time.

Each page is a transaction of its own. When the time budget of a request runs out, the action stops
after a page and the result says that it is incomplete. A repeated request continues with the rest.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import datetime

from django.db.models import QuerySet

from delivery.log.search.language import Search, Term
from delivery.log.search.query import LogQuery, compile_search
from delivery.models import Delivery, Lane

BULK_PAGE_SIZE = 1_000  # deliveries per transaction
BULK_BUDGET = 4.0  # seconds that one request may take

State = Delivery.State


class AmbiguousSelection(ValueError):
    """A search does not select one installation, or excludes the state that the action is for."""


@dataclass(frozen=True, slots=True)
class BulkResult:
    """How many deliveries were changed, and whether those were all."""

    count: int
    is_complete: bool

    def format_count(self) -> str:
        return f"{self.count:,}" if self.is_complete else f"{self.count:,}+"


def apply_to_all(
    query: LogQuery, action: Callable[[QuerySet[Delivery]], int], *, budget: float = BULK_BUDGET
) -> BulkResult:
    """Apply an action to all matching deliveries, newest first.

    action  receives up to BULK_PAGE_SIZE deliveries and returns how many it changed
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
    """Count the matches of a search within one scan window."""
    return BulkResult(*query.count_within_scan())


def select_unresolved(search: Search, now: datetime) -> LogQuery:
    """Return the unresolved failed deliveries of a search. Raises AmbiguousSelection."""
    _validate_search(search, State.FAILED)
    return compile_search(search.only("state", State.FAILED).only("resolved", "no"), now)


def select_queued(search: Search, now: datetime) -> LogQuery:
    """Return the queued deliveries of a search, read from the lanes of its installation.

    Raises AmbiguousSelection.
    """
    _validate_search(search, State.QUEUED)
    query = compile_search(search.only("state"), now)
    [installation] = search.ids_of("installation")
    lanes = list(Lane.objects.filter(installation=installation).values_list("pk", flat=True))
    return replace(query, rows=query.rows.order_by().filter(lane__in=lanes, state=State.QUEUED))


def _validate_search(search: Search, state: str) -> None:
    if search.problems:
        raise AmbiguousSelection(" ".join(search.problems))
    if len(search.values("installation")) != 1:
        raise AmbiguousSelection("Select one installation, as in installation:Heap.")
    states = search.values("state")
    if (states and state not in states) or Term("state", state, negated=True) in search.terms:
        raise AmbiguousSelection(
            f"This action is for {state} deliveries, and the search excludes them."
        )
