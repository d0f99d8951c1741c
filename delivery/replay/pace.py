"""How fast a replay may queue."""

from datetime import datetime, timedelta

from django.db.models import OuterRef, Subquery

from delivery.lanes import leases, routes
from delivery.models import Delivery, Lane, Replay
from delivery.transform.guard import limits_of

PAUSE = 0.25  # seconds between two looks
FIRST, LEAST, MOST = 100, 10, 2_000  # deliveries that a replay has in its lane
LATE = timedelta(seconds=1)  # how long live deliveries may wait before a replay steps back

SHARE = 0.5  # of a vendor's published limit: the rest is for live traffic


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


def allowed_now(replay: Replay, lane: Lane, window: Window, now: datetime) -> int:
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


def next_due_at(replay: Replay, queued: int, now: datetime) -> datetime | None:
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
        leases.workable(now), installation=installation_id, number__lt=routes.REPLAYS
    )
    oldest = Subquery(due.values("queued_at")[:1])
    return live.annotate(oldest=oldest).filter(oldest__lt=now - LATE).exists()
