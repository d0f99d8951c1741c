"""Lane leases: acquire, renew and release the exclusive right to deliver a lane."""

import logging
import os
import uuid
from dataclasses import dataclass
from datetime import datetime, timedelta

from django.db.models import Case, F, IntegerField, Q, QuerySet, When

from delivery.models import Lane

logger = logging.getLogger(__name__)

LEASE_DURATION = timedelta(
    seconds=25
)  # must outlast one exchange (client.TOTAL_TIMEOUT) and its settling
LEASE_HORIZON = LEASE_DURATION + timedelta(
    minutes=10
)  # more than the clocks of two machines differ by
CAREFUL_AFTER_CRASHES = 2  # workers that died in a row, from which on we note what each is at
POISON_AFTER_CRASHES = 2  # workers in a row that died over the same delivery


@dataclass(frozen=True, slots=True)
class Lease:
    """The right to work on a lane, and the proof of it: a token that every write must match."""

    lane_id: int
    token: uuid.UUID


class LeaseLost(Exception):
    """Another worker has the lane now; nothing was written."""


def unleased_q(now: datetime) -> Q:
    """Lanes without a worker. A lease that ends far ahead was made before a clock was set back."""
    return Q(lease__isnull=True) | Q(lease_until__lt=now) | Q(lease_until__gt=now + LEASE_HORIZON)


def workable_q(now: datetime) -> Q:
    """Lanes that may be worked on now, leased or not."""
    due = Q(due_at__isnull=True) | Q(due_at__lte=now)
    return due & Q(paused=False, installation__enabled=True)


# A lease that nobody let go of was a worker's that died, or as good as that.
NEXT_CRASH_COUNT = Case(
    When(lease__isnull=False, then=F("deaths") + 1),
    default=F("deaths"),
    output_field=IntegerField(),
)


def acquire_lease(lane_id: int, now: datetime) -> Lease | None:
    """Take the lane, or return None when another worker has it or it must wait."""
    token = uuid.uuid4()
    candidates = Lane.objects.filter(workable_q(now), pk=lane_id)
    # Not among the candidates: when another worker takes the lane in this very moment, PostgreSQL
    # waits for it and then looks again at the row's own columns, but at no row of a subquery.
    taken = Lane.objects.filter(unleased_q(now), pk__in=candidates.values("pk")).update(
        lease=token,
        lease_until=now + LEASE_DURATION,
        holder=lease_holder(),
        woken_at=None,
        deaths=NEXT_CRASH_COUNT,
    )
    return Lease(lane_id, token) if taken else None


def renew_lease(held: Lease, now: datetime) -> None:
    """Hold the lane for another LEASE_DURATION. Raises LeaseLost."""
    if not leased_lane(held).update(lease_until=now + LEASE_DURATION):
        raise LeaseLost(f"lane {held.lane_id}")


def mark_suspect(held: Lease, delivery_id: int | None, times: int, now: datetime) -> None:
    """Note which delivery is being worked on, in case the worker dies of it. Raises LeaseLost.

    times  how often in a row it has been this one
    """
    noted = leased_lane(held).update(
        suspect=delivery_id, suspected=times, lease_until=now + LEASE_DURATION
    )
    if not noted:
        raise LeaseLost(f"lane {held.lane_id}")


def clear_crash_count(held: Lease) -> None:
    """Forget the deaths: whatever workers may have died of lies behind."""
    leased_lane(held).filter(deaths__gt=0).update(deaths=0, suspect=None, suspected=0)


def release_lease(held: Lease) -> None:
    """Let go of the lane, if it is still ours."""
    leased_lane(held).update(
        lease=None, lease_until=None, holder="", deaths=0, suspect=None, suspected=0
    )


def seconds_to_wait(lane_id: int, now: datetime) -> float | None:
    """Return for how long a lane must not be worked on; None while a person holds it up."""
    lane = Lane.objects.select_related("installation").get(pk=lane_id)
    if lane.paused or not lane.installation.enabled:
        return None
    return max((lane.due_at - now).total_seconds(), 0.0) if lane.due_at else 0.0


def lease_holder() -> str:
    """Return the name of this process's cluster, as leases carry it."""
    return os.environ.get("PENSTOCK_CLUSTER", "")


def count_live_leases(cluster: str, now: datetime) -> int:
    return Lane.objects.filter(holder=cluster, lease__isnull=False, lease_until__gte=now).count()


def release_cluster_leases(cluster: str, *, died: bool = True) -> int:
    """Free the lanes of a cluster whose processes are certainly dead; return how many.

    died  whether one of their messages may be why; not when the database went away under them
    """
    held = Lane.objects.filter(holder=cluster, lease__isnull=False)
    deaths = F("deaths") + int(died)
    return held.update(lease=None, lease_until=None, holder="", deaths=deaths)


def leased_lane(held: Lease) -> QuerySet[Lane]:
    return Lane.objects.filter(pk=held.lane_id, lease=held.token)
