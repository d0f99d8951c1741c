"""How installations and deliveries are doing, in words for people."""

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

from delivery.accounting.bounded_count import MOST, BoundedCount, bounded
from delivery.models import Attempt, Delivery, Lane
from delivery.status.deliveries import retried_in_words
from delivery.status.words import Words, clock
from integrations.models import AuditEntry, Installation

LEFT = "its log, figures and revisions stay"
LATELY = 100  # deliveries, the newest of an installation


def with_state(installations: QuerySet[Installation]) -> QuerySet[Installation]:
    """Return installations with what state_in_words() and the lists need, in two queries.

    The queue is reached through the lanes, whose index holds only what is queued; the log through
    its newest rows. So none of it costs more as the log grows.
    """
    newest, attempts = (
        Delivery.objects.newest_of(OuterRef("pk")),
        Attempt.objects.newest_of(OuterRef("pk")),
    )
    accepted = attempts.filter(outcome="accepted", is_test=False)
    return installations.annotate(
        newest=Subquery(newest.values("pk")[:1]),
        failed=BoundedCount(_as_they_ended(newest)[:LATELY], where=NEEDS_SOMEBODY),
        delivered_at=Subquery(accepted.values("started_at")[:1]),
        paused_at=Subquery(_pauses().values("at")[:1]),
    ).prefetch_related(Prefetch("lanes", lanes_with_queue()))


# Failed, and not resolved since: as Delivery.resolved has it.
NEEDS_SOMEBODY = "state = 'failed' AND (resolved_at IS NULL OR resolved_at < settled_at)"


def _as_they_ended(rows: QuerySet[Delivery]) -> QuerySet[Any, dict[str, Any]]:
    return rows.values("state", "settled_at", resolved_at=F("resolution__at"))


def _pauses() -> QuerySet[AuditEntry]:
    """Return who paused an installation, newest first; nothing once it was resumed."""
    about = AuditEntry.objects.filter(object_type="installation")
    own = Cast(OuterRef("pk"), CharField())
    resumed = about.filter(
        action="installation.resumed", object_id=OuterRef("object_id"), pk__gt=OuterRef("pk")
    )
    paused = about.filter(~Exists(resumed), action="installation.paused", object_id=own)
    return paused.order_by("-pk")


def lanes_with_queue() -> QuerySet[Lane]:
    """Return lanes with how much each has `queued`, up to MOST or so."""
    waiting = Delivery.objects.filter(lane=OuterRef("pk"), state=Delivery.State.QUEUED)
    return Lane.objects.order_by("number").annotate(
        queued=BoundedCount(waiting.values("pk")[: MOST + 1])
    )


def queued(installation: Installation) -> int:
    """Return how many deliveries wait for an installation from with_state(), up to MOST or so."""
    return sum(lane.queued for lane in installation.lanes.all())


def state_in_words(installation: Installation, lanes: Sequence[Lane], now: datetime) -> Words:
    """Return how an installation from with_state() is doing."""
    vendor = installation.destination.name
    if installation.uninstalled_at:
        since = clock(installation.uninstalled_at, now)
        return Words("off", "block", "Uninstalled", f"since {since}; {LEFT}")
    if not installation.enabled:
        return Words("off", "pause_circle", "Paused by an admin", _kept(installation, now))
    if installation.destination.is_missing:
        return _missing(installation)
    refused = next((lane for lane in lanes if lane.paused), None)
    if refused:
        return _needs_attention(installation, refused)
    waiting = next((lane for lane in lanes if waits(lane, now)), None)
    if waiting:
        next_try = retried_in_words(waiting, now) or f"next try {clock(waiting.due_at, now)}"
        return Words(
            "waiting",
            "schedule",
            f"Waiting for {vendor}",
            f"{waiting.last_error} since {clock(waiting.changed_at, now)}; {next_try}",
        )
    if installation.newest is None:
        return Words("new", "hourglass_empty", "Nothing to deliver yet")
    return _at_work(installation)


def waits(lane: Lane, now: datetime) -> bool:
    """Say whether a lane from lanes_with_queue() waits for its vendor: until the next try, and as
    long as that one's outcome is not known. With nothing queued there is nothing to try."""
    if lane.due_at and lane.due_at > now:
        return True
    return lane.is_tried_again(now) and lane.queued > 0


def _at_work(installation: Installation) -> Words:
    failed = installation.failed
    if failed:
        detail = f"{failed} failed among the last {LATELY} deliveries"
        return Words("waiting", "warning", "Delivering, with failures", detail)
    if queued(installation):
        return Words("busy", "sync", "Delivering")
    return Words("well", "check_circle", "Up to date")


def _needs_attention(installation: Installation, lane: Lane) -> Words:
    trouble = installation.destination.explain("CredentialsRejected", None)
    return Words(
        "attention",
        "error",
        "Needs attention",
        lane.last_error,
        trouble.fix if trouble else "Check the credentials and save them again, or resume.",
    )


def _missing(installation: Installation) -> Words:
    number = queued(installation)
    detail = f"{installation.destination.description} Its deliveries wait"
    fix = "Run a version of Penstock that has it: it goes on by itself. Or uninstall it."
    waiting = f", {bounded(number)} so far." if number else "."
    return Words("attention", "error", "Needs attention", detail + waiting, fix)


def _kept(installation: Installation, now: datetime) -> str:
    number, paused_at = queued(installation), installation.paused_at
    since = f"since {clock(paused_at, now)}" if paused_at else ""
    return ", ".join(filter(None, (since, f"{bounded(number)} queued" if number else "")))
