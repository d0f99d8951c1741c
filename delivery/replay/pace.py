"""Limits how fast a replay queues deliveries."""

from datetime import datetime, timedelta

from django.db.models import OuterRef, Subquery

from delivery.lanes import leases, routes
from delivery.models import Delivery, Lane, Replay
from delivery.transform.guard import get_vendor_limits

REPLAY_POLL_SECONDS = 0.25  # seconds between two steps
INITIAL_WINDOW, MIN_WINDOW, MAX_WINDOW = 100, 10, 2_000  # deliveries that a replay has in its lane
MAX_LIVE_DELAY = timedelta(seconds=1)  # how long live deliveries may wait before a replay pauses

MAX_SHARE_OF_LIMIT = 0.5  # of a vendor's published limit; the rest is for live traffic


class ReplayWindow:
    """Adapts how many deliveries a replay keeps in its lane, about one second's worth.

    A small window leaves little to take back when the replay is cancelled, and keeps the lane
    short when the vendor is slow.
    """

    def __init__(self) -> None:
        self.size = INITIAL_WINDOW

    def room(self, left: int) -> int:
        """Resize the window by the deliveries left in the lane; return how many more fit."""
        if left == 0:
            self.size = min(self.size * 2, MAX_WINDOW)
        elif left > self.size // 2:
            self.size = max(self.size // 2, MIN_WINDOW)
        return max(self.size - left, 0)


def count_queueable(replay: Replay, lane: Lane, window: ReplayWindow, now: datetime) -> int:
    """Return how many deliveries a replay may queue now."""
    if (replay.due_at and replay.due_at > now) or _live_is_late(replay.installation_id, now):
        return 0
    queued = Delivery.objects.filter(lane=lane, state=Delivery.State.QUEUED)
    room = window.room(queued.values("pk")[: MAX_WINDOW + 1].count())
    rate = replay_rate_limit(replay)
    if rate is None:
        return room
    passed = (now - replay.due_at).total_seconds() if replay.due_at else 0.0
    return min(room, max(int(rate * (REPLAY_POLL_SECONDS + min(passed, REPLAY_POLL_SECONDS))), 1))


def next_due_at(replay: Replay, queued: int, now: datetime) -> datetime | None:
    rate = replay_rate_limit(replay)
    if rate is None or not queued:
        return replay.due_at
    earliest = now - timedelta(seconds=REPLAY_POLL_SECONDS)
    return max(replay.due_at or now, earliest) + timedelta(seconds=queued / rate)


def replay_rate_limit(replay: Replay) -> float | None:
    """Return how many deliveries per second a replay may queue, or None without a limit."""
    rates = [] if replay.rate is None else [replay.rate]
    limits = get_vendor_limits(replay.installation)
    rates += [
        MAX_SHARE_OF_LIMIT * each.items / each.seconds for each in limits if not each.per_person
    ]
    return min(rates, default=None)


def _live_is_late(installation_id: int, now: datetime) -> bool:
    """Return whether deliverable live deliveries have waited longer than MAX_LIVE_DELAY."""
    due = Delivery.objects.due(now).filter(lane=OuterRef("pk")).order_by("pk")
    live = Lane.objects.filter(
        leases.workable_q(now), installation=installation_id, number__lt=routes.REPLAY_LANE_NUMBER
    )
    oldest = Subquery(due.values("queued_at")[:1])
    return live.annotate(oldest=oldest).filter(oldest__lt=now - MAX_LIVE_DELAY).exists()
