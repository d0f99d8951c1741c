"""The tables of events, deliveries and lanes, their log, and their accounting."""

from delivery.models.accounting import Metric, Past, Settlement, Tally
from delivery.models.deliveries import (
    Attempt,
    AttemptBody,
    Carried,
    Delivery,
    DeliveryQuerySet,
    Replayed,
    Resolution,
    give_up_days,
)
from delivery.models.events import Event, EventBody, Rejection, Signature
from delivery.models.lanes import WAITING, Bucket, Lane, Told, either
from delivery.models.operations import Heartbeat, Incident
from delivery.models.replays import Replay

__all__ = [
    "Attempt",
    "AttemptBody",
    "Bucket",
    "Carried",
    "Delivery",
    "DeliveryQuerySet",
    "Event",
    "EventBody",
    "Heartbeat",
    "Incident",
    "Lane",
    "Metric",
    "Past",
    "Rejection",
    "Replay",
    "Replayed",
    "Resolution",
    "Settlement",
    "Signature",
    "Tally",
    "Told",
    "WAITING",
    "either",
    "give_up_days",
]
