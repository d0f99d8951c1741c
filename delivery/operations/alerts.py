"""Alarms: what is wrong is found each minute, told once by mail and webhook, and so is its end.

An incident is one thing that is wrong, for as long as it is. It is over when nothing was seen of it
for CALM, so that what comes and goes is one incident. All that is new in a minute goes into one
mail and one call: a hundred installations that fail at once are one message.
"""

import logging
from collections.abc import Container, Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta

from django.conf import settings
from django.db.models import OuterRef, Q, Subquery, Sum
from django.utils import timezone

from delivery import bulk
from delivery.accounting.metrics import of_each_installation
from delivery.accounting.record import ALL, KEPT, Step, floor
from delivery.models import Attempt, Delivery, Incident, Lane, Metric, Tally
from integrations.catalog import catalog
from integrations.keyset import first_id
from integrations.models import Installation, Source

logger = logging.getLogger(__name__)

CALM = timedelta(minutes=3)  # without a sign of it, until an incident is over
WINDOW = timedelta(minutes=10)  # of attempts that the failure rate is about
MINUTES = round(WINDOW.total_seconds() / 60)
LEAST = 20  # items sent in it, below which a rate says nothing

Kind = Incident.Kind


@dataclass(frozen=True, slots=True)
class Finding:
    """Something that is wrong now; `about` is its name, `text` a sentence."""

    kind: str
    subject: str
    about: str
    text: str


def look(now: datetime) -> None:
    """Open incidents for what is wrong, and close those of which nothing was seen for CALM."""
    found = {(each.kind, each.subject): each for each in findings(now)}
    for incident in Incident.objects.filter(closed_at=None):
        finding = found.pop((incident.kind, incident.subject), None)
        if finding:
            Incident.objects.filter(pk=incident.pk).update(seen_at=now, text=finding.text)
        elif now - incident.seen_at >= CALM:
            Incident.objects.filter(pk=incident.pk).update(closed_at=now)
    rows = [(f.kind, f.subject, f.about, f.text, now, now) for f in found.values()]
    if rows:
        names = ("kind", "subject", "about", "text", "opened_at", "seen_at")
        bulk.insert(Incident, names, rows, keep_first=True)


def findings(now: datetime) -> Iterator[Finding]:
    """Yield what is wrong. Each is asked by keys, at the same cost however long the log is."""
    yield from _paused()
    yield from _late(now)
    yield from _failing(now)
    yield from _silent(now)


def _paused() -> Iterator[Finding]:
    rows = Lane.objects.filter(paused=True, installation__enabled=True).select_related(
        "installation"
    )
    stopped = {each.installation: each.last_error for each in rows}
    unknown = Installation.objects.installed().filter(enabled=True)
    for installation in unknown.exclude(destination_key__in=catalog()):
        stopped[installation] = installation.destination.description
    for installation, error in stopped.items():
        yield _of(Kind.ATTENTION, installation, error)


def _late(now: datetime) -> Iterator[Finding]:
    limit = timedelta(minutes=settings.ALARM_QUEUED_MINUTES)
    if not limit:
        return
    queued = Delivery.objects.filter(lane=OuterRef("pk"), state=Delivery.State.QUEUED)
    oldest = Subquery(queued.order_by("pk").values("queued_at")[:1])
    lanes = Lane.objects.filter(paused=False, installation__enabled=True).annotate(oldest=oldest)
    late = lanes.filter(oldest__lt=now - limit).order_by("-oldest").select_related("installation")
    for lane in {each.installation_id: each for each in late}.values():
        minutes = (now - lane.oldest).total_seconds() / 60
        because = f": {lane.last_error}" if lane.last_error else ""
        text = f"The oldest delivery has been queued for {minutes:,.0f} minutes{because}"
        yield _of(Kind.LATE, lane.installation, text)


def _failing(now: datetime) -> Iterator[Finding]:
    limit = settings.ALARM_FAILURE_PERCENT
    if not limit:
        return
    recent = Attempt.objects.filter(
        pk__gte=first_id(Attempt, "started_at", now - WINDOW), is_test=False
    )
    failed = Sum("items", filter=~Q(outcome="accepted"), default=0)
    counts = recent.order_by().values("installation").annotate(sent=Sum("items"), failed=failed)
    bad = {
        each["installation"]: each
        for each in counts
        if each["sent"] >= LEAST and 100 * each["failed"] >= limit * each["sent"]
    }
    for installation in Installation.objects.filter(pk__in=bad):
        share = _share(bad[installation.pk]["failed"], bad[installation.pk]["sent"])
        text = f"{share} messages sent within {MINUTES} minutes were not accepted."
        yield _of(Kind.FAILING, installation, text)
    yield from _lost_before_sending(now, limit, known=bad.keys())


def _lost_before_sending(now: datetime, limit: float, known: Container[int]) -> Iterator[Finding]:
    """Deliveries that fail without an attempt: a mapping that cannot be applied, a user's id that
    the vendor would not take."""
    each = of_each_installation(since=now - WINDOW, until=now, step=Step.MINUTE)
    bad = {
        pk: (found.total.failed, found.total.failed + found.total.delivered)
        for pk, found in each.items()
        if pk not in known
    }
    bad = {pk: (f, of) for pk, (f, of) in bad.items() if of >= LEAST and 100 * f >= limit * of}
    for installation in Installation.objects.filter(pk__in=bad):
        share = _share(*bad[installation.pk])
        text = f"{share} deliveries settled within {MINUTES} minutes failed."
        yield _of(Kind.FAILING, installation, text)


def _share(part: int, whole: int) -> str:
    return f"{100 * part / whole:.0f} % of {whole:,}"


def _silent(now: datetime) -> Iterator[Finding]:
    minutes = settings.ALARM_SILENT_MINUTES
    if not minutes:
        return
    heard = _heard(now - timedelta(minutes=minutes))
    text = f"Nothing has come in for {minutes:g} minutes."
    if not heard:
        yield Finding(Kind.SILENT, "", "All sources", text)
        return
    for source in Source.objects.filter(name__in=settings.ALARM_SILENT_SOURCES):
        if source.pk not in heard:
            yield Finding(Kind.SILENT, f"source:{source.pk}", source.name, text)


def _heard(since: datetime) -> set[int]:
    """Return the sources that sent anything since then: what is rolled up, and what is not yet."""
    step = Step.MINUTE if timezone.now() - since < KEPT[Step.MINUTE] else Step.HOUR
    rolled = Metric.objects.filter(
        installation=ALL, step=step, at__gte=floor(since, step), accepted__gt=0
    )
    return {
        *rolled.values_list("source", flat=True),
        *Tally.objects.filter(at__gte=since).values_list("source", flat=True),
    }


def _of(kind: str, installation: Installation, text: str) -> Finding:
    return Finding(kind, f"installation:{installation.pk}", installation.name, text[:1_000])
