"""Reading the log: find deliveries a page at a time, and tell all there is about one.

The admin and the API both read here, so they cannot differ. Nothing counts rows or skips them:
pages are found by key, and what a list shows never touches a body.
"""

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import cached_property, reduce
from operator import or_
from typing import Any

from django.db.models import Q, QuerySet

from delivery.log.body_access import HIDDEN
from delivery.models import (
    Attempt,
    AttemptBody,
    Carried,
    Delivery,
    Event,
    EventBody,
    Replay,
    Replayed,
)
from delivery.transform.shape import COLUMNS, compiled, compiled_of, message_of, view_of
from integrations.blueprints import BlueprintError
from integrations.destination import Action
from integrations.keyset import arrived
from integrations.messages import TYPES, Message
from integrations.models import Installation

NEWEST_ATTEMPTS = 100  # how many of a delivery are told of
NEIGHBOURS = 50  # events of a person that are looked through for the next delivery
WITH_BODIES = 5  # and how many of these with all that was sent: one can be a megabyte
SHOWN = 200_000  # characters of a body that a page carries
GONE = timedelta(days=30)  # for so long after it is uninstalled people ask why nothing comes there


# --- finding -----------------------------------------------------------------------------------


def deliveries() -> QuerySet[Delivery]:
    """Return deliveries with all that a list shows of them."""
    beside = ("event", "installation", "lane", "last_attempt", "resolution")
    return Delivery.objects.select_related(*beside)


def newest(installation: int) -> QuerySet[Delivery]:
    """Return the deliveries of an installation, newest first, by their own index."""
    # a range of one: see delivery.status.installations
    rows = deliveries().filter(installation__gte=installation, installation__lte=installation)
    return rows.order_by("installation_id", "-pk")


def of(text: str) -> Q:
    """Return the condition that an event has this message id, or is of this user or visitor."""
    names = ("message_id", "user_id", "anonymous_id")
    return reduce(or_, (with_id(name, text) for name in names))


def with_id(name: str, text: str) -> Q:
    # SQLite uses a partial index only for a query that repeats the condition of the index.
    return Q(**{name: text}) & ~Q(**{name: ""})


def named(text: str, prefix: str = "") -> Q:
    """Return the condition for an event's name, or for its type when the text is one.

    A text that ends in * is how the name begins.
    """
    if text.endswith("*") and len(text) > 1:
        return Q(**{f"{prefix}name__startswith": text[:-1]})
    condition = Q(**{f"{prefix}name": text})
    return condition | Q(**{f"{prefix}type": text}) if text in TYPES else condition


def received(
    rows: QuerySet[Delivery], *, since: datetime | None = None, until: datetime | None = None
) -> QuerySet[Delivery]:
    """Return the deliveries of events received in [since, until)."""
    return arrived(rows, "event__received_at", since=since, until=until)


def replays_of(deliveries: Iterable[int]) -> dict[int, int]:
    """Return for each delivery that a replay queued the last one that did."""
    rows = Replayed.objects.filter(delivery__in=list(deliveries)).order_by("replay")
    return dict(rows.values_list("delivery", "replay"))


# --- one delivery ------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Sent:
    """An attempt as one delivery sees it: what of the request was its own.

    body    the request's body with only the delivery's own item in it, or "" when not loaded
    place   "item 17 of 1,000 in this request", or "" when the request carried nothing else
    """

    attempt: Attempt
    position: int
    place: str
    body: str
    full: AttemptBody | None


@dataclass(frozen=True)
class Story:
    """All there is to tell about one delivery.

    shows_bodies  whether whom it is told may see bodies; without, none is read
    """

    delivery: Delivery
    shows_bodies: bool

    @cached_property
    def body(self) -> str:
        """The event as it was received, as JSON text, or "" when it is hidden or kept no more."""
        return body_of(self.delivery.event_id) if self.shows_bodies else ""

    @property
    def added_context(self) -> str:
        return self.delivery.event.added_context if self.shows_bodies else ""

    @property
    def message(self) -> Message:
        return message(self.delivery.event, self.body)

    @property
    def event_notes(self) -> list[str]:
        return notes(self.delivery.event.notes) if self.shows_bodies else []

    @property
    def notes(self) -> list[str]:
        return notes(self.delivery.notes) if self.shows_bodies else []

    @cached_property
    def result(self) -> "Result":
        if not self.shows_bodies:
            return Result(problem=HIDDEN)
        return result(self.delivery.event, self.body, self.revision)

    @property
    def revision(self):
        """The blueprint that shaped it, or the current one while none has."""
        return self.delivery.revision or self.delivery.installation.revision

    @cached_property
    def replays(self) -> list[Replay]:
        """The replays that queued it, the last one first."""
        rows = Replayed.objects.filter(delivery=self.delivery).select_related("replay")
        return [each.replay for each in rows.order_by("-replay_id")[:NEWEST_ATTEMPTS]]

    @cached_property
    def sent(self) -> list[Sent]:
        """Its attempts, newest first."""
        carried = list(
            Carried.objects.filter(delivery=self.delivery)
            .select_related("attempt__installation")
            .order_by("-attempt_id")[:NEWEST_ATTEMPTS]
        )
        newest = [each.attempt_id for each in carried[:WITH_BODIES]] if self.shows_bodies else []
        bodies = AttemptBody.objects.in_bulk(newest)
        return [sent(each, bodies.get(each.attempt_id)) for each in carried]


def story(pk: int, *, shows_bodies: bool) -> Story:
    """Return the story of a delivery. Raises Delivery.DoesNotExist."""
    rows = deliveries().select_related("event__source", "installation__revision", "revision")
    return Story(rows.get(pk=pk), shows_bodies)


def body_of(event_id: int) -> str:
    """Return an event as it was received, as JSON text, or "" when it is not kept any more."""
    texts = EventBody.objects.filter(pk=event_id).values_list("text", flat=True)
    return texts.first() or ""


def notes(text: str) -> list[str]:
    """Return notes as they are stored, "" or a JSON list of sentences, as a list."""
    return json.loads(text) if text else []


def beside(delivery: Delivery, *, newer: bool) -> int | None:
    """Return the id of the delivery to the same installation of the same person's event that came
    next, or last before; among the NEIGHBOURS nearest events."""
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
    events = list(nearest.values_list("pk", flat=True)[:NEIGHBOURS])
    found = Delivery.objects.filter(installation=delivery.installation_id, event__in=events)
    order = "event_id" if newer else "-event_id"
    return found.order_by(order).values_list("pk", flat=True).first()


def sent(carried: Carried, full: AttemptBody | None) -> Sent:
    attempt = carried.attempt
    alone = attempt.items == carried.items  # nobody else's
    place = "" if alone else f"{_items(carried)} of {attempt.items:,} in this request"
    position, own = carried.position, carried.items
    body = own_part(full.request_body, position, attempt.items, own) if full else ""
    return Sent(attempt, carried.position, place, body, full)


def _items(carried: Carried) -> str:
    first, last = carried.position + 1, carried.position + carried.items
    return f"item {first:,}" if first == last else f"items {first:,} to {last:,}"


def own_part(body: str, position: int, items: int, own: int = 1) -> str:
    """Return a request's body with only `own` items from `position` in its list of items.

    A body that is not an object with one list of that many items is returned as it is.
    """
    if items == 1:
        return body
    envelope = parsed(body)
    entries = envelope.items() if isinstance(envelope, dict) else ()
    lists = [key for key, value in entries if isinstance(value, list) and len(value) == items]
    if len(lists) != 1:
        return body
    part = envelope[lists[0]][position : position + own]
    return json.dumps({**envelope, lists[0]: part}, ensure_ascii=False)


def parsed(text: str) -> Any:
    """Return JSON as what it says, and any other text as it is."""
    try:
        return json.loads(text)
    except ValueError:
        return text


@dataclass(frozen=True, slots=True)
class Result:
    """What a blueprint makes of an event, or why that cannot be told."""

    actions: Sequence[Action] = ()
    problem: str = ""


def result(event: Event, body: str, revision: Any) -> Result:
    """Apply a revision to an event again: it is not stored, and a mapping is pure."""
    if not body or revision is None:
        return Result(problem="The event's body or the blueprint is not kept any more.")
    try:
        return Result(compiled(revision.pk).apply(view_of(message(event, body))))
    except (BlueprintError, LookupError, TypeError, ValueError) as error:
        return Result(problem=f"The blueprint cannot be applied to it: {error}")


def message(event: Event, body: str) -> Message:
    return message_of(body, *(getattr(event, name) for name in COLUMNS[1:]))


def any_event() -> bool:
    """Say whether any event is kept. By its key: exists() looks from the table's start on, where
    there is nothing but what was purged."""
    return Event.objects.order_by("-pk").values("pk").first() is not None


# --- one event ---------------------------------------------------------------------------------


def absences(event: Event, body: str, present: Iterable[int]) -> list[tuple[Installation, str]]:
    """Return the installations that have no delivery of an event, each with the reason."""
    others = Installation.objects.exclude(pk__in=list(present)).select_related("revision")
    gone = event.received_at - GONE
    others = others.exclude(uninstalled_at__lte=gone).prefetch_related("sources")
    return [(each, _absence(event, body, each)) for each in others.order_by("name")]


def _absence(event: Event, body: str, installation: Installation) -> str:
    if installation.uninstalled_at and installation.uninstalled_at <= event.received_at:
        return "It was uninstalled before the event came in."
    if installation.created_at > event.received_at:
        return "It was installed after the event had come in."
    if not installation.all_sources and event.source not in installation.sources.all():
        return f"The source {event.source} does not feed it."
    if not body or installation.revision is None:
        return "Its blueprint did not want it."
    try:
        wants = compiled_of(installation.revision).wants(view_of(message(event, body)))
    except (BlueprintError, LookupError, TypeError, ValueError) as error:
        return f"Its blueprint cannot be asked: {error}"
    if wants:
        return "Its blueprint did not want it when it came in; the current one would."
    return f"Its blueprint has no action for this {event.type}."
