"""Shapes the deliveries of a batch and plans the requests that carry them."""

import logging
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from delivery.lanes import leases, routes
from delivery.models import Lane
from delivery.transform.guard import guarded_destination
from delivery.transform.packing import PlannedRequest, pack_requests
from delivery.transform.shape import ShapedDelivery, leave_out_known_facts, shape_message
from delivery.transform.stored_messages import compile_revision_by_id, decode_stored_message
from delivery.worker.backlog import QueuedDelivery
from integrations.blueprints import Blueprint, BlueprintError
from integrations.destination import Config, Destination, Item, Limit
from integrations.encryption import reveal
from integrations.errors import DestinationError, MessageRejected

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class BatchContext:
    """Data of the lane that the phases of a batch need; read once.

    secrets  texts to mask in everything that is stored
    """

    lane: Lane
    destination: Destination
    config: Config
    secrets: tuple[str, ...]

    @classmethod
    def of_lane(cls, lane: Lane) -> "BatchContext":
        """Raises SecretsUnreadable."""
        installation = lane.installation
        config = installation.settings()
        secrets = tuple(reveal(installation.sealed_secrets).values())
        return cls(lane, installation.destination, config, secrets)

    def limits(self) -> Sequence[Limit]:
        """Return the vendor's published rate limits. Raises DestinationCodeError."""
        with guarded_destination(self.destination):
            return self.destination.limits(self.config)

    def blueprint(self) -> Blueprint | None:
        """Return the current blueprint; None in a lane that keeps each delivery's own revision.

        Raises BlueprintError.
        """
        if self.lane.number == routes.ORIGINAL_REVISION_LANE_NUMBER:
            return None
        return compile_revision_by_id(self.lane.installation.revision_id)


@dataclass(slots=True)
class ShapedBatch:
    """The shaped deliveries of a batch, by id, in the order of the queue.

    people  the person of each delivery, by id
    failed  the errors of deliveries that cannot be sent, by id
    """

    deliveries: dict[int, ShapedDelivery] = field(default_factory=dict)
    people: dict[int, str] = field(default_factory=dict)
    failed: dict[int, DestinationError] = field(default_factory=dict)

    def drop_known_facts(self, installation_id: int) -> None:
        """Drop items whose fact the vendor already knows."""
        leave_out_known_facts(installation_id, self.deliveries.values())


def shape_batch(
    context: BatchContext,
    batch: Iterable[QueuedDelivery],
    *,
    before_each: Callable[[int], None] | None = None,
) -> ShapedBatch:
    """Apply the blueprint to each delivery. Raises BlueprintError.

    before_each  is called with the id of each delivery before its message is read
    """
    shaped, blueprint = ShapedBatch(), context.blueprint()
    for queued in batch:
        if before_each:
            before_each(queued.id)
        try:
            person, parcel = _shape_delivery(context, queued, blueprint)
        except DestinationError as error:
            shaped.failed[queued.id] = error
        except Exception as error:  # a bug on one message must not stop the others
            ids = {"delivery_id": queued.id, "event_id": queued.event_id}
            logger.exception("Delivery %s failed because of a bug", queued.id, extra=ids)
            text = f"A bug in {context.destination.name}'s code here: {error!r}"
            shaped.failed[queued.id] = MessageRejected(text)
        else:
            shaped.people[queued.id], shaped.deliveries[queued.id] = person, parcel
    return shaped


def _shape_delivery(
    context: BatchContext, queued: QueuedDelivery, blueprint: Blueprint | None
) -> tuple[str, ShapedDelivery]:
    _refuse_poison(context.lane, queued.id)
    blueprint = blueprint or _last_blueprint(queued)
    message = decode_stored_message(*queued.event)
    return message.person, shape_message(message, blueprint, context.destination, context.config)


def _refuse_poison(lane: Lane, delivery_id: int) -> None:
    """Raise MessageRejected for a delivery that the last workers crashed on.

    A worker that crashes leaves no error, so without this the delivery would be tried forever.
    """
    if lane.suspect == delivery_id and lane.suspected >= leases.POISON_AFTER_CRASHES:
        raise MessageRejected(f"{lane.deaths} workers crashed, the last two on this delivery.")


def _last_blueprint(queued: QueuedDelivery) -> Blueprint:
    """Return the blueprint that shaped a delivery last. Raises MessageRejected."""
    if queued.revision_id is None:
        raise MessageRejected(
            "It was never shaped, so there is no earlier revision to deliver it with."
        )
    try:
        return compile_revision_by_id(queued.revision_id)
    except BlueprintError as error:  # saved by an older version
        raise MessageRejected(
            f"The revision that shaped it can no longer be used. {error}"
        ) from error


def plan_requests(
    context: BatchContext, shaped: ShapedBatch, set_aside: Mapping[int, bool]
) -> list[PlannedRequest]:
    """Return the requests to make; deliveries that were set aside before come last, each alone.

    set_aside  whether a delivery was set aside before, by id

    Raises DestinationCodeError.
    """
    together: list[tuple[int, str, Sequence[Item]]] = []
    alone: list[tuple[int, str, Sequence[Item]]] = []
    for delivery_id, parcel in shaped.deliveries.items():
        if parcel.items:
            entry = (delivery_id, shaped.people[delivery_id], parcel.items)
            (alone if set_aside[delivery_id] else together).append(entry)
    with guarded_destination(context.destination):
        slots = pack_requests(together, context.destination)
        return slots + [
            slot for entry in alone for slot in pack_requests([entry], context.destination)
        ]
