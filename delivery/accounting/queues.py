"""Measures the length and age of queues."""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime

from delivery import bulk
from delivery.accounting.bounded_count import QUEUE_COUNT_LIMIT
from delivery.accounting.record import MetricCounts
from delivery.models import Delivery

HEAD_SCAN_DELIVERIES = (
    1_000  # deliveries at the head of a lane's queue that are searched for the oldest
)


@dataclass(frozen=True, slots=True)
class QueueSize:
    """The current queue of one installation.

    queued            exact up to QUEUE_COUNT_LIMIT a lane; beyond that, QUEUE_COUNT_LIMIT + 1
    oldest_queued_at  of the deliveries at the head; None when the queue is empty
    """

    queued: int = 0
    oldest_queued_at: datetime | None = None

    def oldest_queued_s(self, now: datetime) -> float:
        at = self.oldest_queued_at
        return max((now - at).total_seconds(), 0.0) if at else 0.0

    def as_sums(self, now: datetime) -> MetricCounts:
        return MetricCounts(queued=self.queued, oldest_queued_s=self.oldest_queued_s(now))


def read_queues(installations: Iterable[int] | None = None) -> dict[int, QueueSize]:
    """Return the queue of each installation with queued deliveries."""
    among = None if installations is None else list(installations)
    if among == []:
        return {}
    found: dict[int, QueueSize] = {}
    for pk, queued, head in bulk.fetch_rows(
        bulk.Statement(_lane_queues_sql(None if among is None else len(among)), among or ())
    ):
        if queued:
            was = found.get(pk, QueueSize())
            ages = [at for at in (was.oldest_queued_at, bulk.from_database_time(head)) if at]
            found[pk] = QueueSize(was.queued + queued, min(ages))
    return found


def _lane_queues_sql(count: int | None) -> str:
    """Return the SQL that counts each lane's queue, for `count` installations or for all."""
    waiting = (
        f"FROM delivery_delivery WHERE lane_id = lane.id AND state = '{Delivery.State.QUEUED}'"
    )
    among = f"WHERE installation_id IN ({', '.join(['%s'] * count)})" if count else ""
    # Only the head of the queue is searched; ordering by age would read the whole queue.
    return (
        f"SELECT installation_id, "  # noqa: S608
        f"(SELECT COUNT(*) FROM (SELECT id {waiting} LIMIT {QUEUE_COUNT_LIMIT + 1}) AS waiting), "
        f"(SELECT MIN(queued_at) FROM "
        f"(SELECT queued_at {waiting} ORDER BY id LIMIT {HEAD_SCAN_DELIVERIES}) AS head) "
        f"FROM delivery_lane AS lane {among}"
    )


def read_total_queue() -> QueueSize:
    """Return the queue of all installations together."""
    found = list(read_queues().values())
    oldest = min((each.oldest_queued_at for each in found if each.oldest_queued_at), default=None)
    return QueueSize(sum(each.queued for each in found), oldest)
