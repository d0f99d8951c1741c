"""The state of an installation as text."""

from collections.abc import Sequence
from datetime import datetime
from typing import Any

from django.db.models import (
    CharField,
    Exists,
    F,
    OuterRef,
    Prefetch,
    QuerySet,
    Subquery,
)
from django.db.models.functions import Cast

from delivery.accounting.bounded_count import QUEUE_COUNT_LIMIT, BoundedCount, format_bounded_count
from delivery.models import Attempt, Delivery, Lane
from delivery.status.deliveries import describe_retry
from delivery.status.status_text import StatusText
from integrations.humanize import timed_text
from integrations.models import AuditEntry, Installation

UNINSTALLED_NOTE = "its log, metrics and revisions are kept"
FAILURE_SAMPLE_DELIVERIES = 100  # deliveries, the newest of an installation


def with_state(installations: QuerySet[Installation]) -> QuerySet[Installation]:
    """Annotate installations with what describe_installation() and the lists need, in two queries.

    The cost does not grow with the log: the queue is read through the lanes, whose index holds
    only queued deliveries, and the log through its newest rows.
    """
    newest, attempts = (
        Delivery.objects.newest_of(OuterRef("pk")),
        Attempt.objects.newest_of(OuterRef("pk")),
    )
    accepted = attempts.filter(outcome="accepted", is_test=False)
    return installations.annotate(
        newest=Subquery(newest.values("pk")[:1]),
        failed=BoundedCount(
            _with_resolution_time(newest)[:FAILURE_SAMPLE_DELIVERIES], where=UNRESOLVED_FAILURE_SQL
        ),
        delivered_at=Subquery(accepted.values("started_at")[:1]),
        paused_at=Subquery(_pauses().values("at")[:1]),
    ).prefetch_related(Prefetch("lanes", lanes_with_queue()))


# Failed and not resolved since. Must agree with Delivery.current_resolution.
UNRESOLVED_FAILURE_SQL = "state = 'failed' AND (resolved_at IS NULL OR resolved_at < settled_at)"


def _with_resolution_time(rows: QuerySet[Delivery]) -> QuerySet[Any, dict[str, Any]]:
    return rows.values("state", "settled_at", resolved_at=F("resolution__at"))


def _pauses() -> QuerySet[AuditEntry]:
    """Return the audit entries that paused an installation and were not followed by a resume."""
    about = AuditEntry.objects.filter(object_type="installation")
    own = Cast(OuterRef("pk"), CharField())
    resumed = about.filter(
        action="installation.resumed", object_id=OuterRef("object_id"), pk__gt=OuterRef("pk")
    )
    paused = about.filter(~Exists(resumed), action="installation.paused", object_id=own)
    return paused.order_by("-pk")


def lanes_with_queue() -> QuerySet[Lane]:
    """Return lanes annotated with their `queued` deliveries, counted up to QUEUE_COUNT_LIMIT."""
    waiting = Delivery.objects.filter(lane=OuterRef("pk"), state=Delivery.State.QUEUED)
    return Lane.objects.order_by("number").annotate(
        queued=BoundedCount(waiting.values("pk")[: QUEUE_COUNT_LIMIT + 1])
    )


def count_queued(installation: Installation) -> int:
    """Return how many deliveries an installation from with_state() has queued, up to a limit."""
    return sum(lane.queued for lane in installation.lanes.all())


def describe_installation(
    installation: Installation, lanes: Sequence[Lane], now: datetime
) -> StatusText:
    """Return the state of an installation from with_state()."""
    vendor = installation.destination.name
    if installation.uninstalled_at:
        since = timed_text(
            "since {at}; {note}", now, at=installation.uninstalled_at, note=UNINSTALLED_NOTE
        )
        return StatusText("off", "block", "Uninstalled", since)
    if not installation.enabled:
        return StatusText(
            "off", "pause_circle", "Paused by an admin", _paused_detail(installation, now)
        )
    if installation.destination.is_missing:
        return _destination_missing(installation)
    refused = next((lane for lane in lanes if lane.paused), None)
    if refused:
        return _needs_attention(installation, refused)
    waiting = next((lane for lane in lanes if is_waiting_for_vendor(lane, now)), None)
    if waiting:
        return StatusText(
            "waiting", "schedule", f"Waiting for {vendor}", _waiting_detail(waiting, now)
        )
    if installation.newest is None:
        return StatusText("new", "hourglass_empty", "Nothing to deliver yet")
    return _delivering(installation)


def _waiting_detail(lane: Lane, now: datetime) -> str:
    next_try = describe_retry(lane, now) or timed_text("next attempt {at}", now, at=lane.due_at)
    return timed_text(
        "{error} since {since}; {next_try}",
        now,
        error=lane.last_error,
        since=lane.changed_at,
        next_try=next_try,
    )


def is_waiting_for_vendor(lane: Lane, now: datetime) -> bool:
    """Return whether a lane from lanes_with_queue() waits for its vendor.

    It waits until the next attempt and until that attempt has an outcome. A lane with nothing
    queued has nothing to attempt, so it does not wait.
    """
    if lane.due_at and lane.due_at > now:
        return True
    return lane.is_retrying(now) and lane.queued > 0


def _delivering(installation: Installation) -> StatusText:
    failed = installation.failed
    if failed:
        detail = f"{failed} failed among the last {FAILURE_SAMPLE_DELIVERIES} deliveries"
        return StatusText("waiting", "warning", "Delivering, with failures", detail)
    if count_queued(installation):
        return StatusText("busy", "sync", "Delivering")
    return StatusText("well", "check_circle", "Up to date")


def _needs_attention(installation: Installation, lane: Lane) -> StatusText:
    trouble = installation.destination.explain("CredentialsRejected", None)
    return StatusText(
        "attention",
        "error",
        "Needs attention",
        lane.last_error,
        trouble.fix if trouble else "Check the credentials, then save them again or resume.",
    )


def _destination_missing(installation: Installation) -> StatusText:
    number = count_queued(installation)
    detail = f"{installation.destination.description} Its deliveries wait"
    fix = (
        "Upgrade to a version of Penstock that includes this destination; delivery then resumes "
        "automatically. Otherwise uninstall it."
    )
    waiting = f", {format_bounded_count(number)} so far." if number else "."
    return StatusText("attention", "error", "Needs attention", detail + waiting, fix)


def _paused_detail(installation: Installation, now: datetime) -> str:
    number, paused_at = count_queued(installation), installation.paused_at
    queued = f"{format_bounded_count(number)} queued" if number else ""
    if not paused_at:
        return queued
    rest = f", {queued}" if queued else ""
    return timed_text("since {at}{rest}", now, at=paused_at, rest=rest)
