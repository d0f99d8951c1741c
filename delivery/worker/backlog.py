"""Reads the backlog of a lane."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from delivery.models import Delivery
from delivery.transform.stored_messages import STORED_MESSAGE_COLUMNS


@dataclass(frozen=True, slots=True)
class QueuedDelivery:
    """A delivery read from the queue; `event` holds the arguments of `decode_stored_message`."""

    id: int
    event_id: int
    queued_at: datetime
    failures: int
    revision_id: int | None  # the revision that shaped it last
    event: Sequence[Any]

    @property
    def source_id(self) -> int:
        return int(self.event[STORED_MESSAGE_COLUMNS.index("source_id")])


def next_batch(lane_id: int, *, limit: int, now: datetime) -> list[QueuedDelivery]:
    """Return the head of the lane's queue, in order."""
    own = ("pk", "event_id", "queued_at", "failures", "revision")
    names = (*own, *(f"event__{name}" for name in STORED_MESSAGE_COLUMNS))
    head = Delivery.objects.due(now).filter(lane=lane_id).order_by("pk")
    rows: Iterable[Sequence[Any]] = head.values_list(*names)[:limit]
    return [
        QueuedDelivery(pk, event_id, at, failures, revision, event)
        for pk, event_id, at, failures, revision, *event in rows
    ]


def deferred_people(lane_id: int, now: datetime) -> dict[str, datetime]:
    """Return the users with deferred deliveries, and until when each is deferred."""
    rows = (
        Delivery.objects.filter(
            lane=lane_id, state=Delivery.State.QUEUED, due_at__gt=now, failures=0
        )
        .order_by("due_at")
        .values_list("event__user_id", "event__anonymous_id", "due_at")
    )
    return {user_id or anonymous_id: due_at for user_id, anonymous_id, due_at in rows if due_at}
