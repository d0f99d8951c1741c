"""Summarizes a log view: deliveries by state and over time, the backlog, and the largest errors.

A view that filters by installation, source, state and time alone is answered exactly from the
metrics, for as long as they are kept. Any other view is answered from a sample of the newest
matches, and its caption says so. Nothing counts the whole log.
"""

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any

from django.db.models import Count, Max, Min, Q, TextField, Value
from django.db.models.functions import Cast, Concat, LPad

from delivery.accounting import metrics, queues, record
from delivery.accounting.bounded_count import format_bounded_count
from delivery.accounting.metrics import MetricPoint, StepTooShort
from delivery.accounting.queues import QueueSize
from delivery.accounting.record import MetricStep
from delivery.log.search.language import Search, Term, search_time
from delivery.log.search.query import DELIVERY_TIME, IS_UNSENT, LogQuery
from delivery.models import Delivery, Lane
from delivery.status.deliveries import describe_retry
from delivery.status.installations import is_waiting_for_vendor, lanes_with_queue
from integrations.keyset import select_by_ids
from integrations.models import Installation

SUMMARY_SAMPLE_ROWS = 500  # deliveries, the newest that match
MAX_ERROR_GROUPS = 4  # the largest groups of errors
METRIC_KEYS = {"installation", "source", "state", "since", "until"}  # keys that metrics can answer
DEFAULT_SUMMARY_PERIOD = timedelta(days=1)  # without since:
MAX_PERIOD_BY_STEP = {
    MetricStep.MINUTE: timedelta(hours=6),
    MetricStep.HOUR: timedelta(days=14),
}  # longest period drawn in this step

State = Delivery.State


@dataclass(frozen=True, slots=True)
class Bar:
    """One time step: deliveries delivered, failed, and settled without being sent."""

    at: datetime
    delivered: int
    failed: int
    others: int


@dataclass(frozen=True, slots=True)
class ErrorGroup:
    """Failed deliveries with the same error.

    sample_delivery_id  the newest of them
    terms               the search that finds them
    """

    installation: str
    status: int | None
    error: str
    reason: str
    count: int
    first_at: datetime
    last_at: datetime
    sample_delivery_id: int
    terms: tuple[Term, ...]


@dataclass(frozen=True, slots=True)
class StalledInstallation:
    """An installation that sends nothing until `due_at`, or until its problem is fixed.

    retry_text  the status of the next attempt once it is due
    """

    installation: Installation
    error: str
    since: datetime
    due_at: datetime | None
    retry_text: str = ""


@dataclass(frozen=True, slots=True)
class Summary:
    """The figures of a log view.

    about    what the figures cover, such as "last 24 hours"
    queued   as text, "10,000+" at most; "" when unknown
    bars     empty when there is nothing to draw
    until    the end of the last bar
    """

    about: str
    delivered: int
    failed: int
    filtered: int
    cancelled: int
    queued: str
    oldest_queued_at: datetime | None
    bars: Sequence[Bar]
    until: datetime
    groups: Sequence[ErrorGroup]
    stalled_installations: Sequence[StalledInstallation]


def summarize(search: Search, found: LogQuery, now: datetime) -> Summary | None:
    """Return the summary of a search, or None when it has problems or no matches.

    found   the compiled search
    """
    if search.problems:
        return None
    try:
        return (
            _summarize_metrics(search, found, now)
            if _is_covered_by_metrics(search)
            else _summarize_sample(found)
        )
    except StepTooShort:  # the metrics do not reach back that far
        return _summarize_sample(found)


def _is_covered_by_metrics(search: Search) -> bool:
    keys = {term.key for term in search.terms}
    once = all(len(search.values(key)) <= 1 for key in ("installation", "source"))
    return once and keys <= METRIC_KEYS and not search.excluded_terms


def _summarize_metrics(search: Search, found: LogQuery, now: datetime) -> Summary:
    until = search_time(search, "until", now) or now
    since = search_time(search, "since", now) or until - DEFAULT_SUMMARY_PERIOD
    step = _choose_step(since, until, now)
    installation, source = _resolved_id("installation", search), _resolved_id("source", search)
    series = metrics.read_series(
        since=since, until=until, step=step, installation=installation, source=source
    )
    queued, oldest = _queue_size(installation) if source is None else ("", None)
    return Summary(
        about=_describe_period(search, until - since),
        delivered=series.total.delivered,
        failed=series.total.failed,
        filtered=series.total.filtered,
        cancelled=series.total.cancelled,
        queued=queued,
        oldest_queued_at=oldest,
        bars=[_bar(point) for point in series.points],
        until=series.until,
        groups=_largest_groups(_group_failed(search, found)),
        stalled_installations=_find_stalled_installations(installation, now)
        if source is None
        else [],
    )


def _group_failed(search: Search, found: LogQuery) -> list[dict[str, Any]]:
    """Return the newest failed deliveries, grouped.

    A search for any state reads them through the index of unsent deliveries.
    """
    states = search.values("state")
    if states and State.FAILED not in states:
        return []
    if not states:
        failed = found.rows.filter(IS_UNSENT, state=State.FAILED)
        return _group_newest(replace(found, rows=failed))
    return [row for row in _group_newest(found) if row["state"] == State.FAILED]


def _choose_step(since: datetime, until: datetime, now: datetime) -> int:
    """Return the shortest step that draws few bars and is still retained."""
    for step, longest in MAX_PERIOD_BY_STEP.items():
        if until - since <= longest and now - since <= record.METRIC_RETENTION[step]:
            return step
    return MetricStep.DAY


def _resolved_id(key: str, search: Search) -> int | None:
    return next(iter(search.ids_of(key)), None)


def _queue_size(installation: int | None) -> tuple[str, datetime | None]:
    queue = (
        queues.read_total_queue()
        if installation is None
        else queues.read_queues([installation]).get(installation, QueueSize())
    )
    return format_bounded_count(queue.queued), queue.oldest_queued_at


def _bar(point: MetricPoint) -> Bar:
    return Bar(point.at, point.delivered, point.failed, point.filtered + point.cancelled)


def _describe_period(search: Search, length: timedelta) -> str:
    if search.values("until"):
        return "in this period"
    minutes = length.total_seconds() / 60
    for unit, size in (("days", 1_440), ("hours", 60)):
        if minutes >= 2 * size:
            return f"last {minutes / size:.0f} {unit}"
    return f"last {minutes:.0f} minutes"


def _find_stalled_installations(
    installation: int | None, now: datetime
) -> list[StalledInstallation]:
    may_wait = Q(paused=True) | Q(due_at__gt=now) | Q(failures__gt=0)
    stopped = lanes_with_queue().filter(may_wait, installation__enabled=True)
    if installation is not None:
        stopped = stopped.filter(installation=installation)
    lanes = stopped.order_by("installation__name", "changed_at").select_related("installation")
    first: dict[int, Lane] = {}
    for lane in lanes:
        if lane.paused or is_waiting_for_vendor(lane, now):
            first.setdefault(lane.installation_id, lane)
    return [
        StalledInstallation(
            each.installation,
            each.last_error,
            each.changed_at,
            None if each.paused else each.due_at,
            describe_retry(each, now),
        )
        for each in first.values()
    ]


GROUP_COLUMNS = ("state", "installation__name", "last_attempt__status", "error")
ID_DIGITS = 20  # ids are padded to this length, so that they sort as text
# The newest delivery's id and reason in one text, because no aggregate returns another column of
# the row with the greatest id.
NEWEST_ID_AND_REASON = Concat(
    LPad(Cast("pk", TextField()), ID_DIGITS, Value("0")), "reason", output_field=TextField()
)


def _group_newest(found: LogQuery) -> list[dict[str, Any]]:
    """Return the newest matches grouped by GROUP_COLUMNS in the database.

    A search without an index is limited to one scan window.
    """
    newest = found.newest_first().values("pk")[:SUMMARY_SAMPLE_ROWS]
    return list(
        select_by_ids(Delivery.objects.all(), newest, is_bounded=found.is_scanned)
        .order_by()
        .values(*GROUP_COLUMNS)
        .annotate(
            count=Count("pk"),
            newest=Max(NEWEST_ID_AND_REASON),
            first_at=Min(DELIVERY_TIME),
            last_at=Max(DELIVERY_TIME),
            oldest_queued_at=Min("queued_at"),
        )
    )


def _summarize_sample(found: LogQuery) -> Summary | None:
    rows = _group_newest(found)
    if not rows:
        return None
    states: Counter[str] = Counter()
    for row in rows:
        states[row["state"]] += row["count"]
    queued = [row["oldest_queued_at"] for row in rows if row["state"] == State.QUEUED]
    count = states.total()
    return Summary(
        about=f"newest {count} matches" if count > 1 else "the only match",
        delivered=states[State.DELIVERED],
        failed=states[State.FAILED],
        filtered=states[State.FILTERED],
        cancelled=states[State.CANCELLED],
        queued=f"{states[State.QUEUED]}",
        oldest_queued_at=min(queued, default=None),
        bars=[],
        until=max(row["last_at"] for row in rows),
        groups=_largest_groups(row for row in rows if row["state"] == State.FAILED),
        stalled_installations=[],
    )


def _largest_groups(failed: Iterable[dict[str, Any]]) -> list[ErrorGroup]:
    """Return the largest groups of failed deliveries, the newest first among equals."""
    frequent = sorted(failed, key=lambda row: (row["count"], row["newest"]), reverse=True)
    return [_build_group(row) for row in frequent[:MAX_ERROR_GROUPS]]


def _build_group(row: dict[str, Any]) -> ErrorGroup:
    installation, status, error = (row[key] for key in GROUP_COLUMNS[1:])
    terms = [Term("state", State.FAILED), Term("installation", installation)]
    terms += [Term("status", str(status))] if status else []
    terms += [Term("error", error)] if error else []
    return ErrorGroup(
        installation=installation,
        status=status,
        error=error,
        reason=row["newest"][ID_DIGITS:],
        count=row["count"],
        first_at=row["first_at"],
        last_at=row["last_at"],
        sample_delivery_id=int(row["newest"][:ID_DIGITS]),
        terms=tuple(terms),
    )
