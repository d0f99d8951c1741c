"""Alarms: what is wrong is found each minute, told once by mail and webhook, and so is its end.

An incident is one thing that is wrong, for as long as it is. It is over when nothing was seen of it
for CALM, so that what comes and goes is one incident. All that is new in a minute goes into one
mail and one call: a hundred installations that fail at once are one message.
"""

import hmac
import json
import logging
import smtplib
from collections.abc import Callable, Container, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from django.conf import settings
from django.core.mail import send_mail
from django.db.models import OuterRef, Q, Subquery, Sum
from django.utils import timezone

from delivery import bulk
from delivery.accounting.metrics import ALL, KEPT, Step, floor, of_each_installation
from delivery.models import Attempt, Delivery, Incident, Lane, Metric, Tally
from delivery.outbound import client
from integrations.catalog import catalog
from integrations.destination import Request, judge_by_status
from integrations.errors import DestinationError
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


# --- what is wrong -----------------------------------------------------------------------------


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


# --- who is told -------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Channel:
    """A way to tell people.

    name          "mail" or "webhook"
    told, ended   columns of an incident: when its beginning and its end were told this way
    send          raises OSError, SMTPException or DestinationError when it could not
    """

    name: str
    told: str
    ended: str
    send: Callable[[Sequence[Incident], Sequence[Incident], datetime], None]


def tell(now: datetime) -> None:
    """Tell what has not been told, once. What could not be sent is tried again the next minute."""
    for channel in _channels():
        opened = list(Incident.objects.filter(closed_at=None, **{channel.told: None}))
        known = Incident.objects.filter(closed_at__isnull=False, **{channel.ended: None})
        closed = list(known.exclude(**{channel.told: None}))
        if not opened and not closed:
            continue
        try:
            channel.send(opened, closed, now)
        except (OSError, smtplib.SMTPException, DestinationError) as error:
            logger.warning("Alarms could not be told, and will be in a minute: %s", error)
            continue
        _note(opened, channel.told, now)
        _note(closed, channel.ended, now)


def test(now: datetime) -> dict[str, str]:
    """Tell of an incident that is none; return for each way, "mail" or "webhook", what went wrong,
    or ""."""
    drill = Incident(
        kind=Kind.SILENT,
        about="A test",
        text="Nothing is wrong: somebody asked whether alarms arrive.",
        opened_at=now,
        seen_at=now,
    )
    results = {}
    for channel in _channels():
        try:
            channel.send([drill], [], now)
            results[channel.name] = ""
        except (OSError, smtplib.SMTPException, DestinationError) as error:
            results[channel.name] = f"{type(error).__name__}: {error}"
    return results


def _note(incidents: Sequence[Incident], column: str, now: datetime) -> None:
    Incident.objects.filter(pk__in=[each.pk for each in incidents]).update(**{column: now})


def _channels() -> Iterator[Channel]:
    if settings.ALARM_EMAILS:
        yield Channel("mail", "mailed_at", "mailed_end_at", mail)
    if settings.ALARM_WEBHOOK_URL:
        yield Channel("webhook", "posted_at", "posted_end_at", post)


def mail(opened: Sequence[Incident], closed: Sequence[Incident], now: datetime) -> None:
    """Send one mail about all of them."""
    lines = [f"{each.get_kind_display()}: {each.about}\n  {each.text}" for each in opened]
    lines += [
        f"Over: {each.get_kind_display().lower()}: {each.about}\n"
        f"  It began at {each.opened_at:%Y-%m-%d %H:%M} UTC."
        for each in closed
    ]
    send_mail(
        subject=f"[Penstock] {_in_short(opened, closed)}"[:200],
        message="\n\n".join(lines) + "\n",
        from_email=settings.DEFAULT_FROM_EMAIL,
        recipient_list=settings.ALARM_EMAILS,
    )


def _in_short(opened: Sequence[Incident], closed: Sequence[Incident]) -> str:
    if len(opened) + len(closed) == 1:
        [each] = [*opened, *closed]
        over = "" if opened else "over: "
        return " ".join(f"{over}{each.about}: {each.get_kind_display().lower()}".split())
    new = f"{len(opened)} new" if opened else ""
    over = f"{len(closed)} over" if closed else ""
    return f"Incidents: {', '.join(filter(None, (new, over)))}"


def post(opened: Sequence[Incident], closed: Sequence[Incident], now: datetime) -> None:
    """Call the webhook once about all of them. Raises DestinationError when it is not a 2xx."""
    told = [_as_dict(each, "opened") for each in opened]
    told += [_as_dict(each, "closed") for each in closed]
    body = json.dumps({"incidents": told}, ensure_ascii=False).encode()
    headers = {"Content-Type": "application/json", **signature(body, now)}
    request = Request(url=settings.ALARM_WEBHOOK_URL, body=body, headers=headers)
    with client.new_session() as session:
        judge_by_status(client.send(request, session))


def signature(body: bytes, now: datetime) -> dict[str, str]:
    """Return the header that proves that the call is ours: HMAC-SHA256 of "time.body"."""
    if not settings.ALARM_WEBHOOK_SECRET:
        return {}
    at = f"{now.timestamp():.0f}"
    mac = hmac.new(settings.ALARM_WEBHOOK_SECRET.encode(), at.encode() + b"." + body, "sha256")
    return {"X-Penstock-Signature": f"t={at},v1={mac.hexdigest()}"}


def _as_dict(incident: Incident, event: str) -> dict[str, object]:
    return {
        "id": incident.pk,
        "event": event,
        "kind": incident.kind,
        "about": incident.about,
        "text": incident.text,
        "opened_at": incident.opened_at.isoformat(),
        "closed_at": incident.closed_at.isoformat() if incident.closed_at else None,
    }
