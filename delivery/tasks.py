"""What django-q2 runs. A task carries the number of a lane or a replay: losing or doubling one
changes when something is delivered, never whether."""

from django.utils import timezone

from delivery.accounting import metrics
from delivery.actions import installations
from delivery.lanes import leases
from delivery.models import Heartbeat
from delivery.operations import alerts, retention
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
    return metrics.roll_up(timezone.now(), gauges=False)


def purge() -> None:
    """Delete some of what is old enough."""
    crew().take(retention.purge, timezone.now())


def sweep() -> int:
    """Ring for every lane that has work and no worker; return how many there were."""
    now = timezone.now()
    Heartbeat.objects.update_or_create(name="sweep", defaults={"at": now})
    stranded = leases.stranded(now)
    leases.wake(stranded)
    job.ring(now)
    rate_limits.forget(now)
    installations.cancel_orphans(now)
    metrics.roll_up(now)
    expiry.forget(now)
    leases.ring_task("purge")
    alerts.look(now)
    alerts.tell(now)
    return len(stranded)
