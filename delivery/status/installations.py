"""How installations and deliveries are doing, in words for people."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from django.db.models import (
    CharField,
    Exists,
    F,
    IntegerField,
    OuterRef,
    Prefetch,
    QuerySet,
    Subquery,
)
from django.db.models.functions import Cast

from delivery.models import Attempt, Delivery, Incident, Lane, Replay
from integrations.models import AuditEntry, Installation

MOST = 10_000  # what is queued is counted no further
LEFT = "its log, figures and revisions stay"
LATELY = 100  # deliveries, the newest of an installation

State = Delivery.State


@dataclass(frozen=True, slots=True)
class Words:
    """A state to read.

    level   "well", "busy", "waiting", "attention", "off" or "new": the colour, for those who see it
    title   a few words
    detail  what happened and what happens next
    fix     what a person should do, or "" when there is nothing to do
    """

    level: str
    icon: str
    title: str
    detail: str = ""
    fix: str = ""


class BoundedCount(Subquery):
    """Counts the rows of a sliced query: the slice is how far it counts.

    where   which of them to count, in SQL: a condition of the query itself would be met by
            looking further than the slice
    """

    template = "(SELECT COUNT(*) FROM (%(subquery)s) AS counted WHERE %(where)s)"
    output_field = IntegerField()

    def __init__(self, queryset: QuerySet[Any], *, where: str = "1 = 1"):
        super().__init__(queryset, where=where)


def with_state(installations: QuerySet[Installation]) -> QuerySet[Installation]:
    """Return installations with what state_in_words() and the lists need, in two queries.

    The queue is reached through the lanes, whose index holds only what is queued; the log through
    its newest rows. So none of it costs more as the log grows.
    """
    newest, attempts = _newest_of(Delivery), _newest_of(Attempt)
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


def _newest_of(model: type[Delivery] | type[Attempt]) -> QuerySet[Any]:
    # A range of one instead of an equality: for that, PostgreSQL likes to walk the primary key
    # backwards, through the whole log where an installation has little of it.
    rows = model._default_manager.filter(
        installation__gte=OuterRef("pk"), installation__lte=OuterRef("pk")
    )
    return rows.order_by("installation_id", "-pk")


def lanes_with_queue() -> QuerySet[Lane]:
    """Return lanes with how much each has `queued`, up to MOST or so."""
    waiting = Delivery.objects.filter(lane=OuterRef("pk"), state=State.QUEUED)
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


def retried_in_words(lane: Lane, now: datetime) -> str:
    """Return what becomes of the next try of a lane that waits, or "" before its time."""
    if not lane.is_tried_again(now):
        return ""
    return "it is tried again now" if lane.is_busy(now) else "the next try is due"


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


def bounded(number: int) -> str:
    """Return a number as it is shown: beyond MOST, that it is more."""
    return f"{MOST:,}+" if number > MOST else f"{number:,}"


def clock(moment: datetime, now: datetime) -> str:
    """Return a time of today as a time, and of another day with its date; always UTC."""
    shape = "%H:%M:%S UTC" if moment.date() == now.date() else "%Y-%m-%d %H:%M:%S UTC"
    return moment.strftime(shape)


# --- deliveries --------------------------------------------------------------------------------

ICONS = {
    State.QUEUED: ("busy", "schedule"),
    State.DELIVERED: ("well", "check_circle"),
    State.FILTERED: ("off", "filter_alt"),
    State.FAILED: ("attention", "error"),
    State.CANCELLED: ("off", "cancel"),
}


def chip(delivery: Delivery) -> Words:
    """Return the state of a delivery as a list shows it."""
    level, icon = ICONS[delivery.state]
    if delivery.resolved:
        return Words("off", "task_alt", "Resolved")
    if delivery.state == State.QUEUED and delivery.error:
        return Words("waiting", icon, "Waiting")
    return Words(level, icon, delivery.get_state_display())


def next_try_at(delivery: Delivery, now: datetime) -> datetime | None:
    """Return the time before which a delivery is not tried again; None: its turn is all it waits
    for, or somebody holds it up, or it has left the queue."""
    if delivery.state != State.QUEUED or is_held_up(delivery):
        return None
    return max(
        (at for at in (delivery.due_at, delivery.lane.due_at) if at and at > now), default=None
    )


def is_held_up(delivery: Delivery) -> bool:
    """Say whether nothing goes to its installation until a person lets it."""
    return not delivery.installation.enabled or delivery.lane.paused


def gives_up_at(delivery: Delivery) -> datetime | None:
    """Return when a delivery is too old to be tried once more: attempts are not counted, the
    schedule ends by age. None when it has left the queue."""
    return delivery.tried_until if delivery.state == State.QUEUED else None


def delivery_in_words(delivery: Delivery, now: datetime) -> Words:
    """Return what happened to a delivery, what happens next, and what to do.

    It must come with its event, installation, lane and last attempt.
    """
    level, icon = ICONS[delivery.state]
    title, detail = {
        State.QUEUED: _queued,
        State.DELIVERED: _delivered,
        State.FILTERED: _filtered,
        State.FAILED: _failed,
        State.CANCELLED: _cancelled,
    }[delivery.state](delivery, now)
    if found := delivery.resolved:
        who, at = found.by or "Somebody", clock(found.at, now)
        detail = f"{who} resolved it at {at}: {found.note.rstrip('.')}. {detail}"
        return Words("off", "task_alt", "Failed, resolved", detail)
    return Words(_level(level, delivery), icon, title, detail, _fix(delivery))


def _level(level: str, delivery: Delivery) -> str:
    return "waiting" if delivery.state == State.QUEUED and delivery.error else level


def _fix(delivery: Delivery) -> str:
    trouble = trouble_of(delivery)
    if trouble:
        return trouble.fix
    if delivery.state == State.FAILED:
        return "Mend what the answer names, then deliver it again."
    return ""


def trouble_of(delivery: Delivery):
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
    next_try = retried_in_words(lane, now)
    if lane.due_at and lane.due_at > now:
        next_try = f"the next try is at {clock(lane.due_at, now)}"
    if next_try:
        detail = (
            f"{lane.last_error}. Nobody's fault here: {next_try}, as attempt "
            f"{delivery.attempts + 1}, and it is tried until {clock(delivery.tried_until, now)}. "
            "Nothing to do."
        )
        return f"Waiting for {vendor}", detail
    return "Queued", "It is sent as soon as those before it are. Nothing to do."


def _delivered(delivery: Delivery, now: datetime) -> tuple[str, str]:
    vendor, attempt = delivery.installation.destination.name, delivery.last_attempt
    seconds = (delivery.settled_at - delivery.event.received_at).total_seconds()
    status = f" with HTTP {attempt.status}" if attempt and attempt.status else ""
    when = clock(delivery.settled_at, now)
    after = f", {_short(seconds)} after it came in" if seconds < 3_600 else ""
    return "Delivered", f"{vendor} accepted it{status} at {when}{after}. Nothing to do."


def _short(seconds: float) -> str:
    return f"{seconds * 1_000:.0f} ms" if seconds < 1 else f"{seconds:,.1f} s"


def _filtered(delivery: Delivery, now: datetime) -> tuple[str, str]:
    return "Filtered", f"Nothing was sent: {delivery.reason or 'the blueprint has no use for it.'}"


def _failed(delivery: Delivery, now: datetime) -> tuple[str, str]:
    again = "It is not tried again by itself."
    return "Failed", f"{delivery.reason.rstrip('.') or delivery.error}. {again}"


def _cancelled(delivery: Delivery, now: datetime) -> tuple[str, str]:
    return "Cancelled", delivery.reason or "Somebody decided not to send it."


# --- replays -----------------------------------------------------------------------------------

REPLAYS = {
    Replay.State.RUNNING: ("busy", "sync"),
    Replay.State.PAUSED: ("off", "pause_circle"),
    Replay.State.CANCELLING: ("waiting", "schedule"),
    Replay.State.CANCELLED: ("off", "cancel"),
    Replay.State.DONE: ("well", "check_circle"),
}


def replay_in_words(replay: Replay) -> Words:
    """Return how a replay is doing. It must come with its installation."""
    level, icon = REPLAYS[replay.state]
    return Words(level, icon, replay.get_state_display(), _replay_detail(replay))


def _replay_detail(replay: Replay) -> str:
    queued = "1 delivery" if replay.queued == 1 else f"{replay.queued:,} deliveries"
    if replay.state == Replay.State.CANCELLED:
        return f"{queued} queued; {replay.taken_back:,} of them taken back before they were sent."
    if replay.state == Replay.State.DONE:
        outcome = ", ".join(f"{n:,} {state}" for state, n in sorted(replay.outcome.items()))
        return f"{queued} queued{f': {outcome}' if outcome else '; nothing matched'}."
    if not replay.installation.enabled:
        return f"{queued} queued; {replay.installation} is paused, so they wait."
    if replay.cursor >= replay.end:
        return f"{queued} queued; the last of them are being sent."
    return f"{queued} queued so far."


# --- incidents ---------------------------------------------------------------------------------

INCIDENTS = {
    Incident.Kind.ATTENTION: ("attention", "error"),
    Incident.Kind.LATE: ("waiting", "schedule"),
    Incident.Kind.FAILING: ("attention", "warning"),
    Incident.Kind.SILENT: ("waiting", "volume_off"),
}


def incident_in_words(incident: Incident) -> Words:
    level, icon = INCIDENTS[incident.kind]
    if incident.closed_at:
        level, icon = "off", "check_circle"
    return Words(level, icon, incident.get_kind_display(), incident.text)
