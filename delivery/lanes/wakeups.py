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
)  # how long a wake-up may stay unanswered before the next one


def lanes_needing_a_worker(now: datetime) -> list[int]:
    """Return the lanes that have due deliveries, may send them, and have no worker."""
    return list(_lanes_needing_a_worker(now).order_by("pk").values_list("pk", flat=True))


def needs_a_worker(lane_id: int, now: datetime) -> bool:
    return _lanes_needing_a_worker(now).filter(pk=lane_id).exists()


def lanes_with_due_deliveries(lane_ids: Collection[int], now: datetime) -> list[int]:
    """Return the lanes, of those given, that have due deliveries."""
    due = Delivery.objects.due(now).filter(lane=OuterRef("pk")).order_by("pk").values("pk")
    # Look up each queue's head: PostgreSQL may plan an EXISTS as one scan of all queues.
    heads = Lane.objects.filter(pk__in=lane_ids).values_list("pk", Subquery(due[:1]))
    return [lane_id for lane_id, head in heads if head is not None]


def _lanes_needing_a_worker(now: datetime) -> QuerySet[Lane]:
    queued = Delivery.objects.due(now).filter(lane=OuterRef("pk"))
    return Lane.objects.filter(workable_q(now), unleased_q(now), Exists(queued))


def wake_lanes(lane_ids: Sequence[int]) -> None:
    """Wake the lanes that have no worker. Call after the commit.

    Wake-ups are coalesced: a lane with an unanswered wake-up is not woken again until
    REPEAT_WAKEUP_AFTER has passed. A lost wake-up only delays deliveries, so an error is logged and
    not raised.
    """
    enqueue_wakeups([bulk.fetch_rows(each) for each in wakeup_statements(lane_ids, timezone.now())])


def wakeup_statements(lane_ids: Sequence[int], now: datetime) -> list[bulk.Statement]:
    """Return a statement per lane that records its wake-up.

    A statement returns the lane's row only if the lane has no worker and was not just woken.
    """
    at, before = bulk.to_database_value(now), bulk.to_database_value(now - REPEAT_WAKEUP_AFTER)
    return [
        bulk.Statement(WAKEUP_SQL, [at, lane_id, at, before]) for lane_id in sorted(set(lane_ids))
    ]


def enqueue_wakeups(answered: Sequence[Sequence[tuple[int]]]) -> None:
    """Queue a drain task for each row that the statements of `wakeup_statements` returned."""
    for rows in answered:
        for (lane_id,) in rows:
            enqueue_task("drain", lane_id)


def enqueue_task(task: str, *arguments: int) -> None:
    """Queue a task by its name in tasks.py; errors are logged, because the supervisor retries."""
    try:
        async_task(f"delivery.tasks.{task}", *arguments)
    except Exception:  # the broker can fail in any way; the supervisor wakes the lane again
        logger.exception("Could not queue %s%s; the supervisor will.", task, arguments)


# SQL, because every ingest request runs it and Django takes longer to build it than the database to
# run it. One lane per statement, sorted, because updates in different orders would deadlock.
WAKEUP_SQL = (
    "UPDATE delivery_lane SET woken_at = %s WHERE id = %s "
    "AND (lease IS NULL OR lease_until < %s) AND (woken_at IS NULL OR woken_at < %s) RETURNING id"
)


def clear_wakeup(lane_id: int) -> None:
    """Clear a wake-up that this stopping worker will not answer, so that another cluster can."""
    Lane.objects.filter(pk=lane_id, lease__isnull=True).update(woken_at=None)
