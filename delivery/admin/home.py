"""The first page: is everything all right?"""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from django.db.models import Min
from django.utils import timezone

from delivery.accounting import metrics
from delivery.accounting import queues as accounting_queues
from delivery.accounting.bounded_count import bounded
from delivery.accounting.metrics import Point, Series
from delivery.accounting.queues import Queue
from delivery.admin.charts import (
    CHART_OF_ALL,
    Span,
    chart,
    compact,
    figures,
    in_words,
    short,
    span_of,
)
from delivery.admin.installations.pages import sending
from delivery.log import querysets
from delivery.log.search.query import IS_UNSENT
from delivery.models import Delivery, Incident, Rejection
from delivery.status.incidents import incident_in_words
from delivery.status.installations import state_in_words, with_state
from delivery.status.words import Words
from integrations.models import Installation

LOOKED_AT = 200  # newest failed deliveries, and rejections
LOOKED_THROUGH = 2_000  # the same, resolved ones among them
GROUPS = 5  # of failures, and incidents, that are shown
LATELY = timedelta(days=1)


@dataclass(frozen=True, slots=True)
class Row:
    """One installation, with its figures in the time that is shown."""

    installation: Installation
    words: Words
    sums: Point | None
    trend: Sequence[int]
    queue: Queue

    @property
    def delivered(self) -> str:
        return compact(self.sums.delivered if self.sums else 0)

    @property
    def p95(self) -> str:
        return short(self.sums.p95_ms if self.sums else None)

    @property
    def queued(self) -> str:
        return bounded(self.queue.queued)


@dataclass(frozen=True, slots=True)
class Failure:
    """Failed deliveries of one installation with the same reason. sample: the newest of them."""

    installation: str
    reason: str
    count: int
    newest_at: datetime
    sample: int


def home(request, context):
    """Fill the first page of the admin."""
    now, span = timezone.now(), span_of(request)
    whole, each = metrics.of_all_and_each(since=now - span.length, until=now, step=span.step)
    rows = installations(each, now)
    has_events = querysets.any_event()
    steps = {**sending(request), "has_events": has_events}
    steps["first_installation"] = rows[0].installation if rows else None
    return {
        **context,
        **steps,
        "title": "Home",
        "is_new": not (rows and has_events),
        "sentence": sentence(rows),
        "span": span,
        "rows": rows,
        **(together(rows, whole, span, now) if rows else {}),
        "incidents": incidents(),
        "failures": failures(now),
        "rejected": rejected(now),
    }


def installations(each: Mapping[int, Series], now: datetime) -> list[Row]:
    """Return every installation with its series, those that need somebody first."""
    queues = accounting_queues.queues()
    rows = [
        row(installation, each.get(installation.pk), queues.get(installation.pk, Queue()), now)
        for installation in with_state(Installation.objects.installed().order_by("name"))
    ]
    return sorted(rows, key=lambda row: ORDER.get(row.words.level, len(ORDER)))


ORDER = {"attention": 0, "waiting": 1, "off": 2}


def row(installation: Installation, found: Series | None, queue: Queue, now: datetime) -> Row:
    return Row(
        installation=installation,
        words=state_in_words(installation, installation.lanes.all(), now),
        sums=found.total if found else None,
        trend=[point.delivered for point in found.points] if found else [],
        queue=queue,
    )


def sentence(rows: Sequence[Row]) -> Words | None:
    """Return the answer to "is everything all right?"."""
    for level, icon, many in TROUBLES:
        sick = [row for row in rows if row.words.level == level]
        if sick:
            names = listed([row.installation.name for row in sick])
            says = f"{names} {together_in_words(sick, many)}"
            detail = sick[0].words.detail if len(sick) == 1 else ""
            rest = others([row for row in rows if row.words.level != level])
            return Words(level, icon, says, f"{ended(detail)} {rest}".strip())
    if not rows:
        return None
    one = len(rows) == 1
    who = f"{rows[0].installation.name} is" if one else f"All {len(rows)} installations are"
    return Words("well", "check_circle", f"{who} delivering", "Nothing needs to be done.")


TROUBLES = (
    ("attention", "error", "need attention"),
    ("waiting", "schedule", "need a look"),
    ("off", "pause_circle", "are paused"),
)


def together_in_words(sick: Sequence[Row], otherwise: str) -> str:
    """Return what is wrong with one, or with all of several; `otherwise`, when they differ."""
    [title, *others] = sorted({row.words.title for row in sick})
    if len(sick) == 1:
        return alone(sick[0].words)
    if others or title == "Needs attention":
        return otherwise
    return f"are {title[0].lower()}{title[1:]}"


def alone(words: Words) -> str:
    """Return "is waiting for Heap" for "Waiting for Heap", "needs attention" as it is."""
    said = f"{words.title[0].lower()}{words.title[1:]}"
    return said if words.level == "attention" else f"is {said}"


def ended(detail: str) -> str:
    return f"{detail.rstrip('.')}." if detail else ""


def others(rows: Sequence[Row]) -> str:
    """Return "The other one is delivering.", "Of the 2 others 1 is waiting and 1 is paused."."""
    counts = Counter(OTHERS.get(row.words.level, "delivering") for row in rows)
    if len(counts) < 2:
        who = "other one is" if len(rows) == 1 else f"{len(rows)} others are"
        return f"The {who} {next(iter(counts))}." if counts else ""
    parts = [f"{count} {'is' if count == 1 else 'are'} {what}" for what, count in counts.items()]
    return f"Of the {len(rows)} others {listed(parts)}."


OTHERS = {"waiting": "waiting", "off": "paused"}


def listed(names: Sequence[str]) -> str:
    """Return "A", "A and B", or "A, B and 3 others"."""
    if len(names) > 3:
        return f"{', '.join(names[:2])} and {len(names) - 2} others"
    return " and ".join([", ".join(names[:-1]), names[-1]] if len(names) > 1 else names)


def together(rows: Sequence[Row], whole: Series, span: Span, now: datetime) -> dict[str, Any]:
    ages = [row.queue.oldest_queued_at for row in rows if row.queue.oldest_queued_at]
    queue = Queue(sum(row.queue.queued for row in rows), min(ages, default=None))
    return {
        "figures": figures(whole.total, queue, span, now),
        "chart": chart(whole, CHART_OF_ALL, now),
        "chart_in_words": in_words(whole.total, span),
    }


def incidents() -> list[tuple[Incident, Words]]:
    """Return what is wrong now, the newest first."""
    found = Incident.objects.filter(closed_at=None).order_by("-pk")[:GROUPS]
    return [(each, incident_in_words(each)) for each in found]


def failures(now: datetime) -> list[Failure]:
    """Return what failed lately and nobody resolved, the most frequent reasons first: among the
    newest failures, of which LOOKED_THROUGH are looked through for those."""
    failed = Delivery.objects.filter(IS_UNSENT, state=Delivery.State.FAILED)
    lately = failed.order_by("-pk").values("pk")[:LOOKED_THROUGH]
    edge = lately.aggregate(edge=Min("pk"))["edge"] or 0  # not a subquery: it would be asked a row
    newest = failed.filter(~Delivery.is_resolved(), pk__gte=edge).order_by("-pk")
    groups: dict[tuple[str, str], Failure] = {}
    fields = ("pk", "installation__name", "reason", "error", "settled_at")
    for pk, name, reason, error, at in newest.values_list(*fields)[:LOOKED_AT]:
        if at < now - LATELY:
            continue
        key = (name, reason or error)
        known = groups.get(key) or Failure(name, reason or error, 0, at, pk)
        groups[key] = Failure(*key, known.count + 1, known.newest_at, known.sample)
    return sorted(groups.values(), key=lambda each: -each.count)[:GROUPS]


def rejected(now: datetime) -> str:
    """Return how many messages were refused on arrival lately, or "" when none was."""
    newest = Rejection.objects.order_by("-pk").values_list("received_at", flat=True)[:LOOKED_AT]
    count = sum(at > now - LATELY for at in newest)
    return f"{count}+" if count == LOOKED_AT else str(count or "")
