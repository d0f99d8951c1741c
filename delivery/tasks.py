"""The tasks that django-q2 runs.

A task carries only the id of a lane or a replay, so losing or repeating one changes when something
is delivered, never whether.
"""

from django.utils import timezone

from delivery.accounting import rollup
from delivery.actions import deliveries as actions_deliveries
from delivery.lanes import wakeups
from delivery.models import Heartbeat
from delivery.operations import alert_channels, alerts, retention
from delivery.replay import job
from delivery.worker import drain as worker_drain
from delivery.worker import rate_limits
from delivery.worker.lane_threads import lane_pool
from integrations.access import expiry


def drain(lane_id: int) -> int | None:
    """Deliver a lane's backlog; return how many deliveries left the queue, or None if unknown."""
    return lane_pool().take(worker_drain.drain_lane, lane_id)


def replay(pk: int) -> None:
    """Continue a replay."""
    lane_pool().take(job.run_replay, pk)


def roll_up() -> int:
    """Roll up tallies and settlements; return the number of rows.

    Until then, readers of the metrics add these rows up on their own.
    """
    return rollup.roll_up_metrics(timezone.now(), gauges=False)


def purge() -> None:
    """Delete rows past their retention, for as long as the time budget allows."""
    lane_pool().take(retention.purge_old_rows, timezone.now())


def sweep() -> int:
    """Wake every lane that has work and no worker, and do the minute's other chores.

    Returns the number of lanes woken.
    """
    now = timezone.now()
    Heartbeat.objects.update_or_create(name="sweep", defaults={"at": now})
    stranded = wakeups.lanes_needing_a_worker(now)
    wakeups.wake_lanes(stranded)
    job.enqueue_stalled_replays(now)
    rate_limits.forget_full_buckets(now)
    actions_deliveries.cancel_orphans(now)
    rollup.roll_up_metrics(now)
    expiry.delete_expired(now)
    wakeups.enqueue_task("purge")
    alerts.update_incidents(now)
    alert_channels.send_notifications(now)
    return len(stranded)
