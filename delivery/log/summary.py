"""What a view of the log adds up to: how much of what state, when, what waits, and which errors.

Where a view is about installations, sources and times alone, the metrics tell exactly, and for as
long as they are kept. Of any other view the newest SAMPLE deliveries that match are added up, and
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
from delivery.accounting.bounded_count import bounded
from delivery.accounting.metrics import Point, TooFine
from delivery.accounting.queues import Queue
from delivery.accounting.record import Step
from delivery.log.search.language import Search, Term, time_of
from delivery.log.search.query import AT, IS_UNSENT, Scope
from delivery.models import Delivery, Lane
from delivery.status.deliveries import retried_in_words
from delivery.status.installations import lanes_with_queue, waits
from integrations.keyset import joined
from integrations.models import Installation

SAMPLE = 500  # deliveries, the newest that match
GROUPS = 4  # of errors, the largest
TOLD = {"installation", "source", "state", "since", "until"}  # keys that metrics can answer
USUAL = timedelta(days=1)  # when nothing is said
LONGEST = {Step.MINUTE: timedelta(hours=6), Step.HOUR: timedelta(days=14)}  # in steps so short

State = Delivery.State


@dataclass(frozen=True, slots=True)
class Bar:
    """One step of time: how many were delivered, failed, and settled without being sent."""

    at: datetime
    delivered: int
    failed: int
    others: int


@dataclass(frozen=True, slots=True)
class Group:
    """Errors that are alike. sample: the newest delivery of them; terms: how to search for them."""

    installation: str
    status: int | None
    error: str
    reason: str
    count: int
    first_at: datetime
    last_at: datetime
    sample: int
    terms: tuple[Term, ...]


@dataclass(frozen=True, slots=True)
class Standstill:
    """An installation that sends nothing for now: until `due_at`, or until a person mends it.

    retried  what becomes of the next try once it is due, in words
    """

    installation: Installation
    error: str
    since: datetime
    due_at: datetime | None
    retried: str = ""


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
    groups: Sequence[Group]
    standstills: Sequence[Standstill]


def summary(search: Search, found: Scope, now: datetime) -> Summary | None:
    """Return what a search adds up to, or None where nothing matches or it has problems.

    found   the rows that it means
    """
    if search.problems:
        return None
    try:
        return _told(search, found, now) if _is_told(search) else _sampled(found)
    except TooFine:  # so far back there are no metrics
        return _sampled(found)


def _is_told(search: Search) -> bool:
    keys = {term.key for term in search.terms}
    once = all(len(search.values(key)) <= 1 for key in ("installation", "source"))
    return once and keys <= TOLD and not search.excluded


def _told(search: Search, found: Scope, now: datetime) -> Summary:
    until = time_of(search, "until", now) or now
    since = time_of(search, "since", now) or until - USUAL
    step = _step(since, until, now)
    installation, source = _id("installation", search), _id("source", search)
    told = metrics.series(
        since=since, until=until, step=step, installation=installation, source=source
    )
    queued, oldest = _queue(installation) if source is None else ("", None)
    return Summary(
        about=_about(search, until - since),
        delivered=told.total.delivered,
        failed=told.total.failed,
        filtered=told.total.filtered,
        cancelled=told.total.cancelled,
        queued=queued,
        oldest_queued_at=oldest,
        bars=[_bar(point) for point in told.points],
        until=told.until,
        groups=_groups(_failed(search, found)),
        standstills=_standstills(installation, now) if source is None else [],
    )


def _failed(search: Search, found: Scope) -> list[dict[str, Any]]:
    """Return the newest failed ones, added up; asked of their own index where any state is looked
    for."""
    states = search.values("state")
    if states and State.FAILED not in states:
        return []
    if not states:
        failed = found.rows.filter(IS_UNSENT, state=State.FAILED)
        return _alike(replace(found, rows=failed))
    return [row for row in _alike(found) if row["state"] == State.FAILED]


def _step(since: datetime, until: datetime, now: datetime) -> int:
    """Return the shortest step that draws few bars and is still kept."""
    for step, longest in LONGEST.items():
        if until - since <= longest and now - since <= record.KEPT[step]:
            return step
    return Step.DAY


def _id(key: str, search: Search) -> int | None:
    return next(iter(search.numbers_of(key)), None)


def _queue(installation: int | None) -> tuple[str, datetime | None]:
    queue = (
        queues.queue_of_all()
        if installation is None
        else queues.queues([installation]).get(installation, Queue())
    )
    return bounded(queue.queued), queue.oldest_queued_at


def _bar(point: Point) -> Bar:
    return Bar(point.at, point.delivered, point.failed, point.filtered + point.cancelled)


def _about(search: Search, length: timedelta) -> str:
    if search.values("until"):
        return "in this time"
    minutes = length.total_seconds() / 60
    for unit, size in (("days", 1_440), ("hours", 60)):
        if minutes >= 2 * size:
            return f"last {minutes / size:.0f} {unit}"
    return f"last {minutes:.0f} minutes"


def _standstills(installation: int | None, now: datetime) -> list[Standstill]:
    may_wait = Q(paused=True) | Q(due_at__gt=now) | Q(failures__gt=0)
    stopped = lanes_with_queue().filter(may_wait, installation__enabled=True)
    if installation is not None:
        stopped = stopped.filter(installation=installation)
    lanes = stopped.order_by("installation__name", "changed_at").select_related("installation")
    first: dict[int, Lane] = {}
    for lane in lanes:
        if lane.paused or waits(lane, now):
            first.setdefault(lane.installation_id, lane)
    return [
        Standstill(
            each.installation,
            each.last_error,
            each.changed_at,
            None if each.paused else each.due_at,
            retried_in_words(each, now),
        )
        for each in first.values()
    ]


ALIKE = ("state", "installation__name", "last_attempt__status", "error")
WIDTH = 20  # digits of an id, so that ids as text are in their order
# The newest delivery's id and reason in one: no aggregate returns a column of the greatest row.
NEWEST = Concat(
    LPad(Cast("pk", TextField()), WIDTH, Value("0")), "reason", output_field=TextField()
)


def _alike(found: Scope) -> list[dict[str, Any]]:
    """Return the newest that match, among those of one look where no index tells, added up by the
    database: a row for all that are ALIKE."""
    newest = found.newest().values("pk")[:SAMPLE]
    return list(
        joined(Delivery.objects.all(), newest, is_bounded=found.is_looked_through)
        .order_by()
        .values(*ALIKE)
        .annotate(
            count=Count("pk"),
            newest=Max(NEWEST),
            first_at=Min(AT),
            last_at=Max(AT),
            oldest_queued_at=Min("queued_at"),
        )
    )


def _sampled(found: Scope) -> Summary | None:
    rows = _alike(found)
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
        groups=_groups(row for row in rows if row["state"] == State.FAILED),
        standstills=[],
    )


def _groups(failed: Iterable[dict[str, Any]]) -> list[Group]:
    """Return failed deliveries by what went wrong: the most frequent first, then the newest."""
    frequent = sorted(failed, key=lambda row: (row["count"], row["newest"]), reverse=True)
    return [_group(row) for row in frequent[:GROUPS]]


def _group(row: dict[str, Any]) -> Group:
    installation, status, error = (row[key] for key in ALIKE[1:])
    terms = [Term("state", State.FAILED), Term("installation", installation)]
    terms += [Term("status", str(status))] if status else []
    terms += [Term("error", error)] if error else []
    return Group(
        installation=installation,
        status=status,
        error=error,
        reason=row["newest"][WIDTH:],
        count=row["count"],
        first_at=row["first_at"],
        last_at=row["last_at"],
        sample=int(row["newest"][:WIDTH]),
        terms=tuple(terms),
    )
