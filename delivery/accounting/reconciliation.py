"""Breaks the ledger down by hour and by event name, and lists its discrepancies.

Offered and unwanted events are known by hour and source (`delivery/accounting/metrics.py`), so a
discrepancy can be narrowed down to those. Only hours from which nothing is purged are covered.
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

from delivery.accounting.ledger import LedgerLine
from delivery.accounting.record import ALL_ID, floor_to_step
from delivery.models import Attempt, Delivery, Event, Metric, Replayed, Tally
from integrations.keyset import filter_time_range, first_id
from integrations.models import Installation, Source

MAX_DISCREPANCY_EXAMPLES = 20  # discrepancies of each kind that are listed
HOUR = timedelta(hours=1)
DELIVERY_STATE_VALUES = Delivery.State.values

HourlyCountKey = tuple[int, int, datetime]  # installation or ALL_ID, source, hour


@dataclass(frozen=True, slots=True, kw_only=True)
class HourlyLedgerLine(LedgerLine):
    """The account of one installation for the events received in one hour (UTC).

    in_scope  events offered to it, and events for which a backfill made deliveries
    """

    hour: str


@dataclass(frozen=True, slots=True, kw_only=True)
class EventNameLine:
    """An installation's deliveries of events with one name, or of one type if it has no names."""

    installation: str
    event: str
    queued: int
    delivered: int
    filtered: int
    failed: int
    cancelled: int


@dataclass(frozen=True, slots=True)
class Discrepancy:
    """A gap in the ledger; `text` describes it in a sentence."""

    kind: str
    text: str


def first_unpurged_hour(now: datetime) -> datetime:
    """Return the first hour from which nothing can have been purged."""
    days = min(settings.KEEP_EVENTS_DAYS, settings.KEEP_DELIVERIES_DAYS)
    return floor_to_step(now - timedelta(days=days), Metric.Step.HOUR) + HOUR


def ledger_by_hour(start: datetime) -> list[HourlyLedgerLine]:
    """Return the account of each installation and hour; `start` must be a whole hour."""
    offered, unwanted = (_sum_over_sources(each) for each in _count_offered_and_unwanted(start))
    offered += _sum_over_sources(_count_deliveries(start, afterwards=True))
    states = _count_states(_deliveries_since(start))
    names = dict(Installation.objects.values_list("pk", "name"))
    return [
        HourlyLedgerLine(
            hour=f"{hour:%Y-%m-%d %H:00}",
            installation=names[pk],
            in_scope=offered[pk, hour],
            unwanted=unwanted[pk, hour],
            **{state: states[pk, hour, state] for state in DELIVERY_STATE_VALUES},
        )
        for pk, hour in sorted({*offered, *((pk, hour) for pk, hour, _ in states)})
        if pk in names
    ]


def ledger_by_event_name() -> list[EventNameLine]:
    """Return the stored deliveries by installation and event name.

    Unwanted events are not counted by name, so they are not included.
    """
    name = Case(When(event__name="", then="event__type"), default="event__name")
    states = _count_states(Delivery.objects.order_by().annotate(part=name))
    names = dict(Installation.objects.values_list("pk", "name"))
    return [
        EventNameLine(
            installation=names[pk],
            event=event,
            **{state: states[pk, event, state] for state in DELIVERY_STATE_VALUES},
        )
        for pk, event in sorted({(pk, event) for pk, event, _ in states})
    ]


def _count_states(rows: QuerySet[Any]) -> Counter[tuple[int, Any, str]]:
    """Return the number of deliveries by installation, part and state."""
    counts = rows.values_list("installation", "part", "state").annotate(n=Count("pk"))
    return Counter({(pk, part, state): n for pk, part, state, n in counts})


def _count_offered_and_unwanted(
    start: datetime,
) -> tuple[Counter[HourlyCountKey], Counter[HourlyCountKey]]:
    """Return the offered events (in total and by installation), and the unwanted events."""
    offered: Counter[HourlyCountKey] = Counter()
    unwanted: Counter[HourlyCountKey] = Counter()
    names = ("installation", "source", "at", "accepted", "unwanted")
    rolled = Metric.objects.filter(step=Metric.Step.HOUR, at__gte=start).exclude(source=ALL_ID)
    for installation, source, at, events, not_wanted in rolled.values_list(*names).iterator():
        offered[installation, source, at] += events
        unwanted[installation, source, at] += not_wanted
    for tally in Tally.objects.filter(at__gte=start).iterator(chunk_size=10_000):
        at = floor_to_step(tally.at, Metric.Step.HOUR)
        offered[ALL_ID, tally.source_id, at] += tally.events
        counts = msgspec.json.decode(tally.unwanted, type=dict[int, int])
        for installation, not_wanted in counts.items():
            offered[installation, tally.source_id, at] += tally.events
            unwanted[installation, tally.source_id, at] += not_wanted
    return offered, unwanted


def _deliveries_since(start: datetime) -> QuerySet[Any]:
    rows = filter_time_range(
        Delivery.objects.order_by(), "event__received_at", since=start, until=None
    )
    hours: QuerySet[Any] = rows.annotate(part=TruncHour("event__received_at", tzinfo=UTC))
    return hours


def _count_deliveries(start: datetime, *, afterwards: bool) -> Counter[HourlyCountKey]:
    """Return the number of deliveries made on arrival, or afterwards by a backfill."""
    backfilled = Exists(Replayed.objects.filter(delivery=OuterRef("pk"), state=""))
    rows = _deliveries_since(start).filter(backfilled if afterwards else ~backfilled)
    counts = rows.values_list("installation", "event__source", "part").annotate(n=Count("pk"))
    return Counter({(pk, source, at): n for pk, source, at, n in counts})


def _sum_over_sources(counts: Counter[HourlyCountKey]) -> Counter[tuple[int, datetime]]:
    summed: Counter[tuple[int, datetime]] = Counter()
    for (installation, _, hour), count in counts.items():
        summed[installation, hour] += count
    return summed


def list_discrepancies(now: datetime) -> list[Discrepancy]:
    """Return all discrepancies. Call in a transaction with a consistent snapshot."""
    start = first_unpurged_hour(now)
    found = [
        *_missing_events_and_deliveries(start),
        *_deliveries_without_event(),
        *_overstated_attempts(start),
    ]
    counts = Counter(hole.kind for hole in found)
    named = [hole for kind in counts for hole in _of_kind(found, kind)[:MAX_DISCREPANCY_EXAMPLES]]
    more = {
        kind: count - MAX_DISCREPANCY_EXAMPLES
        for kind, count in counts.items()
        if count > MAX_DISCREPANCY_EXAMPLES
    }
    return named + [
        Discrepancy(kind, f"{count:,} more of this kind.") for kind, count in more.items()
    ]


def _of_kind(found: Sequence[Discrepancy], kind: str) -> list[Discrepancy]:
    return [hole for hole in found if hole.kind == kind]


def _missing_events_and_deliveries(start: datetime) -> Iterator[Discrepancy]:
    """Yield missing events, and events that are neither unwanted nor have a delivery."""
    offered, unwanted = _count_offered_and_unwanted(start)
    made, stored = _count_deliveries(start, afterwards=False), _count_stored_events(start)
    names = dict(Installation.objects.values_list("pk", "name"))
    sources = dict(Source.objects.values_list("pk", "name"))
    for (installation, source, at), count in sorted(offered.items()):
        where = f"{sources.get(source, source)}, {at:%Y-%m-%d %H:00}"
        if installation == ALL_ID and count > stored[source, at]:
            text = f"{where}: {count:,} events were accepted, {stored[source, at]:,} are stored."
            yield Discrepancy("event missing", text)
        if installation in names:
            place = (installation, source, at)
            missing = count - unwanted[place] - made[place]
            if missing > 0:
                text = (
                    f"{where}: {missing:,} of {count:,} were not queued for {names[installation]}."
                )
                yield Discrepancy("event without a delivery", text)


def _count_stored_events(start: datetime) -> Counter[tuple[int, datetime]]:
    rows = filter_time_range(Event.objects.order_by(), "received_at", since=start, until=None)
    hours = rows.annotate(part=TruncHour("received_at", tzinfo=UTC))
    counts = hours.values_list("source", "part").annotate(n=Count("pk"))
    return Counter({(source, at): n for source, at, n in counts})


def _deliveries_without_event() -> Iterator[Discrepancy]:
    event = Event.objects.filter(pk=OuterRef("event_id"))
    rows = Delivery.objects.filter(~Exists(event)).order_by("pk")
    for pk, event_id in rows.values_list("pk", "event_id").iterator(chunk_size=10_000):
        yield Discrepancy(
            "delivery without an event", f"Delivery {pk} refers to missing event {event_id}."
        )


def _overstated_attempts(start: datetime) -> Iterator[Discrepancy]:
    """Yield attempts whose item count is higher than the sum of their deliveries' items."""
    rows = Attempt.objects.filter(pk__gte=first_id(Attempt, "started_at", start), is_test=False)
    counted = rows.annotate(n=Coalesce(Sum("carried__items"), 0)).filter(n__lt=F("items"))
    for pk, items, n in counted.order_by("pk").values_list("pk", "items", "n"):
        text = f"Attempt {pk} claims {items:,} items; {n:,} are recorded."
        yield Discrepancy("attempt that claims too much", text)
