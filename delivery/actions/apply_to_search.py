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
from delivery.log.search.query import Scope, scope
from delivery.models import Delivery, Lane

AT_ONCE = 1_000  # deliveries a transaction
BUDGET = 4.0  # seconds that a person, or a program, waits

State = Delivery.State


class NotOne(ValueError):
    """A search is not about deliveries of one installation, or not about those in question."""


@dataclass(frozen=True, slots=True)
class Done:
    """How many it was done to, and whether those were all."""

    count: int
    is_whole: bool

    def in_words(self) -> str:
        return f"{self.count:,}" if self.is_whole else f"{self.count:,}+"


def to_all(
    found: Scope, act: Callable[[QuerySet[Delivery]], int], *, budget: float = BUDGET
) -> Done:
    """Do something to all that a search means, the newest first.

    act  is given up to AT_ONCE of them, and returns to how many it did it
    """
    until, before, count = time.monotonic() + budget, None, 0
    while True:
        page = found.page(limit=AT_ONCE, before=before)
        ids = [each.pk for each in page.rows]
        count += act(Delivery.objects.filter(pk__in=ids)) if ids else 0
        if not page.has_older:
            return Done(count, True)
        if time.monotonic() > until:
            return Done(count, False)
        before = page.looked_to or ids[-1]


def count(found: Scope) -> Done:
    """Count what a search means, as far as one look goes."""
    return Done(*found.counted())


def unresolved(search: Search, now: datetime) -> Scope:
    """Return the failed deliveries of a search that nobody resolved. Raises NotOne."""
    _check(search, State.FAILED)
    return scope(search.only("state", State.FAILED).only("resolved", "no"), now)


def queued(search: Search, now: datetime) -> Scope:
    """Return the queued deliveries of a search, by the queues of its installation. Raises
    NotOne."""
    _check(search, State.QUEUED)
    found = scope(search.only("state"), now)
    [installation] = search.numbers_of("installation")
    lanes = list(Lane.objects.filter(installation=installation).values_list("pk", flat=True))
    return replace(found, rows=found.rows.order_by().filter(lane__in=lanes, state=State.QUEUED))


def _check(search: Search, state: str) -> None:
    if search.problems:
        raise NotOne(" ".join(search.problems))
    if len(search.values("installation")) != 1:
        raise NotOne("Name one installation, as in installation:Heap.")
    states = search.values("state")
    if (states and state not in states) or Term("state", state, negated=True) in search.terms:
        raise NotOne(f"That is for {state} deliveries, and the search leaves them out.")
