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
from functools import cache
from typing import Any

import msgspec
from django.db import connection, transaction

from delivery import bulk
from delivery.accounting.histogram import PERCENTILES, bucket, percentile
from delivery.accounting.ledger import ACCEPTED, OFFERED, UNWANTED, remember
from delivery.models import Delivery, Heartbeat, Metric, Settlement, Tally
from delivery.status.installations import MOST

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
COUNTS = (*FLOWS, *GAUGES)
OF_METRIC = ("at", "installation", "source", "latency", *COUNTS)


def _columns(kind: int, installation: str, source: str, text: str, **counts: str) -> str:
    """Return the columns, in SQL, that rows of all three tables are read as; `_entries` takes
    them."""
    numbers = (counts.get(name, "0") for name in COUNTS)
    return ", ".join((str(kind), "at", installation, source, text, *numbers))


OF_TALLY = _columns(TALLY, str(ALL), "source_id", "unwanted", accepted="events")
OF_SETTLEMENT = _columns(
    SETTLEMENT, "installation_id", str(ALL), "by_source", attempts="attempts", refused="refused"
)


def _entries(
    kind: int, at: Any, installation: int, source: int, text: str | None, *numbers: Any
) -> Iterator[Entry]:
    """Yield what a row says, part by part.

    text  JSON: of a tally and a settlement their parts, of metrics the latencies of each
    """
    at, sums = bulk.moment(at), Sums(*numbers)
    if kind == ROLLED:
        sums.latency = _together(msgspec.json.decode(f"[{text or ''}]", type=list[dict[int, int]]))
    yield at, installation, source, sums
    if kind == TALLY:
        for each, unwanted in msgspec.json.decode(text or "", type=dict[int, int]).items():
            yield at, each, source, Sums(accepted=sums.accepted, unwanted=unwanted)
    if kind == SETTLEMENT:
        for each, part in msgspec.json.decode(text or "", type=dict[int, Sums]).items():
            yield at, installation, each, part


def _together(latencies: Sequence[dict[int, int]]) -> dict[int, int]:
    if len(latencies) == 1:
        return latencies[0]
    whole: dict[int, int] = {}
    for each in latencies:
        for number, count in each.items():
            whole[number] = whole.get(number, 0) + count
    return whole


# --- rolling up ----------------------------------------------------------------------------------


OLDEST_TALLIES = bulk.Statement(
    f"SELECT id, {OF_TALLY} FROM delivery_tally ORDER BY id LIMIT {BATCH}"  # noqa: S608
)
OLDEST_SETTLEMENTS = bulk.Statement(
    f"SELECT id, {OF_SETTLEMENT} FROM delivery_settlement ORDER BY id LIMIT {BATCH}"  # noqa: S608
)


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
        tallies, batches = bulk.rows_of(OLDEST_TALLIES), bulk.rows_of(OLDEST_SETTLEMENTS)
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
        for *place, sums in _entries(ROLLED, *row):
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
    among = None if installations is None else list(installations)
    if among == []:
        return {}
    found: dict[int, Queue] = {}
    for pk, queued, head in bulk.rows_of(
        bulk.Statement(_of_lanes(among and len(among)), among or ())
    ):
        if queued:
            was = found.get(pk, Queue())
            ages = [at for at in (was.oldest_queued_at, bulk.moment(head)) if at]
            found[pk] = Queue(was.queued + queued, min(ages))
    return found


def _of_lanes(count: int | None) -> str:
    """Return the SQL that counts each lane's queue: of so many installations, or of all."""
    waiting = (
        f"FROM delivery_delivery WHERE lane_id = lane.id AND state = '{Delivery.State.QUEUED}'"
    )
    among = f"WHERE installation_id IN ({', '.join(['%s'] * count)})" if count else ""
    # the head, in the order of the queue: by age it would have to be read whole
    return (
        f"SELECT installation_id, "  # noqa: S608
        f"(SELECT COUNT(*) FROM (SELECT id {waiting} LIMIT {MOST + 1}) AS waiting), "
        f"(SELECT MIN(queued_at) FROM "
        f"(SELECT queued_at {waiting} ORDER BY id LIMIT {HEAD}) AS head) "
        f"FROM delivery_lane AS lane {among}"
    )


def queue_of_all() -> Queue:
    """Return what waits for all installations together."""
    found = list(queues().values())
    oldest = min((each.oldest_queued_at for each in found if each.oldest_queued_at), default=None)
    return Queue(sum(each.queued for each in found), oldest)


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
    return _each_installation(span, _read(span, apart="installation"))


def of_all_and_each(
    *, since: datetime, until: datetime, step: Step
) -> tuple[Series, dict[int, Series]]:
    """Return the series of all installations together, and of each that has any, in one query.

    Raises TooFine.
    """
    span = _Span(since, until, step)
    entries = list(_read(span, apart="installation"))
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
    for entry in _read(span, apart="source"):
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
    span: _Span, installation: int | None = None, source: int | None = None, *, apart: str = ""
) -> Iterator[Entry]:
    """Yield what is asked for, of all three tables in one statement: rows may move meanwhile.

    apart  "installation" or "source", if those are to be told apart. Where they are not, metrics
           come added up, and -1 stands for all installations together: to read the rows one by one
           and add them takes three times as long
    """
    during = [bulk.plain(span.since), bulk.plain(span.until)]
    one, other = ([pk] if pk is not None else [] for pk in (installation, source))
    sql = _statement(connection.vendor, bool(one), bool(other), apart)
    values = [int(span.step), *during, *one, *other, *during, *other, *during, *one]
    for row in bulk.rows_of(bulk.Statement(sql, values)):
        for entry in _entries(*row):
            if installation in (None, entry[1]) and source in (None, entry[2]):
                yield entry


@cache
def _statement(vendor: str, of_one: bool, of_source: bool, apart: str) -> str:
    """Return the SQL of `_read`. Django takes longer to write it than the database to run it."""
    every = f"CASE installation WHEN {ALL} THEN {ALL} ELSE -1 END"
    join = "string_agg" if vendor == "postgresql" else "group_concat"
    sums = {name: f"CAST(SUM({name}) AS bigint)" for name in COUNTS}
    rolled = _columns(
        ROLLED,
        "installation" if of_one or apart == "installation" else every,
        "source" if of_source or apart == "source" else str(ALL),
        f"{join}(NULLIF(latency, '{{}}'), ',')",
        **sums | {"oldest_queued_s": "MAX(oldest_queued_s)"},
    )
    during = "at >= %s AND at < %s"
    one, other = " AND {} = %s" * of_one, " AND {} = %s" * of_source
    return (
        f"SELECT {rolled} FROM delivery_metric WHERE step = %s AND {during}"  # noqa: S608
        f"{one.format('installation')}{other.format('source')} GROUP BY 2, 3, 4 "
        f"UNION ALL SELECT {OF_TALLY} FROM delivery_tally WHERE {during}"
        f"{other.format('source_id')} "
        f"UNION ALL SELECT {OF_SETTLEMENT} FROM delivery_settlement WHERE {during}"
        f"{one.format('installation_id')}"
    )


def floor(moment: datetime, step: int) -> datetime:
    """Return the beginning of the step that a moment lies in. Days are those of UTC."""
    seconds = moment.timestamp()
    return datetime.fromtimestamp(seconds - seconds % step, UTC)


def _ceiling(moment: datetime, step: int) -> datetime:
    begun = floor(moment, step)
    return begun if begun == moment else begun + timedelta(seconds=step)
