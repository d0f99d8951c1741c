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
from delivery.worker.lane_threads import crew
from integrations.access import expiry


def drain(lane_id: int) -> int | None:
    """Deliver what a lane has; return how many deliveries left the queue, if that is known yet."""
    return crew().take(worker_drain.drain, lane_id)


def replay(pk: int) -> None:
    """Go on with a replay."""
    crew().take(job.run, pk)


def roll_up() -> int:
    """Roll up what was counted; return how many rows that were. For as long as they are apart,
    whoever reads the metrics adds them up himself."""
    return rollup.roll_up(timezone.now(), gauges=False)


def purge() -> None:
    """Delete some of what is old enough."""
    crew().take(retention.purge, timezone.now())


def sweep() -> int:
    """Ring for every lane that has work and no worker; return how many there were."""
    now = timezone.now()
    Heartbeat.objects.update_or_create(name="sweep", defaults={"at": now})
    stranded = wakeups.stranded(now)
    wakeups.wake(stranded)
    job.ring(now)
    rate_limits.forget(now)
    actions_deliveries.cancel_orphans(now)
    rollup.roll_up(now)
    expiry.forget(now)
    wakeups.ring_task("purge")
    alerts.look(now)
    alert_channels.tell(now)
    return len(stranded)
