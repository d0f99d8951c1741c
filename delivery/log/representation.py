"""Deliveries and rejections as the API shows them."""

from datetime import datetime
from typing import Any

from delivery.log.body_access import HIDDEN
from delivery.log.detail import SHOWN, Sent, Story, parsed
from delivery.models import Delivery, Rejection
from delivery.status.deliveries import delivery_in_words, gives_up_at, next_try_at, trouble_of


def listed(delivery: Delivery, now: datetime) -> dict[str, Any]:
    """Return a delivery as a line of the list."""
    event, attempt = delivery.event, delivery.last_attempt
    return {
        "id": delivery.pk,
        "state": delivery.state,
        "trigger": delivery.trigger,
        "installation": {"id": delivery.installation_id, "name": delivery.installation.name},
        "event": {
            "id": event.pk,
            "type": event.type,
            "name": event.name,
            "message_id": event.message_id,
            "user_id": event.user_id,
            "anonymous_id": event.anonymous_id,
            "timestamp": event.timestamp,
            "received_at": event.received_at,
        },
        "queued_at": delivery.queued_at,
        "settled_at": delivery.settled_at,
        "attempt_count": delivery.attempts,
        "last_status": attempt.status if attempt else None,
        "last_duration_ms": attempt.duration_ms if attempt else None,
        "next_attempt_at": next_try_at(delivery, now),
        "gives_up_at": gives_up_at(delivery),
        "error": delivery.error,
        "reason": delivery.reason,
        **resolution(delivery),
    }


def resolution(delivery: Delivery) -> dict[str, Any]:
    """Return who resolved a failed delivery, when and how; nulls where nobody has."""
    found = delivery.resolved
    return {
        "resolved_at": found.at if found else None,
        "resolved_by": found.by if found else None,
        "resolution": found.note if found else None,
    }


def rejected(rejection: Rejection, *, shows_bodies: bool) -> dict[str, Any]:
    """Return a rejection; what was sent is JSON where it can be read as such, else its text."""
    return {
        "id": rejection.pk,
        "source": {"id": rejection.source_id, "name": rejection.source.name},
        "received_at": rejection.received_at,
        "reason": rejection.reason,
        "message": parsed(rejection.text) if shows_bodies else None,
        "hidden": hidden(shows_bodies),
    }


def told(story: Story, now: datetime) -> dict[str, Any]:
    """Return all there is to tell about a delivery."""
    delivery = story.delivery
    words, trouble = delivery_in_words(delivery, now), trouble_of(delivery)
    line = listed(delivery, now)
    return {
        **line,
        "hidden": hidden(story.shows_bodies),
        "event": {
            **line["event"],
            "source": delivery.event.source.name,
            "body": parsed(story.body) if story.shows_bodies else None,
            "added_context": parsed(story.added_context or "{}") if story.shows_bodies else None,
            "notes": story.event_notes,
        },
        "summary": words.detail,
        "cause": trouble.cause if trouble else None,
        "fix": words.fix or None,
        "notes": story.notes,
        "revision": story.revision.number if story.revision else None,
        "payloads": [{"kind": a.kind, "fields": a.fields} for a in story.result.actions],
        "attempts": [attempt(each) for each in story.sent],
    }


def hidden(shows_bodies: bool) -> str | None:
    """Return why there are no bodies in an answer, or None."""
    return None if shows_bodies else HIDDEN


def attempt(sent: Sent) -> dict[str, Any]:
    """Return an attempt; its request and answer only for the newest, as in Story.sent."""
    row, full = sent.attempt, sent.full
    shown: dict[str, Any] = {
        "id": row.pk,
        "started_at": row.started_at,
        "duration_ms": row.duration_ms,
        "taken_at": row.taken_at,
        "worker": row.worker,
        "status": row.status,
        "outcome": row.outcome,
        "error": row.error,
        "position": sent.position,
        "items": row.items,
        "request": {"method": row.method, "url": row.url},
        "response": None,
    }
    if full is None:
        return shown
    shown["request"] |= {
        "headers": parsed(full.request_headers),
        "body": parsed(sent.body[:SHOWN]),
    }
    if row.status is not None:
        shown["response"] = {
            "status": row.status,
            "headers": parsed(full.response_headers),
            "body": parsed(full.response_body),
        }
    return shown
