"""Replays: deliveries queued again, and events delivered to an installation afterwards, as a job.

A replay is a row with a cursor, so that it can be as long as the log, and neither a crash nor a
restart costs or doubles anything. What it queues goes to a lane of its own beside the live ones,
never much of it at a time; it steps back while live deliveries are late.
"""

import logging
import time
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from django.contrib.auth.models import AbstractBaseUser
from django.db import transaction
from django.db.models import Count, Max, Min, OuterRef, Q, Subquery
from django.utils import timezone
from django_q.tasks import async_task

from delivery.lanes import leases
from delivery.models import Delivery, Event, Lane, Replay, Replayed
from delivery.replay import chunk as replay_chunk
from delivery.replay.chunk import Chunk
from delivery.replay.selection import Kind, Range, Wanted, as_json, range_of, range_of_replay
from delivery.transform.guard import limits_of
from delivery.worker.drain import stopping
from delivery.worker.lane_threads import standing_aside
from integrations.access import audit
from integrations.models import Installation

logger = logging.getLogger(__name__)

BUDGET = 20.0  # seconds of work before another worker goes on
PAUSE = 0.25  # seconds between two looks
SILENCE = timedelta(seconds=5)  # after which somebody else goes on with a replay
FIRST, LEAST, MOST = 100, 10, 2_000  # deliveries that a replay has in its lane
LATE = timedelta(seconds=1)  # how long live deliveries may wait before a replay steps back
SHARE = 0.5  # of a vendor's published limit: the rest is for live traffic
LOOK = 2.0  # seconds that a preview may count

State = Replay.State
AT_WORK = (State.RUNNING, State.CANCELLING)


class AlreadyRunning(Exception):
    """The very same replay is under way."""


class NotPossible(Exception):
    """A replay that is over cannot be paused, resumed or cancelled."""


# --- what a person does ------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Preview:
    """How many match; when it is not exact there are more.

    oldest_at, newest_at   when their events came in, as far as was counted; None without any
    seconds                how long it takes at the pace that is kept; None when nothing limits it
    unshaped               how many more are left out: they were never shaped, so that there is
                           nothing to send as before
    """

    count: int
    exact: bool
    oldest_at: datetime | None = None
    newest_at: datetime | None = None
    seconds: float | None = None
    unshaped: int = 0

    def in_words(self) -> str:
        return f"{self.count:,}" if self.exact else f"{self.count:,}+"


def preview(
    kind: str, installation: Installation, wanted: Wanted, *, rate: float | None = None
) -> Preview:
    """Count what a replay would queue, as far as that goes in LOOK seconds."""
    until, count, unshaped, exact = time.monotonic() + LOOK, 0, 0, True
    span, ids = range_of(kind, installation.pk, wanted), []
    others = span.unshaped()
    for after, end in span.windows():
        if time.monotonic() > until:
            exact = False
            break
        found, first, last = _count(span, after, end, installation.revision_id)
        count += found
        if others:
            unshaped += others.within(after, end).filter(revision=None).order_by().count()
        ids += [pk for pk in (first, last) if pk is not None]
    oldest_at, newest_at = _times(kind, ids)
    pace_kept = pace(Replay(installation=installation, rate=rate))
    seconds = count / pace_kept if pace_kept else None
    return Preview(count, exact, oldest_at, newest_at, seconds, unshaped)


def _count(
    span: Range, after: int, end: int, revision_id: int | None
) -> tuple[int, int | None, int | None]:
    """Return how many match in a window, and the first and the last id of these."""
    if span.kind == Kind.REPLAY:
        rows = span.within(after, end).order_by()
        found = rows.aggregate(count=Count("pk"), first=Min("pk"), last=Max("pk"))
        return found["count"], found["first"], found["last"]
    judged = replay_chunk.judged(span, after, end, revision_id)
    wanted = [pk for pk, wants in judged if wants]
    return len(wanted), min(wanted, default=None), max(wanted, default=None)


def _times(kind: str, ids: Sequence[int]) -> tuple[datetime | None, datetime | None]:
    """Return when the events of the first and the last of these deliveries or events came in."""
    if not ids:
        return None, None
    ends = min(ids), max(ids)
    if kind == Kind.BACKFILL:
        at = dict(Event.objects.filter(pk__in=ends).values_list("pk", "received_at"))
    else:
        rows = Delivery.objects.filter(pk__in=ends)
        at = dict(rows.values_list("pk", "event__received_at"))
    return at.get(ends[0]), at.get(ends[1])


def start(
    kind: str,
    installation: Installation,
    wanted: Wanted,
    *,
    rate: float | None = None,
    by: AbstractBaseUser | None = None,
) -> Replay:
    """Start a replay of what there is now. Raises AlreadyRunning when it runs already."""
    span = range_of(kind, installation.pk, wanted)
    with transaction.atomic():
        Installation.objects.select_for_update().get(pk=installation.pk)  # one start at a time
        same = Replay.objects.filter(
            installation=installation, kind=kind, wanted=as_json(wanted), finished_at=None
        )
        if found := same.first():
            raise AlreadyRunning(f"It is under way already: {found}.")
        replay = Replay.objects.create(
            installation=installation, kind=kind, wanted=as_json(wanted), rate=rate, created_by=by,
            first=span.first, cursor=span.first, end=span.end,
        )  # fmt: skip
        audit.record("replay.started", replay, new={**replay.wanted, "rate": rate})
        transaction.on_commit(lambda: ring(timezone.now()))
    return replay


def pause(replay: Replay) -> None:
    """Queue no more; what is in its lane is still sent. Raises NotPossible."""
    _turn(replay, "paused", (State.RUNNING,), State.PAUSED)


def resume(replay: Replay) -> None:
    """Go on where it was paused. Raises NotPossible."""
    _turn(replay, "resumed", (State.PAUSED,), State.RUNNING)
    transaction.on_commit(lambda: ring(timezone.now()))


def cancel(replay: Replay) -> None:
    """Queue no more and take back what nobody has sent yet. Raises NotPossible."""
    _turn(replay, "cancelled", (State.RUNNING, State.PAUSED), State.CANCELLING)
    step(replay.pk, Window(), timezone.now())
    transaction.on_commit(lambda: ring(timezone.now()))


def _turn(replay: Replay, name: str, before: Sequence[str], after: str) -> None:
    with transaction.atomic():
        rows = Replay.objects.filter(pk=replay.pk, state__in=before)
        turned = rows.update(state=after, stepped_at=None)
        replay.refresh_from_db()
        if not turned:
            raise NotPossible(f"It is {replay.get_state_display().lower()}.")
        audit.record(f"replay.{name}", replay)


# --- what the cluster does ---------------------------------------------------------------------


def ring(now: datetime) -> None:
    """Ring for each replay that nobody works on: it was just started, or a worker died."""
    silent = Q(stepped_at=None) | Q(stepped_at__lt=now - SILENCE)
    for pk in Replay.objects.filter(silent, state__in=AT_WORK).values_list("pk", flat=True):
        if Replay.objects.filter(silent, pk=pk).update(stepped_at=now):
            try:
                async_task("delivery.tasks.replay", pk)
            except Exception:  # the broker may fail in any way; the watch rings again
                logger.exception("Replay %s could not be rung for; the watch will.", pk)


def run(pk: int) -> None:
    """Work on a replay for a while, a step at a time."""
    until, window = time.monotonic() + BUDGET, Window()
    while time.monotonic() < until and not stopping():
        pause = step(pk, window, timezone.now())
        if pause is None:
            return
        if pause:
            with standing_aside():
                time.sleep(pause)
    Replay.objects.filter(pk=pk, state__in=AT_WORK).update(stepped_at=None)
    ring(timezone.now())


class Window:
    """How much a replay has in its lane: about what the vendor takes in a second.

    So little is left to take back when it is cancelled, and a slow vendor holds none of it long.
    """

    def __init__(self) -> None:
        self.size = FIRST

    def room(self, left: int) -> int:
        """Return how many more there may be while so many are left of the last ones."""
        if left == 0:
            self.size = min(self.size * 2, MOST)
        elif left > self.size // 2:
            self.size = max(self.size // 2, LEAST)
        return max(self.size - left, 0)


def step(pk: int, window: Window, now: datetime) -> float | None:
    """Queue the next chunk, if it is time; return the seconds to wait, or None when it is over."""
    replay = Replay.objects.select_related("installation").get(pk=pk)
    if replay.state not in AT_WORK:
        return None
    lane = replay_chunk.lane_of(replay)
    if replay.installation.uninstalled_at:
        replay.state = State.CANCELLING
        Replay.objects.filter(pk=pk, state=State.RUNNING).update(state=replay.state)
    if replay.state == State.CANCELLING:
        return _end_cancelled(replay, lane, now)
    if replay.cursor >= replay.end:
        return _end_when_sent(replay, now)
    limit = _allowed(replay, lane, window, now)
    if limit <= 0:
        _note(replay, now)
        return PAUSE
    span, revision = range_of_replay(replay), replay.installation.revision_id
    chunk = replay_chunk.next_chunk(span, replay.cursor, limit, revision)
    queued = _release(replay, chunk, lane, now)
    return PAUSE if queued else 0.0


def _release(replay: Replay, chunk: Chunk, lane: Lane, now: datetime) -> int:
    """Queue a chunk and move the cursor, unless somebody else did, or stopped it, meanwhile."""
    queue = replay_chunk.requeue if replay.kind == Kind.REPLAY else replay_chunk.backfill
    with transaction.atomic():
        still = Replay.objects.select_for_update().filter(
            pk=replay.pk, state=State.RUNNING, cursor=replay.cursor
        )
        if not still.first():
            return 0
        queued = queue(replay, chunk, lane, now)
        Replay.objects.filter(pk=replay.pk).update(
            cursor=chunk.cursor,
            queued=replay.queued + queued,
            unwanted=replay.unwanted + chunk.unwanted,
            first_delivery=replay.first_delivery,
            last_delivery=replay.last_delivery,
            due_at=_next(replay, queued, now),
            stepped_at=now,
        )
    if queued:
        leases.wake([lane.pk])
    return queued


def _note(replay: Replay, now: datetime) -> None:
    """Show that somebody works on it."""
    Replay.objects.filter(pk=replay.pk, stepped_at__lt=now - SILENCE / 5).update(stepped_at=now)


# --- how fast ----------------------------------------------------------------------------------


def _allowed(replay: Replay, lane: Lane, window: Window, now: datetime) -> int:
    """Return how many it may queue now."""
    if (replay.due_at and replay.due_at > now) or _live_is_late(replay.installation_id, now):
        return 0
    queued = Delivery.objects.filter(lane=lane, state=Delivery.State.QUEUED)
    room = window.room(queued.values("pk")[: MOST + 1].count())
    rate = pace(replay)
    if rate is None:
        return room
    passed = (now - replay.due_at).total_seconds() if replay.due_at else 0.0
    return min(room, max(int(rate * (PAUSE + min(passed, PAUSE))), 1))


def _next(replay: Replay, queued: int, now: datetime) -> datetime | None:
    rate = pace(replay)
    if rate is None or not queued:
        return replay.due_at
    earliest = now - timedelta(seconds=PAUSE)
    return max(replay.due_at or now, earliest) + timedelta(seconds=queued / rate)


def pace(replay: Replay) -> float | None:
    """Return the deliveries a second that it may queue; None when nothing limits it."""
    rates = [] if replay.rate is None else [replay.rate]
    limits = limits_of(replay.installation)
    rates += [SHARE * each.items / each.seconds for each in limits if not each.per_person]
    return min(rates, default=None)


def _live_is_late(installation_id: int, now: datetime) -> bool:
    """Say whether live deliveries wait longer than they should while they could be sent."""
    due = Delivery.objects.due(now).filter(lane=OuterRef("pk")).order_by("pk")
    live = Lane.objects.filter(
        leases.workable(now), installation=installation_id, number__lt=leases.REPLAYS
    )
    oldest = Subquery(due.values("queued_at")[:1])
    return live.annotate(oldest=oldest).filter(oldest__lt=now - LATE).exists()


# --- the end -----------------------------------------------------------------------------------


def _end_when_sent(replay: Replay, now: datetime) -> float | None:
    if replay_chunk.waiting(replay):
        _note(replay, now)
        return PAUSE
    _end(replay, State.RUNNING, State.DONE, now)
    return None


def _end_cancelled(replay: Replay, lane: Lane, now: datetime) -> float | None:
    with transaction.atomic():
        # locked: from here no worker takes the lane, or reads its queue anew
        lane = Lane.objects.select_for_update().get(pk=lane.pk)
        if lane.is_busy(now) and replay_chunk.waiting(replay):
            return PAUSE
        taken = replay_chunk.take_back(replay, lane, now)
        Replay.objects.filter(pk=replay.pk).update(taken_back=replay.taken_back + taken)
    _end(replay, State.CANCELLING, State.CANCELLED, now)
    return None


def _end(replay: Replay, before: str, after: str, now: datetime) -> None:
    rows = Replayed.objects.filter(replay=replay).order_by()
    counts = dict(rows.values_list("delivery__state").annotate(n=Count("delivery")))
    Replay.objects.filter(pk=replay.pk, state=before).update(
        state=after, finished_at=now, outcome=counts
    )
