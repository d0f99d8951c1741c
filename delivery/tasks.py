"""What django-q2 runs. A task carries the number of a lane or a replay: losing or doubling one
changes when something is delivered, never whether."""

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
    """Deliver what a lane has; return how many deliveries left the queue, if that is known yet."""
    return lane_pool().take(worker_drain.drain_lane, lane_id)


def replay(pk: int) -> None:
    """Go on with a replay."""
    lane_pool().take(job.run_replay, pk)


def roll_up() -> int:
    """Roll up what was counted; return how many rows that were. For as long as they are apart,
    whoever reads the metrics adds them up himself."""
    return rollup.roll_up_metrics(timezone.now(), gauges=False)


def purge() -> None:
    """Delete some of what is old enough."""
    lane_pool().take(retention.purge_old_rows, timezone.now())


def sweep() -> int:
    """Ring for every lane that has work and no worker; return how many there were."""
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
