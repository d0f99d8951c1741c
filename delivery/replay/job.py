"""Runs replays and backfills as jobs, in steps.

A replay is a row with a cursor, so that it can cover the whole log and a crash or restart neither
loses nor repeats work. It queues small chunks into a lane of its own next to the live lanes, and
pauses while live deliveries are late.
"""

import time
from datetime import datetime, timedelta

from django.db import transaction
from django.db.models import Count, Q
from django.utils import timezone

from delivery.lanes import wakeups
from delivery.models import Lane, Replay, Replayed
from delivery.replay import chunk as replay_chunk
from delivery.replay.chunk import ReplayChunk
from delivery.replay.pace import REPLAY_POLL_SECONDS, ReplayWindow, count_queueable, next_due_at
from delivery.replay.selection import ReplayKind, stored_replay_range
from delivery.worker.lane_threads import yielding_worker
from delivery.worker.stop import is_stopping

State = Replay.State
ACTIVE_STATES = (State.RUNNING, State.CANCELLING)
REPLAY_BUDGET = 20.0  # seconds of work before another worker continues
REPLAY_STALLED_AFTER = timedelta(seconds=5)  # without a step, before another worker takes over


def enqueue_stalled_replays(now: datetime) -> None:
    """Enqueue each replay without a worker, because it just started or its worker crashed."""
    silent = Q(stepped_at=None) | Q(stepped_at__lt=now - REPLAY_STALLED_AFTER)
    for pk in Replay.objects.filter(silent, state__in=ACTIVE_STATES).values_list("pk", flat=True):
        if Replay.objects.filter(silent, pk=pk).update(stepped_at=now):
            wakeups.enqueue_task("replay", pk)


def run_replay(pk: int) -> None:
    """Run a replay step by step for REPLAY_BUDGET seconds, then hand it to another worker."""
    until, window = time.monotonic() + REPLAY_BUDGET, ReplayWindow()
    while time.monotonic() < until and not is_stopping():
        pause = step_replay(pk, window, timezone.now())
        if pause is None:
            return
        if pause:
            with yielding_worker():
                time.sleep(pause)
    Replay.objects.filter(pk=pk, state__in=ACTIVE_STATES).update(stepped_at=None)
    enqueue_stalled_replays(timezone.now())


def step_replay(pk: int, window: ReplayWindow, now: datetime) -> float | None:
    """Queue the next chunk if it is due; return the seconds to wait, or None when finished."""
    replay = Replay.objects.select_related("installation").get(pk=pk)
    if replay.state not in ACTIVE_STATES:
        return None
    lane = replay_chunk.lane_for_replay(replay)
    if replay.installation.uninstalled_at:
        replay.state = State.CANCELLING
        Replay.objects.filter(pk=pk, state=State.RUNNING).update(state=replay.state)
    if replay.state == State.CANCELLING:
        return _end_cancelled(replay, lane, now)
    if replay.cursor >= replay.end:
        return _end_when_sent(replay, now)
    limit = count_queueable(replay, lane, window, now)
    if limit <= 0:
        _touch(replay, now)
        return REPLAY_POLL_SECONDS
    span, revision = stored_replay_range(replay), replay.installation.revision_id
    chunk = replay_chunk.next_chunk(span, replay.cursor, limit, revision)
    queued = _queue_chunk(replay, chunk, lane, now)
    return REPLAY_POLL_SECONDS if queued else 0.0


def _queue_chunk(replay: Replay, chunk: ReplayChunk, lane: Lane, now: datetime) -> int:
    """Queue a chunk and move the cursor, unless the cursor moved or the replay stopped."""
    queue = (
        replay_chunk.requeue_chunk
        if replay.kind == ReplayKind.REPLAY
        else replay_chunk.backfill_chunk
    )
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
        wakeups.wake_lanes([lane.pk])
    return queued


def _touch(replay: Replay, now: datetime) -> None:
    """Record that a worker is active on the replay, at most once per second."""
    Replay.objects.filter(pk=replay.pk, stepped_at__lt=now - REPLAY_STALLED_AFTER / 5).update(
        stepped_at=now
    )


def _end_when_sent(replay: Replay, now: datetime) -> float | None:
    if replay_chunk.has_unsent_deliveries(replay):
        _touch(replay, now)
        return REPLAY_POLL_SECONDS
    _finish(replay, State.RUNNING, State.DONE, now)
    return None


def _end_cancelled(replay: Replay, lane: Lane, now: datetime) -> float | None:
    with transaction.atomic():
        # Locked, so that no worker takes the lane or reads its queue again.
        lane = Lane.objects.select_for_update().get(pk=lane.pk)
        if lane.is_busy(now) and replay_chunk.has_unsent_deliveries(replay):
            return REPLAY_POLL_SECONDS
        taken = replay_chunk.take_back(replay, lane, now)
        Replay.objects.filter(pk=replay.pk).update(taken_back=replay.taken_back + taken)
    _finish(replay, State.CANCELLING, State.CANCELLED, now)
    return None


def _finish(replay: Replay, before: str, after: str, now: datetime) -> None:
    rows = Replayed.objects.filter(replay=replay).order_by()
    counts = dict(rows.values_list("delivery__state").annotate(n=Count("delivery")))
    Replay.objects.filter(pk=replay.pk, state=before).update(
        state=after, finished_at=now, outcome=counts
    )
