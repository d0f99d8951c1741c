"""Sends notifications about incidents by e-mail and webhook."""

import hmac
import json
import logging
import smtplib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime

from django.conf import settings
from django.core.mail import send_mail

from delivery.models import Incident
from delivery.operations.alerts import IncidentKind
from delivery.outbound import client
from integrations.access import audit
from integrations.destination import Request, raise_for_status
from integrations.errors import DestinationError

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class AlertChannel:
    """A way to send notifications.

    name           "mail" or "webhook"
    opened_column  when the notification of an incident's start was sent
    closed_column  when the notification of its end was sent
    send           raises OSError, SMTPException or DestinationError when it fails
    """

    name: str
    opened_column: str
    closed_column: str
    send: Callable[[Sequence[Incident], Sequence[Incident], datetime], None]


def send_notifications(now: datetime) -> None:
    """Send the notifications that have not been sent. A failed one is retried the next minute."""
    for channel in _configured_channels():
        opened = list(Incident.objects.filter(closed_at=None, **{channel.opened_column: None}))
        known = Incident.objects.filter(closed_at__isnull=False, **{channel.closed_column: None})
        closed = list(known.exclude(**{channel.opened_column: None}))
        if not opened and not closed:
            continue
        try:
            channel.send(opened, closed, now)
        except (OSError, smtplib.SMTPException, DestinationError) as error:
            logger.warning("Notifications could not be sent; retrying in a minute: %s", error)
            continue
        _mark_notified(opened, channel.opened_column, now)
        _mark_notified(closed, channel.closed_column, now)


def send_test_alert(now: datetime) -> dict[str, str]:
    """Send a test incident; return the error, or "", for each channel ("mail" or "webhook")."""
    test_incident = Incident(
        kind=IncidentKind.SILENT,
        about="A test",
        text="Nothing is wrong. This is a test of whether alerts arrive.",
        opened_at=now,
        seen_at=now,
    )
    results = {}
    for channel in _configured_channels():
        try:
            channel.send([test_incident], [], now)
            results[channel.name] = ""
        except (OSError, smtplib.SMTPException, DestinationError) as error:
            results[channel.name] = f"{type(error).__name__}: {error}"
    audit.record("incident.test_sent", "a test alert", {}, results)
    return results


def _mark_notified(incidents: Sequence[Incident], column: str, now: datetime) -> None:
    Incident.objects.filter(pk__in=[each.pk for each in incidents]).update(**{column: now})


def _configured_channels() -> Iterator[AlertChannel]:
    if settings.ALARM_EMAILS:
        yield AlertChannel("mail", "mailed_at", "mailed_end_at", send_alert_email)
    if settings.ALARM_WEBHOOK_URL:
        yield AlertChannel("webhook", "posted_at", "posted_end_at", call_alert_webhook)


def send_alert_email(opened: Sequence[Incident], closed: Sequence[Incident], now: datetime) -> None:
    """Send one mail about all these incidents."""
    lines = [f"{each.get_kind_display()}: {each.about}\n  {each.text}" for each in opened]
    lines += [
        f"Resolved: {each.get_kind_display().lower()}: {each.about}\n"
        f"  It began at {each.opened_at:%Y-%m-%d %H:%M} UTC."
        for each in closed
    ]
    send_mail(
        subject=f"[Penstock] {_subject_text(opened, closed)}"[:200],
        message="\n\n".join(lines) + "\n",
        from_email=settings.DEFAULT_FROM_EMAIL,
        recipient_list=settings.ALARM_EMAILS,
    )


def _subject_text(opened: Sequence[Incident], closed: Sequence[Incident]) -> str:
    if len(opened) + len(closed) == 1:
        [each] = [*opened, *closed]
        over = "" if opened else "resolved: "
        return " ".join(f"{over}{each.about}: {each.get_kind_display().lower()}".split())
    new = f"{len(opened)} new" if opened else ""
    over = f"{len(closed)} resolved" if closed else ""
    return f"Incidents: {', '.join(filter(None, (new, over)))}"


def call_alert_webhook(
    opened: Sequence[Incident], closed: Sequence[Incident], now: datetime
) -> None:
    """Call the webhook once about all these incidents.

    Raises DestinationError when the response is not a 2xx.
    """
    incidents = [_incident_payload(each, "opened") for each in opened]
    incidents += [_incident_payload(each, "closed") for each in closed]
    body = json.dumps({"incidents": incidents}, ensure_ascii=False).encode()
    headers = {"Content-Type": "application/json", **alert_signature_header(body, now)}
    request = Request(url=settings.ALARM_WEBHOOK_URL, body=body, headers=headers)
    with client.new_session() as session:
        raise_for_status(client.send_request(request, session))


def alert_signature_header(body: bytes, now: datetime) -> dict[str, str]:
    """Return the header that authenticates our call: the HMAC-SHA256 of "time.body"."""
    if not settings.ALARM_WEBHOOK_SECRET:
        return {}
    at = f"{now.timestamp():.0f}"
    mac = hmac.new(settings.ALARM_WEBHOOK_SECRET.encode(), at.encode() + b"." + body, "sha256")
    return {"X-Penstock-Signature": f"t={at},v1={mac.hexdigest()}"}


def _incident_payload(incident: Incident, event: str) -> dict[str, object]:
    return {
        "id": incident.pk,
        "event": event,
        "kind": incident.kind,
        "about": incident.about,
        "text": incident.text,
        "opened_at": incident.opened_at.isoformat(),
        "closed_at": incident.closed_at.isoformat() if incident.closed_at else None,
    }
