"""The home page: the status of all installations, and everything that needs attention."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from django.db.models import Min
from django.utils import timezone

from delivery.accounting import metrics
from delivery.accounting import queues as accounting_queues
from delivery.accounting.bounded_count import format_bounded_count
from delivery.accounting.metrics import MetricPoint, MetricSeries
from delivery.accounting.queues import QueueSize
from delivery.admin.charts import (
    TRAFFIC_DATASETS,
    ChartSpan,
    chart_json,
    chart_span_of_request,
    compact_number,
    describe_chart,
    traffic_figures,
)
from delivery.admin.installations.pages import first_event_context
from delivery.log import querysets
from delivery.log.search.query import IS_UNSENT
from delivery.models import Delivery, Incident, Rejection
from delivery.status.incidents import describe_incident
from delivery.status.installations import describe_installation, with_state
from delivery.status.status_text import StatusText
from integrations.formatting import duration
from integrations.humanize import timed_text
from integrations.models import Installation

MAX_RECENT_ROWS = 200  # newest failed deliveries, and newest rejections
FAILURE_SCAN_ROWS = 2_000  # newest failed deliveries scanned, including resolved ones
HOME_LIST_LIMIT = 5  # failure groups, and incidents, that are shown
ATTENTION_PERIOD = timedelta(days=1)


@dataclass(frozen=True, slots=True)
class InstallationRow:
    """One installation with its figures for the period shown."""

    installation: Installation
    status: StatusText
    sums: MetricPoint | None
    trend: Sequence[int]
    queue: QueueSize

    @property
    def delivered(self) -> str:
        return compact_number(self.sums.delivered if self.sums else 0)

    @property
    def p95(self) -> str:
        return duration(self.sums.p95_ms if self.sums else None)

    @property
    def queued(self) -> str:
        return format_bounded_count(self.queue.queued)


@dataclass(frozen=True, slots=True)
class FailureGroup:
    """Failed deliveries of one installation with the same reason.

    sample  the id of the newest one
    """

    installation: str
    reason: str
    count: int
    newest_at: datetime
    sample: int


def home(request, context):
    """Return the context of the admin's home page."""
    now, span = timezone.now(), chart_span_of_request(request)
    whole, each = metrics.read_series_of_all_and_each(
        since=now - span.length, until=now, step=span.step
    )
    rows = installation_rows(each, now)
    has_events = querysets.has_events()
    steps = {**first_event_context(request), "has_events": has_events}
    steps["first_installation"] = rows[0].installation if rows else None
    return {
        **context,
        **steps,
        "title": "Home",
        "is_new": not (rows and has_events),
        "verdict": home_verdict(rows, now),
        "span": span,
        "rows": rows,
        **(totals_context(rows, whole, span, now) if rows else {}),
        "incidents": open_incidents(),
        "failures": recent_failure_groups(now),
        "rejection_count": count_recent_rejections(now),
    }


def installation_rows(each: Mapping[int, MetricSeries], now: datetime) -> list[InstallationRow]:
    """Return every installation with its series, those with problems first."""
    queues = accounting_queues.read_queues()
    rows = [
        build_installation_row(
            installation, each.get(installation.pk), queues.get(installation.pk, QueueSize()), now
        )
        for installation in with_state(Installation.objects.installed().order_by("name"))
    ]
    return sorted(rows, key=lambda row: LEVEL_ORDER.get(row.status.level, len(LEVEL_ORDER)))


LEVEL_ORDER = {"attention": 0, "waiting": 1, "off": 2}


def build_installation_row(
    installation: Installation, found: MetricSeries | None, queue: QueueSize, now: datetime
) -> InstallationRow:
    return InstallationRow(
        installation=installation,
        status=describe_installation(installation, installation.lanes.all(), now),
        sums=found.total if found else None,
        trend=[point.delivered for point in found.points] if found else [],
        queue=queue,
    )


def home_verdict(rows: Sequence[InstallationRow], now: datetime) -> StatusText | None:
    """Return a summary of the status of all installations, or None without installations."""
    for level, icon, many in TROUBLE_LEVELS:
        sick = [row for row in rows if row.status.level == level]
        if sick:
            names = join_names([row.installation.name for row in sick])
            says = f"{names} {describe_trouble(sick, many)}"
            detail = sick[0].status.detail if len(sick) == 1 else ""
            rest = describe_others([row for row in rows if row.status.level != level])
            return StatusText(level, icon, says, _verdict_detail(detail, rest, now))
    if not rows:
        return None
    one = len(rows) == 1
    who = f"{rows[0].installation.name} is" if one else f"All {len(rows)} installations are"
    return StatusText("well", "check_circle", f"{who} delivering", "No action needed.")


TROUBLE_LEVELS = (
    ("attention", "error", "need attention"),
    ("waiting", "schedule", "are delayed"),
    ("off", "pause_circle", "are paused"),
)


def describe_trouble(sick: Sequence[InstallationRow], otherwise: str) -> str:
    """Return the problem as a predicate; `otherwise` if the installations have different ones."""
    [title, *others] = sorted({row.status.title for row in sick})
    if len(sick) == 1:
        return status_predicate(sick[0].status)
    if others or title == "Needs attention":
        return otherwise
    return f"are {title[0].lower()}{title[1:]}"


def status_predicate(status: StatusText) -> str:
    """Return "is waiting for Heap" for "Waiting for Heap", but "needs attention" as it is."""
    said = f"{status.title[0].lower()}{status.title[1:]}"
    return said if status.level == "attention" else f"is {said}"


def _verdict_detail(detail: str, rest: str, now: datetime) -> str:
    if not detail:
        return rest
    end = "" if detail.endswith(".") else "."
    return timed_text("{detail}{end}{rest}", now, detail=detail, end=end, rest=rest and f" {rest}")


def describe_others(rows: Sequence[InstallationRow]) -> str:
    """Return "The other one is delivering." or "Of the 2 others, 1 is waiting and 1 is paused."."""
    counts = Counter(LEVEL_PREDICATES.get(row.status.level, "delivering") for row in rows)
    if len(counts) < 2:
        who = "other one is" if len(rows) == 1 else f"{len(rows)} others are"
        return f"The {who} {next(iter(counts))}." if counts else ""
    parts = [f"{count} {'is' if count == 1 else 'are'} {what}" for what, count in counts.items()]
    return f"Of the {len(rows)} others, {join_names(parts)}."


LEVEL_PREDICATES = {"waiting": "waiting", "off": "paused"}


def join_names(names: Sequence[str]) -> str:
    """Return "A", "A and B", or "A, B and 3 others"."""
    if len(names) > 3:
        return f"{', '.join(names[:2])} and {len(names) - 2} others"
    return " and ".join([", ".join(names[:-1]), names[-1]] if len(names) > 1 else names)


def totals_context(
    rows: Sequence[InstallationRow], whole: MetricSeries, span: ChartSpan, now: datetime
) -> dict[str, Any]:
    ages = [row.queue.oldest_queued_at for row in rows if row.queue.oldest_queued_at]
    queue = QueueSize(sum(row.queue.queued for row in rows), min(ages, default=None))
    return {
        "figures": traffic_figures(whole.total, queue, span, now),
        "chart": chart_json(whole, TRAFFIC_DATASETS, now),
        "chart_description": describe_chart(whole.total, span),
    }


def open_incidents() -> list[tuple[Incident, StatusText]]:
    """Return the newest open incidents, each with its status, newest first."""
    found = Incident.objects.filter(closed_at=None).order_by("-pk")[:HOME_LIST_LIMIT]
    return [(each, describe_incident(each)) for each in found]


def recent_failure_groups(now: datetime) -> list[FailureGroup]:
    """Return unresolved failures of the last day by reason, most frequent first.

    Scans the newest FAILURE_SCAN_ROWS failures, so older ones are missing after a burst.
    """
    failed = Delivery.objects.filter(IS_UNSENT, state=Delivery.State.FAILED)
    lately = failed.order_by("-pk").values("pk")[:FAILURE_SCAN_ROWS]
    edge = lately.aggregate(edge=Min("pk"))["edge"] or 0  # a subquery would run once per row
    newest = failed.filter(~Delivery.is_resolved(), pk__gte=edge).order_by("-pk")
    groups: dict[tuple[str, str], FailureGroup] = {}
    fields = ("pk", "installation__name", "reason", "error", "settled_at")
    for pk, name, reason, error, at in newest.values_list(*fields)[:MAX_RECENT_ROWS]:
        if at < now - ATTENTION_PERIOD:
            continue
        key = (name, reason or error)
        known = groups.get(key) or FailureGroup(name, reason or error, 0, at, pk)
        groups[key] = FailureGroup(*key, known.count + 1, known.newest_at, known.sample)
    return sorted(groups.values(), key=lambda each: -each.count)[:HOME_LIST_LIMIT]


def count_recent_rejections(now: datetime) -> str:
    """Return how many messages were rejected in the last day, or "" for none."""
    newest = Rejection.objects.order_by("-pk").values_list("received_at", flat=True)[
        :MAX_RECENT_ROWS
    ]
    count = sum(at > now - ATTENTION_PERIOD for at in newest)
    return f"{count}+" if count == MAX_RECENT_ROWS else str(count or "")
