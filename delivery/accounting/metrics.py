"""Metrics: what was accepted, delivered and refused, by minute, hour and day.

Nothing is counted apart from what it counts: a request appends its Tally and a settled batch its
Settlement in the transaction in which they happen, one row each. Every few seconds these are rolled
up into Metric, one row for each step of time, installation and source, and taken away. What is read
is both together, in one statement, so it is exact at any time.

A delivery counts where it happens: one that failed at noon and was delivered again in the evening
is a failed one at noon and a delivered one in the evening.
"""

from collections import defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import cache
from typing import Any

from django.db import connection

from delivery import bulk
from delivery.accounting.histogram import PERCENTILES, percentile
from delivery.accounting.record import (
    ALL,
    COUNTS,
    FLOWS,
    GAUGES,
    KEPT,
    OF_SETTLEMENT,
    OF_TALLY,
    ROLLED,
    Entry,
    Step,
    Sums,
    ceiling,
    entries_from,
    floor,
    select_columns,
)

MOST_POINTS = 1_500  # of one series


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
        self.since, self.until = floor(since, step), ceiling(until, step)
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
    figures: dict[str, Any] = {name: getattr(sums, name) for name in (*FLOWS, *GAUGES)}
    for percent in PERCENTILES:
        figures[f"p{percent}_ms"] = percentile(sums.latency, percent)
    return Point(at=at, **figures)


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
        for entry in entries_from(*row):
            if installation in (None, entry[1]) and source in (None, entry[2]):
                yield entry


@cache
def _statement(vendor: str, of_one: bool, of_source: bool, apart: str) -> str:
    """Return the SQL of `_read`. Django takes longer to write it than the database to run it."""
    every = f"CASE installation WHEN {ALL} THEN {ALL} ELSE -1 END"
    join = "string_agg" if vendor == "postgresql" else "group_concat"
    sums = {name: f"CAST(SUM({name}) AS bigint)" for name in COUNTS}
    rolled = select_columns(
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
