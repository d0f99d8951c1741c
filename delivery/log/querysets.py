"""Querysets of the log: deliveries with the related rows that a list shows, never with bodies."""

from collections.abc import Iterable
from functools import reduce
from operator import or_

from django.db.models import Q, QuerySet

from delivery.models import Delivery, DeliveryQuerySet, Event, Replayed
from integrations.messages import MESSAGE_TYPES

NEIGHBOUR_EVENTS = 50  # events of a person that are searched for the next delivery


def deliveries_with_relations() -> DeliveryQuerySet:
    """Return deliveries with every related row that a list shows."""
    beside = ("event", "installation", "lane", "last_attempt", "resolution")
    return Delivery.objects.select_related(*beside)


def newest_deliveries_of(installation: int) -> QuerySet[Delivery]:
    """Return the deliveries of an installation, newest first, through the installation's index."""
    return deliveries_with_relations().newest_of(installation)


def with_any_id(text: str) -> Q:
    """Return the condition that an event has this message id, user id or anonymous id."""
    names = ("message_id", "user_id", "anonymous_id")
    return reduce(or_, (with_id(name, text) for name in names))


def with_id(name: str, text: str) -> Q:
    # SQLite uses a partial index only for a query that repeats the condition of the index.
    return Q(**{name: text}) & ~Q(**{name: ""})


def with_event_name(text: str, prefix: str = "") -> Q:
    """Return the condition that an event has this name, or this type if the text is a type.

    A text that ends in * matches a prefix of the name.
    """
    if text.endswith("*") and len(text) > 1:
        return Q(**{f"{prefix}name__startswith": text[:-1]})
    condition = Q(**{f"{prefix}name": text})
    return condition | Q(**{f"{prefix}type": text}) if text in MESSAGE_TYPES else condition


def last_replay_ids(deliveries: Iterable[int]) -> dict[int, int]:
    """Return the newest replay of each delivery that a replay queued."""
    rows = Replayed.objects.filter(delivery__in=list(deliveries)).order_by("replay")
    return dict(rows.values_list("delivery", "replay"))


def find_adjacent_delivery(delivery: Delivery, *, newer: bool) -> int | None:
    """Return the id of the person's next or previous delivery to the same installation.

    Only the NEIGHBOUR_EVENTS nearest events of the person are searched.
    """
    event = delivery.event
    column = "user_id" if event.user_id else "anonymous_id"
    person = getattr(event, column)
    if not person:
        return None
    rows = Event.objects.filter(with_id(column, person))
    if newer:
        nearest = rows.filter(pk__gt=event.pk).order_by(column, "pk")
    else:
        nearest = rows.filter(pk__lt=event.pk).order_by(column, "-pk")
    events = list(nearest.values_list("pk", flat=True)[:NEIGHBOUR_EVENTS])
    found = Delivery.objects.filter(installation=delivery.installation_id, event__in=events)
    order = "event_id" if newer else "-event_id"
    return found.order_by(order).values_list("pk", flat=True).first()


def has_events() -> bool:
    """Return whether any event is stored.

    The query orders by key, because exists() would scan purged rows at the start of the table.
    """
    return Event.objects.order_by("-pk").values("pk").first() is not None
