"""Wake-ups: ask a worker to drain lanes that have due deliveries."""

import logging
from collections.abc import Collection, Sequence
from datetime import datetime, timedelta

from django.db.models import Exists, OuterRef, QuerySet, Subquery
from django.utils import timezone
from django_q.tasks import async_task

from delivery import bulk
from delivery.lanes.leases import unleased_q, workable_q
from delivery.models import Delivery, Lane

logger = logging.getLogger(__name__)


REPEAT_WAKEUP_AFTER = timedelta(
    seconds=5
)  # how long a wake-up may go unanswered before the next one


def lanes_needing_a_worker(now: datetime) -> list[int]:
    """Return the lanes that have something to send, may send it, and have no worker."""
    return list(_lanes_needing_a_worker(now).order_by("pk").values_list("pk", flat=True))


def needs_a_worker(lane_id: int, now: datetime) -> bool:
    return _lanes_needing_a_worker(now).filter(pk=lane_id).exists()


def lanes_with_due_deliveries(lane_ids: Collection[int], now: datetime) -> list[int]:
    """Return those of the lanes that have something due."""
    due = Delivery.objects.due(now).filter(lane=OuterRef("pk")).order_by("pk").values("pk")
    # by the head of each queue: an EXISTS may be planned as one walk through all queues together
    heads = Lane.objects.filter(pk__in=lane_ids).values_list("pk", Subquery(due[:1]))
    return [lane_id for lane_id, head in heads if head is not None]


def _lanes_needing_a_worker(now: datetime) -> QuerySet[Lane]:
    queued = Delivery.objects.due(now).filter(lane=OuterRef("pk"))
    return Lane.objects.filter(workable_q(now), unleased_q(now), Exists(queued))


def wake_lanes(lane_ids: Sequence[int]) -> None:
    """Ring for those lanes that nobody works on. To be called after the commit.

    Wake-ups are coalesced: a lane woken a moment ago is not woken again until somebody had the
    time to answer. A bell that cannot be rung costs latency only, so that is logged, not raised.
    """
    enqueue_wakeups([bulk.fetch_rows(each) for each in wakeup_statements(lane_ids, timezone.now())])


def wakeup_statements(lane_ids: Sequence[int], now: datetime) -> list[bulk.Statement]:
    """Return a statement for each lane, which notes that somebody is asked to work on it. It gives
    the lane's row when nobody does, or was asked."""
    at, before = bulk.to_database_value(now), bulk.to_database_value(now - REPEAT_WAKEUP_AFTER)
    return [
        bulk.Statement(WAKEUP_SQL, [at, lane_id, at, before]) for lane_id in sorted(set(lane_ids))
    ]


def enqueue_wakeups(answered: Sequence[Sequence[tuple[int]]]) -> None:
    """Ring for what the statements of `wakeup_statements` gave."""
    for rows in answered:
        for (lane_id,) in rows:
            enqueue_task("drain", lane_id)


def enqueue_task(task: str, *arguments: int) -> None:
    """Ask for a task out of turn, by its name in tasks.py, of whichever process has the time."""
    try:
        async_task(f"delivery.tasks.{task}", *arguments)
    except Exception:  # the broker may fail in any way; the watch rings again
        logger.exception("Nobody could be rung for %s%s; the watch will.", task, arguments)


# Every ingest request asks; Django takes longer to write this than the database to run it. One
# lane a statement, by number: those who note several in different orders would meet a deadlock.
WAKEUP_SQL = (
    "UPDATE delivery_lane SET woken_at = %s WHERE id = %s "
    "AND (lease IS NULL OR lease_until < %s) AND (woken_at IS NULL OR woken_at < %s) RETURNING id"
)


def clear_wakeup(lane_id: int) -> None:
    """Forget that the lane was rung for: we stop, and another cluster's watch is to ring anew."""
    Lane.objects.filter(pk=lane_id, lease__isnull=True).update(woken_at=None)
