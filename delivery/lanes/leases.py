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
)  # must outlast one exchange (client.TOTAL_TIMEOUT) and settling it
LEASE_HORIZON = LEASE_DURATION + timedelta(minutes=10)  # more than two machines' clocks can differ
CAREFUL_AFTER_CRASHES = 2  # consecutive crashes after which each delivery is marked as a suspect
POISON_AFTER_CRASHES = 2  # consecutive crashes on one delivery after which it fails


@dataclass(frozen=True, slots=True)
class Lease:
    """The exclusive right to deliver a lane; every write must match its token."""

    lane_id: int
    token: uuid.UUID


class LeaseLost(Exception):
    """Another worker has acquired the lane; nothing was written."""


def unleased_q(now: datetime) -> Q:
    """Return the condition for lanes without a worker.

    A lease that ends beyond LEASE_HORIZON was acquired before a clock was set back.
    """
    return Q(lease__isnull=True) | Q(lease_until__lt=now) | Q(lease_until__gt=now + LEASE_HORIZON)


def workable_q(now: datetime) -> Q:
    """Return the condition for lanes that may send now, leased or not."""
    due = Q(due_at__isnull=True) | Q(due_at__lte=now)
    return due & Q(paused=False, installation__enabled=True)


# A lease that was never released belongs to a crashed worker.
NEXT_CRASH_COUNT = Case(
    When(lease__isnull=False, then=F("deaths") + 1),
    default=F("deaths"),
    output_field=IntegerField(),
)


def acquire_lease(lane_id: int, now: datetime) -> Lease | None:
    """Acquire the lane's lease; None when another worker has it or the lane must wait."""
    token = uuid.uuid4()
    candidates = Lane.objects.filter(workable_q(now), pk=lane_id)
    # Do not move unleased_q into the subquery: when another worker acquires the lane at the same
    # moment, PostgreSQL waits for it and then rechecks the row's own columns, but no subquery.
    taken = Lane.objects.filter(unleased_q(now), pk__in=candidates.values("pk")).update(
        lease=token,
        lease_until=now + LEASE_DURATION,
        holder=lease_holder(),
        woken_at=None,
        deaths=NEXT_CRASH_COUNT,
    )
    return Lease(lane_id, token) if taken else None


def renew_lease(held: Lease, now: datetime) -> None:
    """Extend the lease by LEASE_DURATION from now. Raises LeaseLost."""
    if not leased_lane(held).update(lease_until=now + LEASE_DURATION):
        raise LeaseLost(f"lane {held.lane_id}")


def mark_suspect(held: Lease, delivery_id: int | None, times: int, now: datetime) -> None:
    """Record the delivery that is being shaped, in case the worker crashes on it. Raises LeaseLost.

    times  how often in a row this delivery was recorded
    """
    noted = leased_lane(held).update(
        suspect=delivery_id, suspected=times, lease_until=now + LEASE_DURATION
    )
    if not noted:
        raise LeaseLost(f"lane {held.lane_id}")


def clear_crash_count(held: Lease) -> None:
    """Reset the crash counter: the batch that crashed workers has been delivered."""
    leased_lane(held).filter(deaths__gt=0).update(deaths=0, suspect=None, suspected=0)


def release_lease(held: Lease) -> None:
    """Release the lane, unless another worker has acquired it."""
    leased_lane(held).update(
        lease=None, lease_until=None, holder="", deaths=0, suspect=None, suspected=0
    )


def seconds_to_wait(lane_id: int, now: datetime) -> float | None:
    """Return how long the lane must wait; None while it is paused or its installation disabled."""
    lane = Lane.objects.select_related("installation").get(pk=lane_id)
    if lane.paused or not lane.installation.enabled:
        return None
    return max((lane.due_at - now).total_seconds(), 0.0) if lane.due_at else 0.0


def lease_holder() -> str:
    """Return the name of this process's cluster, which leases record as their holder."""
    return os.environ.get("PENSTOCK_CLUSTER", "")


def count_live_leases(cluster: str, now: datetime) -> int:
    return Lane.objects.filter(holder=cluster, lease__isnull=False, lease_until__gte=now).count()


def release_cluster_leases(cluster: str, *, died: bool = True) -> int:
    """Release the lanes of a cluster whose processes are certainly dead; return how many.

    died  whether a message may have crashed them; False when the database became unavailable
    """
    held = Lane.objects.filter(holder=cluster, lease__isnull=False)
    deaths = F("deaths") + int(died)
    return held.update(lease=None, lease_until=None, holder="", deaths=deaths)


def leased_lane(held: Lease) -> QuerySet[Lane]:
    return Lane.objects.filter(pk=held.lane_id, lease=held.token)
