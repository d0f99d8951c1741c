"""Finds problems every minute, and opens and closes the incidents that record them.

An incident is one problem, from its first sign until it has not been seen for a while, so a problem
that comes and goes is one incident. Its start and its end are each notified once
(`alert_channels.py`). All changes of one minute share one mail and one webhook call: a hundred
installations that fail at once are one message.
"""

import logging
from collections.abc import Container, Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta

from django.conf import settings
from django.db.models import OuterRef, Q, Subquery, Sum
from django.utils import timezone

from delivery import bulk
from delivery.accounting.metrics import read_series_by_installation
from delivery.accounting.record import ALL_ID, METRIC_RETENTION, MetricStep, floor_to_step
from delivery.models import Attempt, Delivery, Incident, Lane, Metric, Tally
from integrations.catalog import catalog
from integrations.keyset import first_id
from integrations.models import Installation, Source

logger = logging.getLogger(__name__)

CLOSE_INCIDENT_AFTER = timedelta(minutes=3)  # without a sign of the problem
FAILURE_RATE_WINDOW = timedelta(minutes=10)  # of attempts that the failure rate covers
FAILURE_RATE_MINUTES = round(FAILURE_RATE_WINDOW.total_seconds() / 60)
FAILURE_RATE_MIN_ITEMS = 20  # items sent in the window; with fewer a rate means nothing

IncidentKind = Incident.Kind


@dataclass(frozen=True, slots=True)
class Alert:
    """A current problem. `about` names the affected object, `text` is a sentence."""

    kind: str
    subject: str
    about: str
    text: str


def update_incidents(now: datetime) -> None:
    """Open an incident for each new problem; close those not seen for CLOSE_INCIDENT_AFTER."""
    alerts = {(each.kind, each.subject): each for each in find_alerts(now)}
    for incident in Incident.objects.filter(closed_at=None):
        alert = alerts.pop((incident.kind, incident.subject), None)
        if alert:
            Incident.objects.filter(pk=incident.pk).update(seen_at=now, text=alert.text)
        elif now - incident.seen_at >= CLOSE_INCIDENT_AFTER:
            Incident.objects.filter(pk=incident.pk).update(closed_at=now)
    rows = [(f.kind, f.subject, f.about, f.text, now, now) for f in alerts.values()]
    if rows:
        names = ("kind", "subject", "about", "text", "opened_at", "seen_at")
        bulk.insert(Incident, names, rows, ignore_conflicts=True)


def find_alerts(now: datetime) -> Iterator[Alert]:
    """Yield the current problems. Every query goes by key, so its cost is independent of the log's
    length."""
    yield from _find_stopped()
    yield from _find_late(now)
    yield from _find_failing(now)
    yield from _find_silent(now)


def _find_stopped() -> Iterator[Alert]:
    rows = Lane.objects.filter(paused=True, installation__enabled=True).select_related(
        "installation"
    )
    stopped = {each.installation: each.last_error for each in rows}
    unknown = Installation.objects.installed().filter(enabled=True)
    for installation in unknown.exclude(destination_key__in=catalog()):
        stopped[installation] = installation.destination.description
    for installation, error in stopped.items():
        yield _installation_alert(IncidentKind.ATTENTION, installation, error)


def _find_late(now: datetime) -> Iterator[Alert]:
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
        yield _installation_alert(IncidentKind.LATE, lane.installation, text)


def _find_failing(now: datetime) -> Iterator[Alert]:
    limit = settings.ALARM_FAILURE_PERCENT
    if not limit:
        return
    recent = Attempt.objects.filter(
        pk__gte=first_id(Attempt, "started_at", now - FAILURE_RATE_WINDOW), is_test=False
    )
    failed = Sum("items", filter=~Q(outcome="accepted"), default=0)
    counts = recent.order_by().values("installation").annotate(sent=Sum("items"), failed=failed)
    bad = {
        each["installation"]: each
        for each in counts
        if each["sent"] >= FAILURE_RATE_MIN_ITEMS and 100 * each["failed"] >= limit * each["sent"]
    }
    for installation in Installation.objects.filter(pk__in=bad):
        share = _format_share(bad[installation.pk]["failed"], bad[installation.pk]["sent"])
        text = f"{share} messages sent within {FAILURE_RATE_MINUTES} minutes were not accepted."
        yield _installation_alert(IncidentKind.FAILING, installation, text)
    yield from _find_failing_before_sending(now, limit, known=bad.keys())


def _find_failing_before_sending(
    now: datetime, limit: float, known: Container[int]
) -> Iterator[Alert]:
    """Deliveries that fail without an attempt: a mapping that cannot be applied, a user's id that
    the vendor would not take."""
    each = read_series_by_installation(
        since=now - FAILURE_RATE_WINDOW, until=now, step=MetricStep.MINUTE
    )
    bad = {
        pk: (metrics.total.failed, metrics.total.failed + metrics.total.delivered)
        for pk, metrics in each.items()
        if pk not in known
    }
    bad = {
        pk: (f, of)
        for pk, (f, of) in bad.items()
        if of >= FAILURE_RATE_MIN_ITEMS and 100 * f >= limit * of
    }
    for installation in Installation.objects.filter(pk__in=bad):
        share = _format_share(*bad[installation.pk])
        text = f"{share} deliveries settled within {FAILURE_RATE_MINUTES} minutes failed."
        yield _installation_alert(IncidentKind.FAILING, installation, text)


def _format_share(part: int, whole: int) -> str:
    return f"{100 * part / whole:.0f} % of {whole:,}"


def _find_silent(now: datetime) -> Iterator[Alert]:
    minutes = settings.ALARM_SILENT_MINUTES
    if not minutes:
        return
    heard = _active_sources(now - timedelta(minutes=minutes))
    text = f"Nothing has come in for {minutes:g} minutes."
    if not heard:
        yield Alert(IncidentKind.SILENT, "", "All sources", text)
        return
    for source in Source.objects.filter(name__in=settings.ALARM_SILENT_SOURCES):
        if source.pk not in heard:
            yield Alert(IncidentKind.SILENT, f"source:{source.pk}", source.name, text)


def _active_sources(since: datetime) -> set[int]:
    """Return the sources that sent anything since then, from metrics and from pending tallies."""
    step = (
        MetricStep.MINUTE
        if timezone.now() - since < METRIC_RETENTION[MetricStep.MINUTE]
        else MetricStep.HOUR
    )
    rolled = Metric.objects.filter(
        installation=ALL_ID, step=step, at__gte=floor_to_step(since, step), accepted__gt=0
    )
    return {
        *rolled.values_list("source", flat=True),
        *Tally.objects.filter(at__gte=since).values_list("source", flat=True),
    }


def _installation_alert(kind: str, installation: Installation, text: str) -> Alert:
    return Alert(kind, f"installation:{installation.pk}", installation.name, text[:1_000])
