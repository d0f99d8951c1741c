"""Compiles a search into queries whose cost does not grow with the log.

Indexes answer the terms for a person, a message, an installation, a rare state and a time. All
other terms are tested on the newest rows, SCAN_ROWS at a time and MAX_SCANS times per page. A page
that is not full by then reports how far back it scanned, and the next page continues from there.
"""

from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import datetime
from functools import cached_property
from typing import Any, NamedTuple

from django.db.models import (
    BooleanField,
    Count,
    F,
    Func,
    Max,
    Min,
    OuterRef,
    Q,
    QuerySet,
    Subquery,
)

from delivery.log import querysets
from delivery.log.search.conditions import (
    EVENT_CONDITIONS,
    EVENT_ID_COLUMNS,
    combine_terms,
    event_matches,
    queued_by_replays,
    replay_id_ranges,
    unindexed_condition,
)
from delivery.log.search.language import Search, search_time
from delivery.models import Carried, Delivery, Event, Lane, Resolution
from integrations import keyset
from integrations.keyset import ID_TIME_SKEW, Page, TimeBound, find_bound_ids

SCAN_ROWS = 10_000  # rows of the first scan window
MAX_SCANS = 2  # scan windows per page; a client asks for the next page to continue
SCAN_GROWTH = 2  # later windows have this many times the rows of the first
MAX_EVENTS_PER_ROW = 5  # events per scanned row, up to which a window's events are read at once
MAX_EVENTS_PER_ID = 10_000  # newest events considered for one id
SEARCH_COUNT_LIMIT = 10_000  # counting stops here
UNSENT_STATES = ("failed", "filtered", "cancelled")
DELIVERY_TIME = "event__received_at"  # the time by which deliveries are filtered
ID_COLUMNS_BY_KEY = {
    "user": ("user_id",),
    "anon": ("anonymous_id",),
    "message": ("message_id",),
    "": EVENT_ID_COLUMNS,
}

State = Delivery.State


class IsUnsent(Func):
    """The literal condition of the indexes `delivery_unsent` and `_there`, next to a state.

    SQLite uses a partial index only for a query that repeats the condition of the index, and does
    not look into parameters. PostgreSQL infers the condition from the state. Repeating it there
    would make PostgreSQL multiply both selectivities, expect a fiftieth of the rows, and read and
    sort all rows for one page.
    """

    template = "%(expressions)s IN ('failed', 'filtered', 'cancelled')"
    output_field = BooleanField()

    def as_postgresql(self, *_: Any, **__: Any) -> tuple[str, tuple[()]]:
        return "TRUE", ()


IS_UNSENT = IsUnsent("state")


class ScanWindow(NamedTuple):
    """A range of rows that one scan reads.

    size  how many rows it has
    end   the lowest id, or None when there are no rows
    candidate_events  the events among which those of the rows are; None when these are many more
                      than the rows, or when the search has no condition on events
    """

    size: int
    end: int | None
    candidate_events: QuerySet[Event] | None


@dataclass(frozen=True)
class LogQuery:
    """A search as queries.

    rows      the rows that an index finds
    rest      the remaining condition on rows, or an empty Q
    of_event  the condition on a delivery's event, in columns of Event, or an empty Q
    order_column  the column to order by: the id, or its alias
    scan_rows     rows of the first scan window
    """

    rows: QuerySet[Any]
    rest: Q = Q()
    of_event: Q = Q()
    order_column: str = "pk"
    scan_rows: int = field(default_factory=lambda: SCAN_ROWS)

    @property
    def is_scanned(self) -> bool:
        """Whether part of the search has no index, so that rows must be scanned."""
        return bool(self.rest or self.of_event)

    @property
    def matching(self) -> QuerySet[Any]:
        """All matching rows. Filter them by id, because nothing else bounds the cost."""
        return self._filter_window(self.rows, None)

    def page(
        self,
        *,
        limit: int,
        before: int | None = None,
        after: int | None = None,
        max_scans: int | None = None,
    ) -> Page:
        """Return a page after at most `max_scans` scan windows, by default MAX_SCANS."""
        if self.is_scanned:
            return self._scan_page(limit, before, max_scans or MAX_SCANS)
        return keyset.fetch_page(
            self.rows,
            limit=limit,
            before=before,
            after=after,
            by=self.order_column,
            full_rows=self._rows_with_relations,
        )

    def _scan_page(self, limit: int, before: int | None, max_scans: int) -> Page:
        found: list[int] = []
        newer, end = before is not None, before
        for number in range(max_scans):
            size = self.scan_rows * SCAN_GROWTH if number else self.scan_rows
            rows = self.rows if end is None else self.rows.filter(pk__lt=end)
            count, end, candidate_events = (
                self._newest_window if end is None else self._scan(rows, size)
            )
            if end is None:
                return Page(self._load_rows(found), newer, has_older=False)
            matching = self._filter_window(rows.filter(pk__gte=end), candidate_events)
            ids = matching.order_by(f"-{self.order_column}").values_list("pk", flat=True)
            found += ids[: limit + 1 - len(found)]
            if len(found) > limit or count < size:
                return Page(self._load_rows(found[:limit]), newer, has_older=len(found) > limit)
        return Page(self._load_rows(found), newer, has_older=True, scanned_to=end)

    def _load_rows(self, ids: list[int]) -> list[Any]:
        return list(self._rows_with_relations.filter(pk__in=ids).order_by("-pk")) if ids else []

    @property
    def _rows_with_relations(self) -> QuerySet[Any]:
        """The rows with every related object that a list shows.

        Join these to the rows of one page only. Joining them earlier makes PostgreSQL read far more
        rows than it returns.
        """
        rows: QuerySet[Any] = self.rows.model._default_manager.all()
        rows.query.select_related = self.rows.query.select_related
        return rows

    @cached_property
    def _newest_window(self) -> ScanWindow:
        """The newest scan window, which the first page and its summary share."""
        return self._scan(self.rows, self.scan_rows)

    def _scan(self, rows: QuerySet[Any], size: int) -> ScanWindow:
        """Return the window of the newest `size` rows."""
        columns = ("pk", "event") if self.of_event else ("pk",)
        newest = rows.order_by(f"-{self.order_column}").values(*columns)[:size]
        bounds = {"first": Min("event"), "last": Max("event")} if self.of_event else {}
        seen = newest.aggregate(count=Count("pk"), end=Min("pk"), **bounds)
        count, end = seen["count"], seen["end"]
        if (
            not self.of_event
            or end is None
            or seen["last"] - seen["first"] > MAX_EVENTS_PER_ROW * count
        ):
            return ScanWindow(count, end, None)
        candidate_events = Event.objects.filter(pk__gte=seen["first"], pk__lte=seen["last"])
        return ScanWindow(count, end, candidate_events)

    def _filter_window(
        self, rows: QuerySet[Any], candidate_events: QuerySet[Event] | None
    ) -> QuerySet[Any]:
        """Return the rows that match the conditions on deliveries and on events."""
        if self.of_event and candidate_events is None:
            rows = rows.filter(event_matches(self.of_event))
        elif self.of_event and candidate_events is not None:
            # With a join, PostgreSQL would apply the bounds on ids to the deliveries alone and
            # read all events.
            rows = rows.filter(
                event__in=candidate_events.filter(self.of_event).order_by().values("pk")
            )
        return rows.filter(self.rest)

    def newest_first(self) -> QuerySet[Delivery]:
        """Return the matches, newest first; those of one scan window when rows are scanned."""
        if not self.is_scanned:
            return self.rows.order_by(f"-{self.order_column}")
        _, end, candidate_events = self._newest_window
        rows = self.rows.none() if end is None else self.rows.filter(pk__gte=end)
        return self._filter_window(rows, candidate_events).order_by(f"-{self.order_column}")

    def count_within_scan(self) -> tuple[int, bool]:
        """Return the number of matches within one scan window, and whether those are all."""
        if not self.is_scanned:
            count = self.count()
            return count, count <= SEARCH_COUNT_LIMIT
        seen, end, candidate_events = self._newest_window
        if end is None:
            return 0, True
        found = self._filter_window(self.rows.filter(pk__gte=end), candidate_events)
        return len(found.values_list("pk", flat=True)), seen < self.scan_rows

    def count(self) -> int:
        """Return the number of rows, SEARCH_COUNT_LIMIT + 1 at most."""
        # Without a condition, order by the key: otherwise PostgreSQL reads from the start of the
        # table, where the purged rows were.
        rows = self.rows if self.rows.query.where else self.rows.order_by("-pk")
        return rows.values("pk")[: SEARCH_COUNT_LIMIT + 1].count()


def compile_search(search: Search, now: datetime) -> LogQuery:
    """Return the query of a search from resolve_names(); it is empty when there are problems."""
    if search.problems:
        return LogQuery(querysets.deliveries_with_relations().none())
    rows, rest = _filter_states(*_filter_installations(search), search.values("state"))
    if search.values("resolved"):  # both values apply to failed deliveries only
        rows = rows.filter(IS_UNSENT, state=State.FAILED)
        if search.values("resolved") == ["yes"]:  # two indexes find these before any row is read
            rows = rows.filter(pk__in=Resolution.objects.values("delivery"))
    rows, rest = _filter_ids(rows, rest, search)
    rest &= unindexed_condition(search)
    of_event = combine_terms(search, EVENT_CONDITIONS, EVENT_CONDITIONS)
    near, surely, received = _time_conditions(search, now)
    rows = rows.filter(near)
    if rest or of_event:
        of_event &= received
    elif received:
        rows = rows.filter(surely | Q(event_matches(received))).order_by("-pk")
    keys = [key for key in ID_COLUMNS_BY_KEY if search.values(key)]
    if not keys:
        return LogQuery(rows, rest, of_event)
    events = set.intersection(
        *(_newest_event_ids(ID_COLUMNS_BY_KEY[key], search.values(key)) for key in keys)
    )
    # Order by a sum, which no index has. Otherwise PostgreSQL walks the whole log by its key.
    rows = rows.order_by().filter(event__in=events).annotate(place=F("pk") + 0)
    return LogQuery(rows, rest, of_event, order_column="place")


def _filter_installations(search: Search) -> tuple[QuerySet[Delivery], Q]:
    ids, rows = search.ids_of("installation"), querysets.deliveries_with_relations()
    if not search.values("installation"):
        return rows, Q()
    if not ids:  # An unresolved name must not select every delivery, because all may be cancelled.
        raise ValueError(f"{search}: call resolve_names() first.")
    if len(ids) == 1:
        return rows.filter(installation=ids[0]), Q()
    return rows, Q(installation__in=ids)


def _filter_states(
    rows: QuerySet[Delivery], rest: Q, states: list[str]
) -> tuple[QuerySet[Delivery], Q]:
    if not states:
        return rows, rest
    if len(states) == 1 and states[0] in UNSENT_STATES:
        return rows.filter(IS_UNSENT, state=states[0]), rest
    if states == [State.QUEUED]:
        rows = rows.filter(pk__lte=_newest_queued_id())
    return rows, rest & Q(state__in=states)


def _filter_ids(rows: QuerySet[Delivery], rest: Q, search: Search) -> tuple[QuerySet[Delivery], Q]:
    """Filter by delivery ids, by requests to a vendor and by replays."""
    if deliveries := search.values("delivery"):
        rows = rows.filter(pk__in=deliveries)
    if requests := search.values("request"):
        carried = Carried.objects.filter(attempt__in=[int(pk) for pk in requests])
        rows = rows.filter(pk__in=list(carried.values_list("delivery", flat=True)))
    replays = search.values("replay")
    if replays:
        rows = rows.filter(replay_id_ranges(replays))
        rest &= queued_by_replays(replays)
    return rows, rest


def _newest_queued_id() -> int:
    """Return the id above which nothing is queued, with one index lookup per lane."""
    queue = Delivery.objects.filter(lane=OuterRef("pk"), state=State.QUEUED).order_by("-pk")
    lanes = Lane.objects.annotate(newest=Subquery(queue.values("pk")[:1]))
    return max(filter(None, lanes.values_list("newest", flat=True)), default=0)


def _newest_event_ids(columns: Iterable[str], values: list[str]) -> set[int]:
    """Return the ids of the newest events with one of the values in one of the columns."""
    return {
        pk
        for column in columns
        for value in values
        for pk in Event.objects.filter(querysets.with_id(column, value))
        .order_by(column, "-pk")
        .values_list("pk", flat=True)[:MAX_EVENTS_PER_ID]
    }


def _time_conditions(search: Search, now: datetime) -> tuple[Q, Q, Q]:
    """Return three conditions for deliveries of events received in [since, until).

    The first holds for the ids of all such deliveries. The second holds for event ids that are
    certainly in the period. The third tests the time of the event itself. Ids increase with time
    except within ID_TIME_SKEW, so there only the event's time decides.
    """
    near, surely, received = Q(), Q(), Q()
    since, until = search_time(search, "since", now), search_time(search, "until", now)
    edges = []  # for each end: the outer bound, beyond which nothing matches, and the inner one
    if since is not None:
        edges += [
            TimeBound(Delivery, DELIVERY_TIME, since - ID_TIME_SKEW),
            TimeBound(Event, "received_at", since + ID_TIME_SKEW),
        ]
    if until is not None:
        edges += [
            TimeBound(Delivery, DELIVERY_TIME, until + ID_TIME_SKEW, is_end=True),
            TimeBound(Event, "received_at", until - ID_TIME_SKEW),
        ]
    ids = iter(find_bound_ids(*edges))
    if since is not None:
        near, surely = Q(pk__gte=next(ids)), Q(event__gte=next(ids))
        received = Q(received_at__gte=since)
    if until is not None:
        near &= Q(pk__lt=next(ids))
        surely, received = surely & Q(event__lt=next(ids)), received & Q(received_at__lt=until)
    return near, surely, received
