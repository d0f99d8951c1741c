"""Replays: deliveries queued again, and events delivered to an installation afterwards, as a job.

A replay is a row with a cursor, so that it can be as long as the log, and neither a crash nor a
restart costs or doubles anything. What it queues goes to a lane of its own beside the live ones,
never much of it at a time; it steps back while live deliveries are late.
"""

import time
from datetime import datetime, timedelta

from django.db import transaction
from django.db.models import Count, Q
from django.utils import timezone

from delivery.lanes import wakeups
from delivery.models import Lane, Replay, Replayed
from delivery.replay import chunk as replay_chunk
from delivery.replay.chunk import Chunk
from delivery.replay.pace import PAUSE, Window, allowed_now, next_due_at
from delivery.replay.selection import Kind, range_of_replay
from delivery.worker.lane_threads import standing_aside
from delivery.worker.stop import stopping

State = Replay.State
AT_WORK = (State.RUNNING, State.CANCELLING)
BUDGET = 20.0  # seconds of work before another worker goes on
SILENCE = timedelta(seconds=5)  # after which somebody else goes on with a replay


def ring(now: datetime) -> None:
    """Ring for each replay that nobody works on: it was just started, or a worker died."""
    silent = Q(stepped_at=None) | Q(stepped_at__lt=now - SILENCE)
    for pk in Replay.objects.filter(silent, state__in=AT_WORK).values_list("pk", flat=True):
        if Replay.objects.filter(silent, pk=pk).update(stepped_at=now):
            wakeups.ring_task("replay", pk)


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
    limit = allowed_now(replay, lane, window, now)
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
            due_at=next_due_at(replay, queued, now),
            stepped_at=now,
        )
    if queued:
        wakeups.wake([lane.pk])
    return queued


def _note(replay: Replay, now: datetime) -> None:
    """Show that somebody works on it."""
    Replay.objects.filter(pk=replay.pk, stepped_at__lt=now - SILENCE / 5).update(stepped_at=now)


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
