"""The state of a delivery as text."""

from datetime import datetime

from delivery.models import Delivery, Lane
from delivery.status.status_text import StatusText, format_time

State = Delivery.State


def describe_retry(lane: Lane, now: datetime) -> str:
    """Return what becomes of the next try of a lane that waits, or "" before its time."""
    if not lane.is_retrying(now):
        return ""
    return "it is tried again now" if lane.is_busy(now) else "the next try is due"


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
    """Return the time before which a delivery is not tried again; None: its turn is all it waits
    for, or somebody holds it up, or it has left the queue."""
    if delivery.state != State.QUEUED or is_on_hold(delivery):
        return None
    return max(
        (at for at in (delivery.due_at, delivery.lane.due_at) if at and at > now), default=None
    )


def is_on_hold(delivery: Delivery) -> bool:
    """Say whether nothing goes to its installation until a person lets it."""
    return not delivery.installation.enabled or delivery.lane.paused


def gives_up_at(delivery: Delivery) -> datetime | None:
    """Return when a delivery is too old to be tried once more: attempts are not counted, the
    schedule ends by age. None when it has left the queue."""
    return delivery.gives_up_at if delivery.state == State.QUEUED else None


def describe_delivery(delivery: Delivery, now: datetime) -> StatusText:
    """Return what happened to a delivery, what happens next, and what to do.

    It must come with its event, installation, lane and last attempt.
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
        who, at = found.by or "Somebody", format_time(found.at, now)
        detail = f"{who} resolved it at {at}: {found.note.rstrip('.')}. {detail}"
        return StatusText("off", "task_alt", "Failed, resolved", detail)
    return StatusText(_level(level, delivery), icon, title, detail, _fix(delivery))


def _level(level: str, delivery: Delivery) -> str:
    return "waiting" if delivery.state == State.QUEUED and delivery.error else level


def _fix(delivery: Delivery) -> str:
    trouble = find_troubleshooting(delivery)
    if trouble:
        return trouble.fix
    if delivery.state == State.FAILED:
        return "Mend what the answer names, then deliver it again."
    return ""


def find_troubleshooting(delivery: Delivery):
    """Return the line of the vendor's troubleshooting table that fits, or None."""
    if not delivery.error:
        return None
    attempt = delivery.last_attempt
    status = attempt.status if attempt else None
    return delivery.installation.destination.explain(delivery.error, status)


def _queued(delivery: Delivery, now: datetime) -> tuple[str, str]:
    vendor, lane = delivery.installation.destination.name, delivery.lane
    if not delivery.installation.enabled:
        return "Queued", f"{delivery.installation} is paused by an admin; it waits until resumed."
    if delivery.installation.destination.is_missing:
        detail = (
            f"{delivery.installation.destination.description} It waits for a version that has it."
        )
        return "Waiting for a person", detail
    if lane.paused:
        detail = f"{lane.last_error} It waits until {delivery.installation} is mended."
        return "Waiting for a person", detail
    next_try = describe_retry(lane, now)
    if lane.due_at and lane.due_at > now:
        next_try = f"the next try is at {format_time(lane.due_at, now)}"
    if next_try:
        detail = (
            f"{lane.last_error}. Nobody's fault here: {next_try}, as attempt "
            f"{delivery.attempts + 1}, and it is tried until "
            f"{format_time(delivery.gives_up_at, now)}. "
            "Nothing to do."
        )
        return f"Waiting for {vendor}", detail
    return "Queued", "It is sent as soon as those before it are. Nothing to do."


def _delivered(delivery: Delivery, now: datetime) -> tuple[str, str]:
    vendor, attempt = delivery.installation.destination.name, delivery.last_attempt
    seconds = (delivery.settled_at - delivery.event.received_at).total_seconds()
    status = f" with HTTP {attempt.status}" if attempt and attempt.status else ""
    when = format_time(delivery.settled_at, now)
    after = f", {_format_seconds(seconds)} after it came in" if seconds < 3_600 else ""
    return "Delivered", f"{vendor} accepted it{status} at {when}{after}. Nothing to do."


def _format_seconds(seconds: float) -> str:
    return f"{seconds * 1_000:.0f} ms" if seconds < 1 else f"{seconds:,.1f} s"


def _filtered(delivery: Delivery, now: datetime) -> tuple[str, str]:
    return "Filtered", f"Nothing was sent: {delivery.reason or 'the blueprint has no use for it.'}"


def _failed(delivery: Delivery, now: datetime) -> tuple[str, str]:
    again = "It is not tried again by itself."
    return "Failed", f"{delivery.reason.rstrip('.') or delivery.error}. {again}"


def _cancelled(delivery: Delivery, now: datetime) -> tuple[str, str]:
    return "Cancelled", delivery.reason or "Somebody decided not to send it."
