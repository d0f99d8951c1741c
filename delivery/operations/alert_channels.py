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
from delivery.operations.alerts import Kind
from delivery.outbound import client
from integrations.destination import Request, judge_by_status
from integrations.errors import DestinationError

logger = logging.getLogger(__name__)


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
