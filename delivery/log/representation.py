"""Serializes deliveries and rejections for the API and exports."""

from datetime import datetime
from typing import Any

from delivery.log.body_access import BODIES_HIDDEN_TEXT
from delivery.log.detail import MAX_BODY_CHARS, DeliveryAttempt, DeliveryDetail
from delivery.models import Delivery, Event, Rejection
from delivery.status.deliveries import (
    describe_delivery,
    find_troubleshooting,
    gives_up_at,
    next_attempt_at,
)
from integrations.formats.json_values import parse_json_or_text


def serialize_delivery(delivery: Delivery, now: datetime) -> dict[str, Any]:
    """Return a delivery as an entry of a list."""
    attempt = delivery.last_attempt
    return {
        "id": delivery.pk,
        "state": delivery.state,
        "trigger": delivery.trigger,
        "installation": {"id": delivery.installation_id, "name": delivery.installation.name},
        "event": serialize_event_summary(delivery.event),
        "queued_at": delivery.queued_at,
        "settled_at": delivery.settled_at,
        "attempt_count": delivery.attempts,
        "last_status": attempt.status if attempt else None,
        "last_duration_ms": attempt.duration_ms if attempt else None,
        "next_attempt_at": next_attempt_at(delivery, now),
        "gives_up_at": gives_up_at(delivery),
        "error": delivery.error,
        "reason": delivery.reason,
        **serialize_resolution(delivery),
    }


def serialize_event_summary(event: Event) -> dict[str, Any]:
    """Return an event without its body."""
    return {
        "id": event.pk,
        "type": event.type,
        "name": event.name,
        "message_id": event.message_id,
        "user_id": event.user_id,
        "anonymous_id": event.anonymous_id,
        "timestamp": event.timestamp,
        "received_at": event.received_at,
    }


def serialize_resolution(delivery: Delivery) -> dict[str, Any]:
    """Return who resolved a failed delivery, when and how; all null when it is unresolved."""
    found = delivery.current_resolution
    return {
        "resolved_at": found.at if found else None,
        "resolved_by": found.by if found else None,
        "resolution": found.note if found else None,
    }


def serialize_rejection(rejection: Rejection, *, shows_bodies: bool) -> dict[str, Any]:
    """Return a rejection, with its message as JSON if it is valid JSON, otherwise as text."""
    return {
        "id": rejection.pk,
        "source": {"id": rejection.source_id, "name": rejection.source.name},
        "received_at": rejection.received_at,
        "reason": rejection.reason,
        "message": parse_json_or_text(rejection.text) if shows_bodies else None,
        "hidden": bodies_hidden_reason(shows_bodies),
    }


def serialize_delivery_detail(detail: DeliveryDetail, now: datetime) -> dict[str, Any]:
    """Return a delivery with all its details."""
    delivery = detail.delivery
    status, trouble = describe_delivery(delivery, now), find_troubleshooting(delivery)
    line = serialize_delivery(delivery, now)
    return {
        **line,
        "hidden": bodies_hidden_reason(detail.shows_bodies),
        "event": {
            **line["event"],
            "source": delivery.event.source.name,
            "body": parse_json_or_text(detail.body) if detail.shows_bodies else None,
            "added_context": parse_json_or_text(detail.added_context or "{}")
            if detail.shows_bodies
            else None,
            "notes": detail.event_notes,
        },
        "summary": status.detail,
        "cause": trouble.cause if trouble else None,
        "fix": status.fix or None,
        "notes": detail.notes,
        "revision": detail.revision.number if detail.revision else None,
        "payloads": [{"kind": a.kind, "fields": a.fields} for a in detail.result.actions],
        "attempts": [serialize_delivery_attempt(each) for each in detail.attempts],
    }


def bodies_hidden_reason(shows_bodies: bool) -> str | None:
    """Return why a response contains no bodies, or None."""
    return None if shows_bodies else BODIES_HIDDEN_TEXT


def serialize_delivery_attempt(delivery_attempt: DeliveryAttempt) -> dict[str, Any]:
    """Return an attempt. Only the newest ones include the request and response."""
    row, full = delivery_attempt.attempt, delivery_attempt.attempt_body
    shown: dict[str, Any] = {
        "id": row.pk,
        "started_at": row.started_at,
        "duration_ms": row.duration_ms,
        "taken_at": row.taken_at,
        "worker": row.worker,
        "status": row.status,
        "outcome": row.outcome,
        "error": row.error,
        "position": delivery_attempt.position,
        "items": row.items,
        "request": {"method": row.method, "url": row.url},
        "response": None,
    }
    if full is None:
        return shown
    shown["request"] |= {
        "headers": parse_json_or_text(full.request_headers),
        "body": parse_json_or_text(delivery_attempt.body[:MAX_BODY_CHARS]),
    }
    if row.status is not None:
        shown["response"] = {
            "status": row.status,
            "headers": parse_json_or_text(full.response_headers),
            "body": parse_json_or_text(full.response_body),
        }
    return shown
