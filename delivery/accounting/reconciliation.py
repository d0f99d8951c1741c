"""The ledger in parts: by the hour in which events were received, by their names; and its holes.

What was offered and not wanted is known by hour and source (`delivery/accounting/metrics.py`), so
that is how exact a hole can be told. Only as far back as nothing is purged.
"""

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec
from django.conf import settings
from django.db.models import Case, Count, Exists, F, OuterRef, QuerySet, Sum, When
from django.db.models.functions import Coalesce, TruncHour

from delivery.accounting.ledger import Line
from delivery.accounting.record import ALL, floor
from delivery.models import Attempt, Delivery, Event, Metric, Replayed, Tally
from integrations.keyset import arrived, first_id
from integrations.models import Installation, Source

EXAMPLES = 20  # holes of each kind that are named
HOUR = timedelta(hours=1)
STATES = Delivery.State.values

Place = tuple[int, int, datetime]  # installation or ALL, source, hour


@dataclass(frozen=True, slots=True, kw_only=True)
class Hour(Line):
    """An installation's account of the events received in one hour (UTC).

    in_scope: those offered to it, and those that a backfill made deliveries of.
    """

    hour: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Named:
    """An installation's deliveries of the events of one name, or of one type without a name."""

    installation: str
    event: str
    queued: int
    delivered: int
    filtered: int
    failed: int
    cancelled: int


@dataclass(frozen=True, slots=True)
class Hole:
    """Something that is not as it should be; `text` is a sentence."""

    kind: str
    text: str


def whole_since(now: datetime) -> datetime:
    """Return the first hour of which nothing can have been purged."""
    days = min(settings.KEEP_EVENTS_DAYS, settings.KEEP_DELIVERIES_DAYS)
    return floor(now - timedelta(days=days), Metric.Step.HOUR) + HOUR


def by_hour(start: datetime) -> list[Hour]:
    """Return the account of each installation and hour, from a whole hour on."""
    offered, unwanted = (_without_source(each) for each in _booked(start))
    offered += _without_source(_made(start, afterwards=True))
    states = _states(_since(start))
    names = dict(Installation.objects.values_list("pk", "name"))
    return [
        Hour(
            hour=f"{hour:%Y-%m-%d %H:00}",
            installation=names[pk],
            in_scope=offered[pk, hour],
            unwanted=unwanted[pk, hour],
            **{state: states[pk, hour, state] for state in STATES},
        )
        for pk, hour in sorted({*offered, *((pk, hour) for pk, hour, _ in states)})
        if pk in names
    ]


def by_event() -> list[Named]:
    """Return the deliveries that are there, for each installation and name of an event.

    How many of a name were not wanted is not known.
    """
    name = Case(When(event__name="", then="event__type"), default="event__name")
    states = _states(Delivery.objects.order_by().annotate(part=name))
    names = dict(Installation.objects.values_list("pk", "name"))
    return [
        Named(
            installation=names[pk],
            event=event,
            **{state: states[pk, event, state] for state in STATES},
        )
        for pk, event in sorted({(pk, event) for pk, event, _ in states})
    ]


def _states(rows: QuerySet[Any]) -> Counter[tuple[int, Any, str]]:
    """Return how many deliveries an installation has of each part in each state."""
    counts = rows.values_list("installation", "part", "state").annotate(n=Count("pk"))
    return Counter({(pk, part, state): n for pk, part, state, n in counts})


def _booked(start: datetime) -> tuple[Counter[Place], Counter[Place]]:
    """Return the events that were offered, to ALL and to each, and those that were not wanted."""
    offered: Counter[Place] = Counter()
    unwanted: Counter[Place] = Counter()
    names = ("installation", "source", "at", "accepted", "unwanted")
    rolled = Metric.objects.filter(step=Metric.Step.HOUR, at__gte=start).exclude(source=ALL)
    for installation, source, at, events, not_wanted in rolled.values_list(*names).iterator():
        offered[installation, source, at] += events
        unwanted[installation, source, at] += not_wanted
    for tally in Tally.objects.filter(at__gte=start).iterator(chunk_size=10_000):
        at = floor(tally.at, Metric.Step.HOUR)
        offered[ALL, tally.source_id, at] += tally.events
        counts = msgspec.json.decode(tally.unwanted, type=dict[int, int])
        for installation, not_wanted in counts.items():
            offered[installation, tally.source_id, at] += tally.events
            unwanted[installation, tally.source_id, at] += not_wanted
    return offered, unwanted


def _since(start: datetime) -> QuerySet[Any]:
    rows = arrived(Delivery.objects.order_by(), "event__received_at", since=start, until=None)
    hours: QuerySet[Any] = rows.annotate(part=TruncHour("event__received_at", tzinfo=UTC))
    return hours


def _made(start: datetime, *, afterwards: bool) -> Counter[Place]:
    """Return the deliveries that were made on arrival, or afterwards by a backfill."""
    backfilled = Exists(Replayed.objects.filter(delivery=OuterRef("pk"), state=""))
    rows = _since(start).filter(backfilled if afterwards else ~backfilled)
    counts = rows.values_list("installation", "event__source", "part").annotate(n=Count("pk"))
    return Counter({(pk, source, at): n for pk, source, at, n in counts})


def _without_source(counts: Counter[Place]) -> Counter[tuple[int, datetime]]:
    summed: Counter[tuple[int, datetime]] = Counter()
    for (installation, _, hour), count in counts.items():
        summed[installation, hour] += count
    return summed


def holes(now: datetime) -> list[Hole]:
    """Return what is missing. To be called in a transaction that sees one state."""
    start = whole_since(now)
    found = [*_missing(start), *_without_event(), *_claims(start)]
    counts = Counter(hole.kind for hole in found)
    named = [hole for kind in counts for hole in _of_kind(found, kind)[:EXAMPLES]]
    more = {kind: count - EXAMPLES for kind, count in counts.items() if count > EXAMPLES}
    return named + [Hole(kind, f"And {count:,} more of these.") for kind, count in more.items()]


def _of_kind(found: Sequence[Hole], kind: str) -> list[Hole]:
    return [hole for hole in found if hole.kind == kind]


def _missing(start: datetime) -> Iterator[Hole]:
    """Events that are gone, and events without a delivery that were not unwanted either."""
    offered, unwanted = _booked(start)
    made, stored = _made(start, afterwards=False), _stored(start)
    names = dict(Installation.objects.values_list("pk", "name"))
    sources = dict(Source.objects.values_list("pk", "name"))
    for (installation, source, at), count in sorted(offered.items()):
        where = f"{sources.get(source, source)}, {at:%Y-%m-%d %H:00}"
        if installation == ALL and count > stored[source, at]:
            text = f"{where}: {count:,} events were accepted, {stored[source, at]:,} are there."
            yield Hole("event missing", text)
        if installation in names:
            place = (installation, source, at)
            missing = count - unwanted[place] - made[place]
            if missing > 0:
                text = f"{where}: {missing:,} of {count:,} have none to {names[installation]}."
                yield Hole("event without a delivery", text)


def _stored(start: datetime) -> Counter[tuple[int, datetime]]:
    rows = arrived(Event.objects.order_by(), "received_at", since=start, until=None)
    hours = rows.annotate(part=TruncHour("received_at", tzinfo=UTC))
    counts = hours.values_list("source", "part").annotate(n=Count("pk"))
    return Counter({(source, at): n for source, at, n in counts})


def _without_event() -> Iterator[Hole]:
    event = Event.objects.filter(pk=OuterRef("event_id"))
    rows = Delivery.objects.filter(~Exists(event)).order_by("pk")
    for pk, event_id in rows.values_list("pk", "event_id").iterator(chunk_size=10_000):
        yield Hole("delivery without an event", f"Delivery {pk} is of event {event_id}.")


def _claims(start: datetime) -> Iterator[Hole]:
    """Attempts say how many items they carried; what is written of each item must add up."""
    rows = Attempt.objects.filter(pk__gte=first_id(Attempt, "started_at", start), is_test=False)
    counted = rows.annotate(n=Coalesce(Sum("carried__items"), 0)).filter(n__lt=F("items"))
    for pk, items, n in counted.order_by("pk").values_list("pk", "items", "n"):
        text = f"Attempt {pk} says that it carried {items:,} items; {n:,} are written down."
        yield Hole("attempt that claims too much", text)
