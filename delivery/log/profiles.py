"""Profiles of users and visitors: their events, linked ids and deliveries by installation."""

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

PROFILE_SAMPLE_EVENTS = 500  # newest events that linked ids and states are read from
OTHER_ID_COLUMN = {"user_id": "anonymous_id", "anonymous_id": "user_id"}


@dataclass(frozen=True, slots=True)
class LinkedId:
    """An id that occurred together with the profile's, and when it first and last did."""

    value: str
    events: int
    first_at: datetime
    last_at: datetime


@dataclass(frozen=True, slots=True)
class InstallationActivity:
    """The deliveries of a profile's events to one installation. counts: by state"""

    installation: Installation
    counts: dict[str, int]
    newest: Delivery


@dataclass(frozen=True)
class Profile:
    """The events of one user or visitor.

    column  "user_id" for a user, "anonymous_id" for a visitor
    """

    column: str
    value: str

    @property
    def is_user(self) -> bool:
        return self.column == "user_id"

    @property
    def events(self) -> QuerySet[Event]:
        return Event.objects.filter(with_id(self.column, self.value)).select_related("source")

    def page(self, *, limit: int, before: int | None = None) -> Page:
        """Return a page of the events, newest first, through the index of the id."""
        older = self.events if before is None else self.events.filter(pk__lt=before)
        found = list(older.order_by(self.column, "-pk")[: limit + 1])
        return Page(found[:limit], before is not None, has_older=len(found) > limit)

    @cached_property
    def _recent_events(self) -> list[tuple[int, str, datetime]]:
        rows = self.events.order_by(self.column, "-pk")
        return list(
            rows.values_list("pk", OTHER_ID_COLUMN[self.column], "received_at")[
                :PROFILE_SAMPLE_EVENTS
            ]
        )

    @cached_property
    def linked_ids(self) -> list[LinkedId]:
        """The ids of the other kind that occurred with this one, latest first."""
        times: defaultdict[str, list[datetime]] = defaultdict(list)
        for _, other, at in self._recent_events:
            if other:
                times[other].append(at)
        return [LinkedId(text, len(at), min(at), max(at)) for text, at in times.items()]

    @cached_property
    def installation_activity(self) -> list[InstallationActivity]:
        """The deliveries of the newest events, by installation."""
        states: defaultdict[int, Counter[str]] = defaultdict(Counter)
        newest: dict[int, int] = {}
        rows = Delivery.objects.filter(event__in=[pk for pk, _, _ in self._recent_events])
        for pk, installation, state in rows.values_list("pk", "installation", "state"):
            states[installation][state] += 1
            newest[installation] = max(pk, newest.get(installation, 0))
        found = querysets.deliveries_with_relations().filter(pk__in=newest.values())
        return [
            InstallationActivity(each.installation, dict(states[each.installation_id]), each)
            for each in found.order_by("installation__name")
        ]


def find_profile(text: str) -> Profile | None:
    """Return the profile of the user with this id, else of the visitor, else None."""
    for column in OTHER_ID_COLUMN:
        one = Profile(column, text)
        if one.events.exists():
            return one
    return None


def profile_of_event(event: Event) -> Profile | None:
    """Return the profile that an event belongs to, or None."""
    for column in OTHER_ID_COLUMN:
        if getattr(event, column):
            return Profile(column, getattr(event, column))
    return None


def pair_events_with_deliveries(events: Iterable[Event]) -> list[tuple[Event, list[Delivery]]]:
    """Return each event with its deliveries. Takes two queries and loads no bodies."""
    events, by_event = list(events), defaultdict(list)
    rows = Delivery.objects.select_related("installation", "resolution")
    rows = rows.order_by("installation__name")
    for delivery in rows.filter(event__in=[event.pk for event in events]):
        by_event[delivery.event_id].append(delivery)
    return [(event, by_event[event.pk]) for event in events]
