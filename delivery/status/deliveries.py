"""The state of a delivery as text."""

from datetime import datetime

from delivery.models import Delivery, Lane
from delivery.status.status_text import StatusText
from integrations.humanize import format_duration, timed_text

State = Delivery.State


def describe_retry(lane: Lane, now: datetime) -> str:
    """Return the status of a waiting lane's next attempt, or "" before it is due."""
    if not lane.is_retrying(now):
        return ""
    return "a retry is running now" if lane.is_busy(now) else "the next attempt is due"


STATE_STYLES = {
    State.QUEUED: ("busy", "schedule"),
    State.DELIVERED: ("well", "check_circle"),
    State.FILTERED: ("off", "filter_alt"),
    State.FAILED: ("attention", "error"),
    State.CANCELLED: ("off", "cancel"),
}


def status_chip(delivery: Delivery) -> StatusText:
    """Return the state of a delivery as a list shows it."""
    level, icon = STATE_STYLES[delivery.state]
    if delivery.current_resolution:
        return StatusText("off", "task_alt", "Resolved")
    if delivery.state == State.QUEUED and delivery.error:
        return StatusText("waiting", icon, "Waiting")
    return StatusText(level, icon, delivery.get_state_display())


def next_attempt_at(delivery: Delivery, now: datetime) -> datetime | None:
    """Return the time before which a delivery is not attempted again.

    None when it only waits for its turn, is on hold, or has left the queue.
    """
    if delivery.state != State.QUEUED or is_on_hold(delivery):
        return None
    return max(
        (at for at in (delivery.due_at, delivery.lane.due_at) if at and at > now), default=None
    )


def is_on_hold(delivery: Delivery) -> bool:
    """Return whether its installation sends nothing until a person resumes it."""
    return not delivery.installation.enabled or delivery.lane.paused


def gives_up_at(delivery: Delivery) -> datetime | None:
    """Return when a delivery becomes too old for another attempt; None when it left the queue.

    The retry schedule ends by age, not by number of attempts.
    """
    return delivery.gives_up_at if delivery.state == State.QUEUED else None


def describe_delivery(delivery: Delivery, now: datetime) -> StatusText:
    """Return what happened to a delivery, what happens next, and what to do.

    The delivery must be loaded with its event, installation, lane and last attempt.
    """
    level, icon = STATE_STYLES[delivery.state]
    title, detail = {
        State.QUEUED: _queued,
        State.DELIVERED: _delivered,
        State.FILTERED: _filtered,
        State.FAILED: _failed,
        State.CANCELLED: _cancelled,
    }[delivery.state](delivery, now)
    if found := delivery.current_resolution:
        detail = timed_text(
            "Resolved{by} at {at}: {note}. {detail}",
            now,
            by=f" by {found.by}" if found.by else "",
            at=found.at,
            note=found.note.rstrip("."),
            detail=detail,
        )
        return StatusText("off", "task_alt", "Failed, resolved", detail)
    return StatusText(_level(level, delivery), icon, title, detail, _fix(delivery))


def _level(level: str, delivery: Delivery) -> str:
    return "waiting" if delivery.state == State.QUEUED and delivery.error else level


def _fix(delivery: Delivery) -> str:
    trouble = find_troubleshooting(delivery)
    if trouble:
        return trouble.fix
    if delivery.state == State.FAILED:
        return "Fix the problem described in the response, then deliver again."
    return ""


def find_troubleshooting(delivery: Delivery):
    """Return the matching entry of the vendor's troubleshooting table, or None."""
    if not delivery.error:
        return None
    attempt = delivery.last_attempt
    status = attempt.status if attempt else None
    return delivery.installation.destination.explain(delivery.error, status)


def _queued(delivery: Delivery, now: datetime) -> tuple[str, str]:
    vendor, lane = delivery.installation.destination.name, delivery.lane
    if not delivery.installation.enabled:
        detail = f"{delivery.installation} is paused by an admin."
        return "Queued", f"{detail} The delivery waits until it is resumed."
    if delivery.installation.destination.is_missing:
        detail = delivery.installation.destination.description
        return "Needs attention", f"{detail} The delivery waits for a version that includes it."
    if lane.paused:
        detail = f"{lane.last_error} The delivery waits until {delivery.installation} is fixed."
        return "Needs attention", detail
    next_try = describe_retry(lane, now)
    if lane.due_at and lane.due_at > now:
        next_try = timed_text("the next attempt is at {at}", now, at=lane.due_at)
    if next_try:
        return f"Waiting for {vendor}", _waiting_detail(delivery, next_try, now)
    return "Queued", "It is sent after the deliveries ahead of it. No action needed."


def _waiting_detail(delivery: Delivery, next_try: str, now: datetime) -> str:
    return timed_text(
        "{error}. The problem is at {vendor}; {next_try}, as attempt {attempt}. "
        "Penstock keeps trying until {end}. No action needed.",
        now,
        error=delivery.lane.last_error,
        vendor=delivery.installation.destination.name,
        next_try=next_try,
        attempt=delivery.attempts + 1,
        end=delivery.gives_up_at,
    )


def _delivered(delivery: Delivery, now: datetime) -> tuple[str, str]:
    vendor, attempt = delivery.installation.destination.name, delivery.last_attempt
    seconds = (delivery.settled_at - delivery.event.received_at).total_seconds()
    status = f" with HTTP {attempt.status}" if attempt and attempt.status else ""
    after = f", {format_duration(seconds)} after it was received" if seconds < 3_600 else ""
    return "Delivered", timed_text(
        "{vendor} accepted it{status} at {at}{after}. No action needed.",
        now,
        vendor=vendor,
        status=status,
        at=delivery.settled_at,
        after=after,
    )


def _filtered(delivery: Delivery, now: datetime) -> tuple[str, str]:
    reason = delivery.reason or "the blueprint sends nothing for it."
    return "Filtered", f"Nothing was sent: {reason}"


def _failed(delivery: Delivery, now: datetime) -> tuple[str, str]:
    again = "It is not retried automatically."
    return "Failed", f"{delivery.reason.rstrip('.') or delivery.error}. {again}"


def _cancelled(delivery: Delivery, now: datetime) -> tuple[str, str]:
    return "Cancelled", delivery.reason or "It was cancelled before it was sent."
