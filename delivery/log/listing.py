"""Queries for the lists of events and attempts, whose cost does not grow with the log.

As in search/query.py, indexes answer what they can and the rest is tested on the newest rows.
"""

from datetime import datetime
from typing import Any

from django.db.models import F, Q, QuerySet

from delivery.log import querysets
from delivery.log.search.query import MAX_EVENTS_PER_ID, LogQuery
from delivery.models import Attempt, Event
from integrations.keyset import filter_time_range

ATTEMPT_SCAN_ROWS = 1_000  # attempts per scan; few, because one attempt carries many deliveries
INDEXED_EVENT_COLUMNS = ("message_id", "user_id", "anonymous_id")


def query_events(
    *, since: datetime | None = None, until: datetime | None = None, **filters: Any
) -> LogQuery:
    """Return the events received in [since, until) that match the filters.

    Filters are message_id, user_id, anonymous_id, name, type and source.
    """
    rows = Event.objects.select_related("source")
    rows = filter_time_range(rows, "received_at", since=since, until=until)
    known = [name for name in INDEXED_EVENT_COLUMNS if name in filters]
    rest = Q(
        **{name: value for name, value in filters.items() if name not in INDEXED_EVENT_COLUMNS}
    )
    if not known:
        return LogQuery(rows, rest)
    ids = set.intersection(*(_newest_event_ids(name, filters[name]) for name in known))
    # Order by a sum, which no index has. Otherwise PostgreSQL walks the whole log by its key.
    return LogQuery(rows.filter(rest, pk__in=ids).annotate(place=F("pk") + 0), order_column="place")


def _newest_event_ids(name: str, value: str) -> set[int]:
    rows = Event.objects.filter(querysets.with_id(name, value)).order_by(name, "-pk")
    return set(rows.values_list("pk", flat=True)[:MAX_EVENTS_PER_ID])


def query_attempts(
    *,
    installation: int | None = None,
    status: str | None = None,
    outcome: str | None = None,
    since: datetime | None = None,
    until: datetime | None = None,
) -> LogQuery:
    """Return the attempts started in [since, until) that match the filters.

    status  2xx, 3xx, 4xx, 5xx, or none for attempts without a response
    """
    rows: QuerySet[Attempt] = Attempt.objects.select_related("installation")
    if installation is not None:
        rows = rows.filter(installation=installation)
    rows = filter_time_range(rows, "started_at", since=since, until=until)
    rest = Q(outcome=outcome) if outcome is not None else Q()
    if status == "none":
        rest &= Q(status__isnull=True)
    elif status is not None:
        first = int(status[0]) * 100
        rest &= Q(status__range=(first, first + 99))
    return LogQuery(rows, rest, scan_rows=ATTEMPT_SCAN_ROWS)
