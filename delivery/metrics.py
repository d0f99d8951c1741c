"""Metrics: what was accepted, delivered and refused, by minute, hour and day.

Nothing is counted apart from what it counts: a request appends its Tally and a settled batch its
Settlement in the transaction in which they happen, one row each. Every few seconds these are rolled
up into Metric, one row for each step of time, installation and source, and taken away. What is read
is both together, in one statement, so it is exact at any time.

A delivery counts where it happens: one that failed at noon and was delivered again in the evening
is a failed one at noon and a delivered one in the evening.
"""

import time
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec
from django.db import transaction
from django.db.models import DateTimeField, OuterRef, Subquery, Value

from delivery import bulk
from delivery.latency import PERCENTILES, bucket, percentile
from delivery.ledger import ACCEPTED, OFFERED, UNWANTED, remember
from delivery.models import Delivery, Heartbeat, Lane, Metric, Settlement, Tally
from delivery.state import MOST, BoundedCount

Step = Metric.Step

KEPT = {Step.MINUTE: timedelta(days=2), Step.HOUR: timedelta(days=90), Step.DAY: timedelta(3_660)}
MOST_POINTS = 1_500  # of one series
HEAD = 1_000  # deliveries at the head of a lane's queue among which the oldest is looked for
BATCH = 5_000  # rows rolled up in one transaction
BUDGET = 5.0  # seconds a roll-up may take; the next sweep goes on
ALL = 0  # instead of an installation or a source: what belongs to no single one
LOCK = "metrics"  # the heartbeat of the roll-up, and its lock

FLOWS = (
    "accepted", "unwanted", "delivered", "filtered", "failed", "cancelled", "attempts", "refused",
)  # fmt: skip
GAUGES = ("queued", "oldest_queued_s")
PLACE = ("step", "at", "installation", "source")


class Sums(msgspec.Struct, omit_defaults=True):
    """What happened in some time. As in Metric; `latency` counts the buckets of latency.py."""

    accepted: int = 0
    unwanted: int = 0
    delivered: int = 0
    filtered: int = 0
    failed: int = 0
    cancelled: int = 0
    attempts: int = 0
    refused: int = 0
    queued: int = 0
    oldest_queued_s: float = 0.0
    latency: dict[int, int] = {}

    def add(self, other: "Sums") -> None:
        """Add what happened, and keep the highest of what was seen."""
        # written out: a page adds up thousands, and getattr() takes three times as long
        self.accepted += other.accepted
        self.unwanted += other.unwanted
        self.delivered += other.delivered
        self.filtered += other.filtered
        self.failed += other.failed
        self.cancelled += other.cancelled
        self.attempts += other.attempts
        self.refused += other.refused
        self.queued = max(self.queued, other.queued)
        self.oldest_queued_s = max(self.oldest_queued_s, other.oldest_queued_s)
        for number, count in other.latency.items():
            self.latency[number] = self.latency.get(number, 0) + count


Entry = tuple[datetime, int, int, Sums]  # when, installation, source, what


# --- writing down --------------------------------------------------------------------------------


def note(installation_id: int, settled: Iterable[Any], outcomes: Sequence[str], at: datetime):
    """Append what a batch settled. To be called in the transaction that settles it.

    settled   as lanes.Settled; what stays queued counts for nothing yet
    outcomes  of the attempts that were made
    """
    groups: dict[tuple[int, str, datetime], int] = defaultdict(int)
    for each in settled:
        if each.state != Delivery.State.QUEUED:
            groups[each.source_id, each.state, each.queued_at] += 1
    by_source: dict[int, Sums] = defaultdict(Sums)
    for (source, state, queued_at), count in groups.items():
        sums = by_source[source]
        setattr(sums, state, getattr(sums, state) + count)
        if state == Delivery.State.DELIVERED:
            number = bucket((at - queued_at).total_seconds())
            sums.latency[number] = sums.latency.get(number, 0) + count
    refused = sum(outcome != "accepted" for outcome in outcomes)
    append(installation_id, by_source, at, attempts=len(outcomes), refused=refused)


def append(
    installation_id: int,
    by_source: Mapping[int, Sums],
    at: datetime,
    *,
    attempts: int = 0,
    refused: int = 0,
) -> None:
    """Append what became of an installation's deliveries, in the transaction in which it did."""
    if by_source or attempts:
        text = msgspec.json.encode(by_source).decode()
        names = ("installation_id", "at", "attempts", "refused", "by_source")
        bulk.insert(Settlement, names, [(installation_id, at, attempts, refused, text)])


# --- rows, rolled up or not ----------------------------------------------------------------------

ROLLED, TALLY, SETTLEMENT = range(3)


def _columns(kind: int, installation: Any, source: Any, text: str, **numbers: str) -> list[Any]:
    """Return the columns that rows of all three tables are read as; `_entries` takes them."""
    counts = (numbers.get(name, Value(0)) for name in (*FLOWS, *GAUGES))
    return [Value(kind), "at", installation, source, text, *counts]


OF_METRIC = _columns(
    ROLLED, "installation", "source", "latency", **{name: name for name in (*FLOWS, *GAUGES)}
)
OF_TALLY = _columns(TALLY, Value(ALL), "source_id", "unwanted", accepted="events")
OF_SETTLEMENT = _columns(
    SETTLEMENT, "installation_id", Value(ALL), "by_source", attempts="attempts", refused="refused"
)


def _entries(
    kind: int, at: datetime, installation: int, source: int, text: str, *numbers: Any
) -> Iterator[Entry]:
    """Yield what a row says, part by part."""
    sums = Sums(*numbers)
    if kind == ROLLED:
        sums.latency = msgspec.json.decode(text, type=dict[int, int])
    yield at, installation, source, sums
    if kind == TALLY:
        for each, unwanted in msgspec.json.decode(text, type=dict[int, int]).items():
            yield at, each, source, Sums(accepted=sums.accepted, unwanted=unwanted)
    if kind == SETTLEMENT:
        for each, part in msgspec.json.decode(text, type=dict[int, Sums]).items():
            yield at, installation, each, part


# --- rolling up ----------------------------------------------------------------------------------


def is_apart() -> bool:
    """Say whether there are tallies or settlements to be rolled up."""
    return Settlement.objects.exists() or Tally.objects.exists()


def roll_up(now: datetime, *, budget: float = BUDGET, gauges: bool = True) -> int:
    """Move tallies and settlements into metrics; return how many rows were moved.

    gauges  also note how long the queues are, and forget what is old
    """
    until, moved = time.monotonic() + budget, 0
    waiting = queues().items() if gauges else ()
    seen = [(now, pk, ALL, queue.as_sums(now)) for pk, queue in waiting]
    while count := _move(seen, now):
        moved, seen = moved + count, []
        if time.monotonic() > until:
            break
    for step, age in KEPT.items() if gauges else ():
        Metric.objects.filter(step=step, at__lt=now - age)._raw_delete("default")
    return moved


def _move(seen: list[Entry], now: datetime) -> int:
    """Move the oldest rows, and write what else was seen; return how many were moved."""
    Heartbeat.objects.get_or_create(name=LOCK, defaults={"at": now})
    with transaction.atomic():
        Heartbeat.objects.filter(name=LOCK).update(at=now)  # whoever else rolls up, waits here
        tallies = list(Tally.objects.order_by("pk").values_list("pk", *OF_TALLY)[:BATCH])
        batches = list(Settlement.objects.order_by("pk").values_list("pk", *OF_SETTLEMENT)[:BATCH])
        came_in = [entry for _, *row in tallies for entry in _entries(*row)]
        remember(_in_the_books(came_in))
        _write([*seen, *came_in, *(entry for _, *row in batches for entry in _entries(*row))])
        for model, rows in ((Tally, tallies), (Settlement, batches)):
            model.objects.filter(pk__in=[pk for pk, *_ in rows])._raw_delete("default")
    return len(tallies) + len(batches)


def _in_the_books(came_in: Iterable[Entry]) -> Counter[str]:
    """Return what the ledger has to remember of tallies that go."""
    past: Counter[str] = Counter()
    for _, installation, _, sums in came_in:
        if installation == ALL:
            past[ACCEPTED] += sums.accepted
        else:
            past[f"{OFFERED}{installation}"] += sums.accepted
            past[f"{UNWANTED}{installation}"] += sums.unwanted
    return past


def _write(entries: Iterable[Entry]) -> None:
    """Add to the metrics of every step. To be called by one process at a time."""
    new: dict[tuple[Any, ...], Sums] = defaultdict(Sums)
    for at, installation, source, sums in entries:
        for step in Step:
            new[step, floor(at, step), installation, source].add(sums)
    if not new:
        return
    among = {f"{name}__in": {place[n] for place in new} for n, name in enumerate(PLACE)}
    for step, *row in Metric.objects.filter(**among).values_list("step", *OF_METRIC):
        for *place, sums in _entries(*row):
            if (step, *place) in new:
                new[step, *place].add(sums)
    Metric.objects.bulk_create(
        (_metric(place, sums) for place, sums in new.items()),
        update_conflicts=True,
        unique_fields=PLACE,
        update_fields=[*FLOWS, *GAUGES, "latency"],
        batch_size=1_000,
    )


def _metric(place: tuple[Any, ...], sums: Sums) -> Metric:
    values = {name: getattr(sums, name) for name in (*FLOWS, *GAUGES)}
    latency = msgspec.json.encode(sums.latency).decode()
    return Metric(**dict(zip(PLACE, place, strict=True)), **values, latency=latency)


# --- queues --------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Queue:
    """What waits for one installation now.

    queued            up to MOST a lane; beyond that, MOST + 1
    oldest_queued_at  of the deliveries at the head, or None when nothing waits
    """

    queued: int = 0
    oldest_queued_at: datetime | None = None

    def oldest_queued_s(self, now: datetime) -> float:
        at = self.oldest_queued_at
        return max((now - at).total_seconds(), 0.0) if at else 0.0

    def as_sums(self, now: datetime) -> Sums:
        return Sums(queued=self.queued, oldest_queued_s=self.oldest_queued_s(now))


def queues(installations: Iterable[int] | None = None) -> dict[int, Queue]:
    """Return the queue of each installation that has any."""
    waiting = Delivery.objects.filter(lane=OuterRef("pk"), state=Delivery.State.QUEUED)
    # in the order of the queue: by age it would have to be read whole
    head = waiting.order_by("pk").values("queued_at")[:HEAD]
    rows = Lane.objects.annotate(
        queued=BoundedCount(waiting.values("pk")[: MOST + 1]), oldest=Oldest(head)
    )
    if installations is not None:
        rows = rows.filter(installation__in=list(installations))
    found: dict[int, Queue] = {}
    for pk, queued, oldest in rows.values_list("installation", "queued", "oldest"):
        if queued:
            was = found.get(pk, Queue())
            ages = [at for at in (was.oldest_queued_at, oldest) if at]
            found[pk] = Queue(was.queued + queued, min(ages))
    return found


def queue_of_all() -> Queue:
    """Return what waits for all installations together."""
    found = list(queues().values())
    oldest = min((each.oldest_queued_at for each in found if each.oldest_queued_at), default=None)
    return Queue(sum(each.queued for each in found), oldest)


class Oldest(Subquery):
    """The earliest `queued_at` of a sliced query."""

    template = "(SELECT MIN(queued_at) FROM (%(subquery)s) AS head)"
    output_field = DateTimeField()


# --- reading -------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class Point:
    """What happened in one step of time that begins `at`, or in a whole range.

    accepted          events; of an installation: those offered to it
    unwanted          of these: its blueprint has no use for them, they made no delivery
    attempts, refused   requests to the vendor, and those it did not accept; 0 for one source
    queued, oldest_queued_s   the most that was seen, once a minute; 0 for one source
    p50_ms …          from queued to delivered, to within latency.ERROR; None: nothing delivered
    """

    at: datetime
    accepted: int
    unwanted: int
    delivered: int
    filtered: int
    failed: int
    cancelled: int
    attempts: int
    refused: int
    queued: int
    oldest_queued_s: float
    p50_ms: float | None
    p95_ms: float | None
    p99_ms: float | None


@dataclass(frozen=True, slots=True)
class Series:
    """A point for each step of [since, until), none left out, and one for the whole."""

    step: Step
    since: datetime
    until: datetime
    points: list[Point]
    total: Point


def series(
    *,
    since: datetime,
    until: datetime,
    step: Step,
    installation: int | None = None,
    source: int | None = None,
) -> Series:
    """Return what happened from `since` to `until`, both widened to whole steps.

    Of one installation, of one source, of what both have to do with one another, or of all.
    Raises TooFine.
    """
    span = _Span(since, until, step)
    entries = _read(span, installation, source)
    return span.series(entries, of_one=installation is not None)


def of_each_installation(*, since: datetime, until: datetime, step: Step) -> dict[int, Series]:
    """Return the series of each installation that has any, in one query. Raises TooFine."""
    span = _Span(since, until, step)
    return _each_installation(span, _read(span))


def of_all_and_each(
    *, since: datetime, until: datetime, step: Step
) -> tuple[Series, dict[int, Series]]:
    """Return the series of all installations together, and of each that has any, in one query.

    Raises TooFine.
    """
    span = _Span(since, until, step)
    entries = list(_read(span))
    return span.series(entries, of_one=False), _each_installation(span, entries)


def _each_installation(span: "_Span", entries: Iterable[Entry]) -> dict[int, Series]:
    each: dict[int, list[Entry]] = defaultdict(list)
    for entry in entries:
        each[entry[1]].append(entry)
    each.pop(ALL, None)
    return {pk: span.series(own, of_one=True) for pk, own in each.items()}


def of_each_source(*, since: datetime, until: datetime, step: Step) -> dict[int, Series]:
    """Return the series of each source that has any, in one query. Raises TooFine."""
    span = _Span(since, until, step)
    each: dict[int, list[Entry]] = defaultdict(list)
    for entry in _read(span):
        each[entry[2]].append(entry)
    each.pop(ALL, None)
    return {pk: span.series(entries, of_one=False) for pk, entries in each.items()}


class TooFine(ValueError):
    """So long a time is not kept, or not answered, in steps so short; the text says what is."""


class _Span:
    """A range of whole steps. Raises TooFine."""

    def __init__(self, since: datetime, until: datetime, step: Step):
        self.step = step
        self.length = timedelta(seconds=step)
        self.since, self.until = floor(since, step), _ceiling(until, step)
        count = (self.until - self.since) // self.length
        if count > MOST_POINTS:
            raise TooFine(
                f"That is {count:,} points, and {MOST_POINTS:,} are the most: ask for longer steps."
            )
        if self.since < datetime.now(UTC) - KEPT[step] - self.length:
            raise TooFine(
                f"By {step.label.lower()}, {KEPT[step].days} days are kept: ask for longer steps."
            )

    def series(self, entries: Iterable[Entry], *, of_one: bool) -> Series:
        sums: dict[datetime, Sums] = defaultdict(Sums)
        for at, installation, _, each in entries:
            _count(sums[floor(at, self.step)], each, of_one or installation == ALL)
        total = Sums()
        for each in sums.values():
            total.add(each)
        moments = self._moments()
        points = [_point(at, sums.get(at, NOTHING)) for at in moments]
        return Series(self.step, self.since, self.until, points, _point(self.since, total))

    def _moments(self) -> Iterator[datetime]:
        at = self.since
        while at < self.until:
            yield at
            at += self.length


NOTHING = Sums()


def _count(sums: Sums, each: Sums, offered: bool) -> None:
    """Add what one installation did to what all did: their queues add up.

    offered   whether what it was offered is what was accepted: for all of them it would be counted
              once for each
    """
    queued = sums.queued + each.queued
    accepted = sums.accepted + (each.accepted if offered else 0)
    sums.add(each)
    sums.queued, sums.accepted = queued, accepted


def _point(at: datetime, sums: Sums) -> Point:
    counts = {name: getattr(sums, name) for name in (*FLOWS, *GAUGES)}
    times = {f"p{percent}_ms": percentile(sums.latency, percent) for percent in PERCENTILES}
    return Point(at=at, **counts, **times)


def _read(
    span: _Span, installation: int | None = None, source: int | None = None
) -> Iterator[Entry]:
    """Yield what is asked for, of all three tables in one statement: rows may move meanwhile."""
    during = {"at__gte": span.since, "at__lt": span.until}
    rolled = Metric.objects.filter(step=span.step, **during)
    tallies = Tally.objects.filter(**during)
    batches = Settlement.objects.filter(**during)
    if installation is not None:
        rolled, batches = (
            rolled.filter(installation=installation),
            batches.filter(installation=installation),
        )
    if source is not None:
        rolled, tallies = rolled.filter(source=source), tallies.filter(source=source)
    rows = rolled.values_list(*OF_METRIC).union(
        tallies.values_list(*OF_TALLY), batches.values_list(*OF_SETTLEMENT), all=True
    )
    for row in rows:
        for entry in _entries(*row):
            if installation in (None, entry[1]) and source in (None, entry[2]):
                yield entry


def floor(moment: datetime, step: int) -> datetime:
    """Return the beginning of the step that a moment lies in. Days are those of UTC."""
    seconds = moment.timestamp()
    return datetime.fromtimestamp(seconds - seconds % step, UTC)


def _ceiling(moment: datetime, step: int) -> datetime:
    begun = floor(moment, step)
    return begun if begun == moment else begun + timedelta(seconds=step)
