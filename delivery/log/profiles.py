"""One person or visitor: events over time, the ids that belong together, what each vendor got."""

from collections import Counter, defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from functools import cached_property

from django.db.models import QuerySet

from delivery.log import querysets
from delivery.log.querysets import with_id
from delivery.models import Delivery, Event
from integrations.keyset import Page
from integrations.models import Installation

LOOKED_AT = 500  # events, the newest, that linked ids and states are read from
OTHER = {"user_id": "anonymous_id", "anonymous_id": "user_id"}


@dataclass(frozen=True, slots=True)
class Linked:
    """An id that came together with the person's, and when it did first and last."""

    text: str
    events: int
    first_at: datetime
    last_at: datetime


@dataclass(frozen=True, slots=True)
class Standing:
    """What one installation got of a person's events. counts: by state"""

    installation: Installation
    counts: dict[str, int]
    newest: Delivery


@dataclass(frozen=True)
class Person:
    """Everyone and everything that events call by one id.

    column  "user_id" for a user, "anonymous_id" for a visitor
    """

    column: str
    text: str

    @property
    def is_user(self) -> bool:
        return self.column == "user_id"

    @property
    def events(self) -> QuerySet[Event]:
        return Event.objects.filter(with_id(self.column, self.text)).select_related("source")

    def page(self, *, limit: int, before: int | None = None) -> Page:
        """Return a page of the events, newest first, read by the index of the id."""
        older = self.events if before is None else self.events.filter(pk__lt=before)
        found = list(older.order_by(self.column, "-pk")[: limit + 1])
        return Page(found[:limit], before is not None, has_older=len(found) > limit)

    @cached_property
    def _newest(self) -> list[tuple[int, str, datetime]]:
        rows = self.events.order_by(self.column, "-pk")
        return list(rows.values_list("pk", OTHER[self.column], "received_at")[:LOOKED_AT])

    @cached_property
    def linked(self) -> list[Linked]:
        """The ids of the other kind that were seen with this one, the latest first."""
        times: defaultdict[str, list[datetime]] = defaultdict(list)
        for _, other, at in self._newest:
            if other:
                times[other].append(at)
        return [Linked(text, len(at), min(at), max(at)) for text, at in times.items()]

    @cached_property
    def standings(self) -> list[Standing]:
        """What each installation got, of the newest events."""
        states: defaultdict[int, Counter[str]] = defaultdict(Counter)
        newest: dict[int, int] = {}
        rows = Delivery.objects.filter(event__in=[pk for pk, _, _ in self._newest])
        for pk, installation, state in rows.values_list("pk", "installation", "state"):
            states[installation][state] += 1
            newest[installation] = max(pk, newest.get(installation, 0))
        found = querysets.deliveries().filter(pk__in=newest.values())
        return [
            Standing(each.installation, dict(states[each.installation_id]), each)
            for each in found.order_by("installation__name")
        ]


def person(text: str) -> Person | None:
    """Return the user of that id, else the visitor, or None when no event has it."""
    for column in OTHER:
        one = Person(column, text)
        if one.events.exists():
            return one
    return None


def of_event(event: Event) -> Person | None:
    """Return whose event it is, or None."""
    for column in OTHER:
        if getattr(event, column):
            return Person(column, getattr(event, column))
    return None


def with_deliveries(events: Iterable[Event]) -> list[tuple[Event, list[Delivery]]]:
    """Return events each with its deliveries, in two queries and without a body."""
    events, by_event = list(events), defaultdict(list)
    rows = Delivery.objects.select_related("installation", "resolution")
    rows = rows.order_by("installation__name")
    for delivery in rows.filter(event__in=[event.pk for event in events]):
        by_event[delivery.event_id].append(delivery)
    return [(event, by_event[event.pk]) for event in events]
