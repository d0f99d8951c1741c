"""What a view of the log adds up to: how much of what state, when, what waits, and which errors.

Where a view is about installations, sources and times alone, the metrics tell exactly, and for as
long as they are kept. Of any other view a sample of the newest matches is added up, and
the words say so. Nothing counts the log.
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
MAX_ERROR_GROUPS = 4  # of errors, the largest
METRIC_KEYS = {"installation", "source", "state", "since", "until"}  # keys that metrics can answer
DEFAULT_SUMMARY_PERIOD = timedelta(days=1)  # when nothing is said
MAX_PERIOD_BY_STEP = {
    MetricStep.MINUTE: timedelta(hours=6),
    MetricStep.HOUR: timedelta(days=14),
}  # in steps so short

State = Delivery.State


@dataclass(frozen=True, slots=True)
class Bar:
    """One step of time: how many were delivered, failed, and settled without being sent."""

    at: datetime
    delivered: int
    failed: int
    others: int


@dataclass(frozen=True, slots=True)
class ErrorGroup:
    """Errors that are alike. sample_delivery_id: the newest; terms: how to search for them."""

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
    """An installation that sends nothing for now: until `due_at`, or until a person mends it.

    retry_text  what becomes of the next try once it is due, in words
    """

    installation: Installation
    error: str
    since: datetime
    due_at: datetime | None
    retry_text: str = ""


@dataclass(frozen=True, slots=True)
class Summary:
    """What a view adds up to.

    about    what is added up, such as "last 24 hours"
    queued   as it is shown, "10,000+" at most; "" where nobody can tell
    bars     none where there is nothing to draw
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
    """Return what a search adds up to, or None where nothing matches or it has problems.

    found   the rows that it means
    """
    if search.problems:
        return None
    try:
        return (
            _summarize_metrics(search, found, now)
            if _is_covered_by_metrics(search)
            else _summarize_sample(found)
        )
    except StepTooShort:  # so far back there are no metrics
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
    told = metrics.read_series(
        since=since, until=until, step=step, installation=installation, source=source
    )
    queued, oldest = _queue_size(installation) if source is None else ("", None)
    return Summary(
        about=_describe_period(search, until - since),
        delivered=told.total.delivered,
        failed=told.total.failed,
        filtered=told.total.filtered,
        cancelled=told.total.cancelled,
        queued=queued,
        oldest_queued_at=oldest,
        bars=[_bar(point) for point in told.points],
        until=told.until,
        groups=_largest_groups(_group_failed(search, found)),
        stalled_installations=_find_stalled_installations(installation, now)
        if source is None
        else [],
    )


def _group_failed(search: Search, found: LogQuery) -> list[dict[str, Any]]:
    """Return the newest failed ones, added up; asked of their own index where any state is looked
    for."""
    states = search.values("state")
    if states and State.FAILED not in states:
        return []
    if not states:
        failed = found.rows.filter(IS_UNSENT, state=State.FAILED)
        return _group_newest(replace(found, rows=failed))
    return [row for row in _group_newest(found) if row["state"] == State.FAILED]


def _choose_step(since: datetime, until: datetime, now: datetime) -> int:
    """Return the shortest step that draws few bars and is still kept."""
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
        return "in this time"
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
ID_DIGITS = 20  # digits of an id, so that ids as text are in their order
# The newest delivery's id and reason in one: no aggregate returns a column of the greatest row.
NEWEST_ID_AND_REASON = Concat(
    LPad(Cast("pk", TextField()), ID_DIGITS, Value("0")), "reason", output_field=TextField()
)


def _group_newest(found: LogQuery) -> list[dict[str, Any]]:
    """Return the newest that match, among those of one look where no index tells, added up by the
    database: a row for all that are alike in GROUP_COLUMNS."""
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
        about=f"newest {count} that match" if count > 1 else "the one that matches",
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
    """Return failed deliveries by what went wrong: the most frequent first, then the newest."""
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
