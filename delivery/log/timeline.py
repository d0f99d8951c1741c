"""Builds the timeline of one delivery, from reception to outcome."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from delivery.log.body_access import BODIES_HIDDEN_TEXT
from delivery.log.detail import DeliveryAttempt, DeliveryDetail
from delivery.models import Attempt, Delivery
from delivery.status.deliveries import STATE_STYLES, describe_delivery
from delivery.tester import preview
from delivery.tester.preview import ActionPreview, MessagePreview
from integrations.blueprints import BlueprintError
from integrations.encryption import SecretsUnreadable
from integrations.formatting import duration
from integrations.humanize import format_count, format_duration

State = Delivery.State
MIN_SHOWN_WAIT = timedelta(seconds=1)  # shorter pauses between attempts are not worth a line
REQUEUED_AFTER = timedelta(minutes=1)  # queued this long after reception: by hand or by a replay


@dataclass(frozen=True, slots=True, kw_only=True)
class TimelineEntry:
    """One step of a delivery.

    at      when it happened, or None when only the order is known
    lines   details, one sentence each
    folded  details shown on request: (summary, lines)
    delivery_attempt    the attempt with its request and response, if the step is one
    steps   the phases of an attempt in order, each with its duration
    """

    icon: str
    level: str
    title: str
    at: datetime | None = None
    detail: str = ""
    lines: Sequence[str] = ()
    folded: tuple[str, Sequence[str]] | None = None
    delivery_attempt: DeliveryAttempt | None = None
    steps: Sequence[str] = ()


@dataclass(frozen=True, slots=True)
class AttemptComparison:
    """An attempt compared with the previous one.

    wait_text   time since the previous attempt ended, or since queueing; "" when unknown
    changed_fields  those of "answer", "outcome", "error" and "worker" that changed
    """

    number: int
    delivery_attempt: DeliveryAttempt
    wait_text: str
    changed_fields: frozenset[str]


def build_timeline(detail: DeliveryDetail, now: datetime) -> list[TimelineEntry]:
    """Return the timeline of a delivery, oldest entry first, ending with its current state."""
    beginning = [_received_entry(detail), _stored_entry(detail), *_blueprint_entries(detail)]
    return [*beginning, *_attempt_entries(detail), _outcome_entry(detail, now)]


def _received_entry(detail: DeliveryDetail) -> TimelineEntry:
    event = detail.delivery.event
    return TimelineEntry(
        icon="login",
        level="off",
        title="Received",
        at=event.received_at,
        detail=f"from {event.source}",
        lines=detail.event_notes,
    )


def _stored_entry(detail: DeliveryDetail) -> TimelineEntry:
    delivery = detail.delivery
    return TimelineEntry(
        icon="database",
        level="off",
        title="Stored and queued",
        at=None if _was_requeued(delivery) else delivery.queued_at,
        detail=f"for {delivery.installation}",
    )


def _was_requeued(delivery: Delivery) -> bool:
    return delivery.queued_at - delivery.event.received_at > REQUEUED_AFTER


def _blueprint_entries(detail: DeliveryDetail) -> Iterator[TimelineEntry]:
    made = explain_blueprint(detail)
    if isinstance(made, str):
        yield TimelineEntry(icon="tune", level="off", title="Blueprint", detail=made)
        return
    triggered = [step for step in made.actions if step.triggered]
    yield TimelineEntry(
        icon="bolt",
        level="off" if triggered else "waiting",
        title="Triggered" if triggered else "No action was triggered",
        detail=", ".join(f"{step.name} ({step.kind})" for step in triggered),
        folded=_untriggered_actions(made.actions),
    )
    if triggered:
        yield _mapping_entry(detail, made)


def explain_blueprint(detail: DeliveryDetail) -> MessagePreview | str:
    """Return what the blueprint does with the event, action by action, or why that is unknown."""
    delivery, revision = detail.delivery, detail.revision
    if not detail.shows_bodies:
        return BODIES_HIDDEN_TEXT
    if not detail.body or revision is None:
        return "The event's body or the blueprint is no longer stored."
    message = detail.message
    try:
        return preview.preview_message(delivery.installation, message, revision.blueprint)
    except (BlueprintError, SecretsUnreadable, LookupError, TypeError, ValueError) as error:
        return f"The blueprint cannot be applied: {error}"


def _untriggered_actions(steps: Sequence[ActionPreview]) -> tuple[str, Sequence[str]] | None:
    lines = [f"{step.name}: {' '.join(step.reasons)}" for step in steps if not step.triggered]
    if not lines:
        return None
    return f"{format_count(len(lines), 'other action', 'other actions')} not triggered", lines


def _mapping_entry(detail: DeliveryDetail, made: MessagePreview) -> TimelineEntry:
    revision = detail.revision
    made_by = "produced" if detail.delivery.revision else "would produce"
    items = sum(step.items for step in made.actions)
    return TimelineEntry(
        icon="transform",
        level="off" if items else "waiting",
        title="Shaped" if items else "Nothing to send",
        detail=f"Revision {revision.number} {made_by} {format_count(items, 'item', 'items')}",
        lines=detail.notes or [*made.notes, *filter(None, [made.reason])],
    )


def _attempt_entries(detail: DeliveryDetail) -> Iterator[TimelineEntry]:
    """Yield the attempts, the waits between them, and the entry for a requeue."""
    delivery, ended = detail.delivery, None
    again = delivery.queued_at if _was_requeued(delivery) else None
    for number, delivery_attempt in _numbered_attempts(detail):
        at = delivery_attempt.attempt.started_at
        if again and at >= again:
            yield _requeued_entry(delivery)
            again, ended = None, None
        if ended and at - ended >= MIN_SHOWN_WAIT:
            yield TimelineEntry(
                icon="hourglass_top",
                level="new",
                title=f"Waited {format_duration((at - ended).total_seconds())}",
            )
        yield _attempt_entry(
            delivery_attempt, number, _attempt_steps(delivery, delivery_attempt.attempt)
        )
        ended = _ended_at(delivery_attempt.attempt)
    if again:
        yield _requeued_entry(delivery)


def compare_attempts(detail: DeliveryDetail) -> list[AttemptComparison]:
    """Return the attempts, newest first, each compared with the previous one."""
    found: list[AttemptComparison] = []
    last: Attempt | None = None
    for number, delivery_attempt in _numbered_attempts(detail):
        attempt = delivery_attempt.attempt
        changed_fields = [
            name for name, of in COMPARED_FIELDS.items() if last and of(last) != of(attempt)
        ]
        since = (
            _ended_at(last)
            if last
            else None
            if _was_requeued(detail.delivery)
            else _queued_at(detail)
        )
        wait_text = format_duration((attempt.started_at - since).total_seconds()) if since else ""
        found.insert(
            0, AttemptComparison(number, delivery_attempt, wait_text, frozenset(changed_fields))
        )
        last = attempt
    return found


COMPARED_FIELDS: dict[str, Callable[[Attempt], object]] = {
    "answer": lambda attempt: attempt.status,
    "outcome": lambda attempt: attempt.outcome,
    "error": lambda attempt: attempt.error,
    "worker": lambda attempt: attempt.worker,
}


def _numbered_attempts(detail: DeliveryDetail) -> Iterator[tuple[int, DeliveryAttempt]]:
    return enumerate(reversed(detail.attempts), _first_number(detail))


def _queued_at(detail: DeliveryDetail) -> datetime:
    return detail.delivery.queued_at


def _ended_at(attempt: Attempt) -> datetime:
    return attempt.started_at + timedelta(milliseconds=attempt.duration_ms)


def _attempt_steps(delivery: Delivery, attempt: Attempt) -> list[str]:
    """Return the worker and the duration of each phase, or [] for attempts of older versions."""
    if attempt.taken_at is None:
        return []
    taken = f"Taken from the queue by {attempt.worker}"
    is_last = attempt.pk == delivery.last_attempt_id
    answered = "answered" if attempt.status else "ended without a response"
    waited = attempt.started_at - attempt.taken_at
    steps = [
        taken,
        f"sent {format_duration(waited.total_seconds())} later",
        f"{answered} after {duration(attempt.duration_ms)}",
    ]
    if is_last and delivery.settled_at:
        rest = delivery.settled_at - _ended_at(attempt)
        steps.append(f"recorded {format_duration(rest.total_seconds())} later")
    return steps


def _first_number(detail: DeliveryDetail) -> int:
    return max(detail.delivery.attempts - len(detail.attempts), 0) + 1


def _requeued_entry(delivery: Delivery) -> TimelineEntry:
    how = {Delivery.Trigger.HAND: "by hand", Delivery.Trigger.REPLAY: "by a replay"}
    detail = how.get(delivery.trigger, "")
    title = (
        "Queued by a backfill" if delivery.trigger == Delivery.Trigger.BACKFILL else "Queued again"
    )
    return TimelineEntry(
        icon="replay", level="busy", title=title, at=delivery.queued_at, detail=detail
    )


OUTCOME_STYLES = {
    "accepted": ("well", "check_circle"),
    "VendorUnavailable": ("waiting", "schedule"),
}


def _attempt_entry(
    delivery_attempt: DeliveryAttempt, number: int, steps: Sequence[str]
) -> TimelineEntry:
    attempt = delivery_attempt.attempt
    level, icon = OUTCOME_STYLES.get(attempt.outcome, ("attention", "error"))
    detail = "" if attempt.outcome == "accepted" else attempt.outcome
    return TimelineEntry(
        icon=icon,
        level=level,
        title=f"Attempt {number}",
        at=attempt.started_at,
        detail=detail,
        delivery_attempt=delivery_attempt,
        steps=steps,
    )


def _outcome_entry(detail: DeliveryDetail, now: datetime) -> TimelineEntry:
    delivery = detail.delivery
    status = describe_delivery(delivery, now)
    _, icon = STATE_STYLES[delivery.state]
    return TimelineEntry(
        icon=icon,
        level=status.level,
        title=status.title,
        at=delivery.settled_at,
        detail=status.detail if delivery.state == State.QUEUED else "",
    )
