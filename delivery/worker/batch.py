"""Delivers one batch of a lane: shape, plan, send, collect the outcome, settle."""

import logging
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial

from django.conf import settings
from django.db import Error as DatabaseFailure
from django.utils import timezone

from delivery.lanes import leases
from delivery.lanes.leases import Lease, LeaseLost
from delivery.models import Delivery, Lane
from delivery.telemetry import instruments
from delivery.transform.guard import DestinationCodeError, DestinationMissing
from delivery.worker.backlog import QueuedDelivery, deferred_people, next_batch
from delivery.worker.batch_sender import BatchSender, LimitReached
from delivery.worker.outcome import BatchOutcome
from delivery.worker.settle import PROBE_AFTER_FAILURES, settle_outcome
from delivery.worker.shape_batch import BatchContext, ShapedBatch, plan_requests, shape_batch
from integrations.blueprints import BlueprintError
from integrations.destination import Limit
from integrations.encryption import SecretsUnreadable
from integrations.errors import CredentialsRejected, VendorUnavailable

CAREFUL_BATCH_SIZE = 100  # deliveries
MISSING_DESTINATION_WAIT = (
    60.0  # seconds until the next check for a destination that the catalog lacks
)

State = Delivery.State

logger = logging.getLogger(__name__)


def deliver_batch(held: Lease, *, go_on: Callable[[], bool]) -> int | None:
    """Send the head of the queue in as few requests as possible and settle it behind the fence.

    Return how many deliveries left the queue; None when nothing was due. Raises LeaseLost.

    go_on  is called before each request; the batch ends when it returns False
    """
    lane = Lane.objects.select_related("installation__revision").get(pk=held.lane_id)
    batch = next_batch(lane.pk, limit=_size(lane), now=timezone.now())
    if not batch:
        return None
    instruments.BATCH_DELIVERIES.observe(len(batch))
    outcome = attempt_batch(held, lane, batch, go_on=go_on)
    settle_outcome(held, outcome)
    return outcome.closed


def _size(lane: Lane) -> int:
    """Return how many deliveries to take.

    One while the lane probes its vendor, and few while each delivery is marked as a suspect.
    """
    if lane.failures >= PROBE_AFTER_FAILURES:
        return 1
    careful = lane.deaths >= leases.CAREFUL_AFTER_CRASHES
    size = int(settings.BATCH_SIZE)
    return min(CAREFUL_BATCH_SIZE, size) if careful else size


def attempt_batch(
    held: Lease, lane: Lane, batch: Sequence[QueuedDelivery], *, go_on: Callable[[], bool]
) -> BatchOutcome:
    """Shape and send a batch; return what is to be settled. Raises LeaseLost."""
    outcome = BatchOutcome(lane, batch)
    with _trouble_recorded(outcome):
        context = BatchContext.of_lane(lane)
        outcome.secrets = context.secrets
        limits = context.limits()
        shaped = _shape(held, context, batch, limits, outcome)
        requests = plan_requests(context, shaped, outcome.set_aside_before())
        sender = BatchSender(
            context, shaped, limits, outcome, partial(settle_outcome, held, outcome)
        )
        for planned in requests:
            if not go_on():
                break
            sender.send(planned)
        sender.conclude()
    return outcome


@contextmanager
def _trouble_recorded(outcome: BatchOutcome) -> Iterator[None]:
    """Turn errors that concern the whole lane into its state."""
    vendor = outcome.installation.destination.name
    try:
        yield
    except VendorUnavailable as error:
        outcome.wait(error)
    except LimitReached as reached:
        outcome.hold_back(reached.seconds, f"{vendor} accepts at most {reached.limit.name}")
    except CredentialsRejected as error:
        outcome.pause(f"{vendor} rejected the credentials: {error}", error)
    except (
        DestinationMissing
    ) as error:  # delivery resumes when the catalog has the destination again
        outcome.hold_back(MISSING_DESTINATION_WAIT, str(error))
    except (SecretsUnreadable, DestinationCodeError) as error:
        outcome.pause(str(error))
    except BlueprintError as error:  # saved by an older version; this one checks on save
        outcome.pause(f"The blueprint cannot be used. {error}")
    except (LeaseLost, DatabaseFailure):
        raise
    except Exception as error:  # a bug must not repeat the same batch at full speed, unseen
        logger.exception("Lane %s: a batch failed because of a bug", outcome.lane.pk)
        outcome.wait(VendorUnavailable(f"A bug in Penstock: {error!r}"))


def _shape(
    held: Lease,
    context: BatchContext,
    batch: Sequence[QueuedDelivery],
    limits: Sequence[Limit],
    outcome: BatchOutcome,
) -> ShapedBatch:
    """Shape a batch; record in the outcome what fails, waits or needs no request."""
    shaped = shape_batch(context, batch, before_each=_crash_marker(held, context.lane))
    if context.lane.deaths >= leases.CAREFUL_AFTER_CRASHES:
        leases.mark_suspect(held, None, 0, timezone.now())
    for delivery_id, error in shaped.failed.items():
        outcome.close(delivery_id, State.FAILED, error)
    if any(limit.per_person for limit in limits):
        _hold_back_deferred_people(context.lane, shaped, outcome)
    shaped.drop_known_facts(context.lane.installation_id)
    for delivery_id, parcel in shaped.deliveries.items():
        outcome.expect(delivery_id, answers=len(parcel.items), notes=parcel.notes)
        if not parcel.items:
            outcome.close(delivery_id, State.FILTERED, reason=parcel.nothing)
    return shaped


def _crash_marker(held: Lease, lane: Lane) -> Callable[[int], None] | None:
    """Return a function that marks the current delivery as a suspect, if workers crashed before."""
    if lane.deaths < leases.CAREFUL_AFTER_CRASHES:
        return None

    def mark(delivery_id: int) -> None:
        times = lane.suspected if lane.suspect == delivery_id else 0
        leases.mark_suspect(held, delivery_id, times + 1, timezone.now())

    return mark


def _hold_back_deferred_people(lane: Lane, shaped: ShapedBatch, outcome: BatchOutcome) -> None:
    """Hold back later deliveries of a person whose earlier ones are deferred."""
    waiting = deferred_people(lane.pk, timezone.now())
    for delivery_id, person in list(shaped.people.items()) if waiting else ():
        if person in waiting:
            del shaped.deliveries[delivery_id]
            outcome.defer(
                delivery_id, "Earlier deliveries of its user are deferred.", waiting[person]
            )
