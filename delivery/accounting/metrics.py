"""Reads metrics: events, deliveries and attempts by minute, hour and day.

Counts are written in the transaction that causes them: a request appends one Tally row, a settled
batch one Settlement row. Every few seconds these rows are rolled up into Metric, with one row per
time step, installation and source, and deleted. Readers add up both in one statement, so the
metrics are exact at any time.

A delivery counts when its state changes: one that failed at noon and was delivered again in the
evening counts as failed at noon and as delivered in the evening.
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
    ALL_ID,
    COUNT_FIELDS,
    FLOW_FIELDS,
    GAUGE_FIELDS,
    METRIC_RETENTION,
    METRIC_ROW,
    SETTLEMENT_COLUMNS_SQL,
    TALLY_COLUMNS_SQL,
    MetricCounts,
    MetricEntry,
    MetricStep,
    ceil_to_step,
    decode_entries,
    floor_to_step,
    select_columns,
)

MAX_SERIES_POINTS = 1_500  # per series


@dataclass(frozen=True, slots=True, kw_only=True)
class MetricPoint:
    """The counts of one time step that starts `at`, or of a whole range.

    accepted                  events; for an installation, the events offered to it
    unwanted                  of these, the events without a delivery because no trigger fired
    attempts, refused         requests to the vendor, and those it did not accept; 0 for a source
    queued, oldest_queued_s   the maximum of samples taken once a minute; 0 for a source
    p50_ms …                  time from queued to delivered, to within PERCENTILE_ERROR; None when
                              nothing was delivered
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
class MetricSeries:
    """One point for each step of [since, until), including empty steps, and the total."""

    step: MetricStep
    since: datetime
    until: datetime
    points: list[MetricPoint]
    total: MetricPoint


def read_series(
    *,
    since: datetime,
    until: datetime,
    step: MetricStep,
    installation: int | None = None,
    source: int | None = None,
) -> MetricSeries:
    """Return the series from `since` to `until`, widened to whole steps.

    Restricted to one installation, to one source, to both, or unrestricted. Raises StepTooShort.
    """
    span = _StepRange(since, until, step)
    entries = _read_entries(span, installation, source)
    return span.series(entries, of_one=installation is not None)


def read_series_by_installation(
    *, since: datetime, until: datetime, step: MetricStep
) -> dict[int, MetricSeries]:
    """Return the series of each installation with counts, in one query. Raises StepTooShort."""
    span = _StepRange(since, until, step)
    return _series_by_installation(span, _read_entries(span, group_by="installation"))


def read_series_of_all_and_each(
    *, since: datetime, until: datetime, step: MetricStep
) -> tuple[MetricSeries, dict[int, MetricSeries]]:
    """Return the series of all installations together, and of each with counts, in one query.

    Raises StepTooShort.
    """
    span = _StepRange(since, until, step)
    entries = list(_read_entries(span, group_by="installation"))
    return span.series(entries, of_one=False), _series_by_installation(span, entries)


def _series_by_installation(
    span: "_StepRange", entries: Iterable[MetricEntry]
) -> dict[int, MetricSeries]:
    each: dict[int, list[MetricEntry]] = defaultdict(list)
    for entry in entries:
        each[entry[1]].append(entry)
    each.pop(ALL_ID, None)
    return {pk: span.series(own, of_one=True) for pk, own in each.items()}


def read_series_by_source(
    *, since: datetime, until: datetime, step: MetricStep
) -> dict[int, MetricSeries]:
    """Return the series of each source with counts, in one query. Raises StepTooShort."""
    span = _StepRange(since, until, step)
    each: dict[int, list[MetricEntry]] = defaultdict(list)
    for entry in _read_entries(span, group_by="source"):
        each[entry[2]].append(entry)
    each.pop(ALL_ID, None)
    return {pk: span.series(entries, of_one=False) for pk, entries in each.items()}


class StepTooShort(ValueError):
    """The range is too long for the step, or older than the step's retention."""


class _StepRange:
    """A range of whole steps. Raises StepTooShort."""

    def __init__(self, since: datetime, until: datetime, step: MetricStep):
        self.step = step
        self.length = timedelta(seconds=step)
        self.since, self.until = floor_to_step(since, step), ceil_to_step(until, step)
        count = (self.until - self.since) // self.length
        if count > MAX_SERIES_POINTS:
            raise StepTooShort(
                f"That is {count:,} points; at most {MAX_SERIES_POINTS:,} fit. Use a longer step."
            )
        if self.since < datetime.now(UTC) - METRIC_RETENTION[step] - self.length:
            raise StepTooShort(
                f"Metrics by {step.label.lower()} are kept for {METRIC_RETENTION[step].days} days. "
                "Use a longer step."
            )

    def series(self, entries: Iterable[MetricEntry], *, of_one: bool) -> MetricSeries:
        sums: dict[datetime, MetricCounts] = defaultdict(MetricCounts)
        for at, installation, _, each in entries:
            _add_counts(sums[floor_to_step(at, self.step)], each, of_one or installation == ALL_ID)
        total = MetricCounts()
        for each in sums.values():
            total.add(each)
        moments = self._moments()
        points = [_build_point(at, sums.get(at, NO_COUNTS)) for at in moments]
        return MetricSeries(
            self.step, self.since, self.until, points, _build_point(self.since, total)
        )

    def _moments(self) -> Iterator[datetime]:
        at = self.since
        while at < self.until:
            yield at
            at += self.length


NO_COUNTS = MetricCounts()


def _add_counts(sums: MetricCounts, each: MetricCounts, offered: bool) -> None:
    """Add the counts of one installation to the sums; unlike over time, queues add up.

    offered   whether to count the events offered to it as accepted; in sums over installations,
              each event would be counted once per installation
    """
    queued = sums.queued + each.queued
    accepted = sums.accepted + (each.accepted if offered else 0)
    sums.add(each)
    sums.queued, sums.accepted = queued, accepted


def _build_point(at: datetime, sums: MetricCounts) -> MetricPoint:
    figures: dict[str, Any] = {name: getattr(sums, name) for name in (*FLOW_FIELDS, *GAUGE_FIELDS)}
    for percent in PERCENTILES:
        figures[f"p{percent}_ms"] = percentile(sums.latency, percent)
    return MetricPoint(at=at, **figures)


def _read_entries(
    span: _StepRange,
    installation: int | None = None,
    source: int | None = None,
    *,
    group_by: str = "",
) -> Iterator[MetricEntry]:
    """Yield the entries of all three tables, in one statement because the roll-up moves rows.

    group_by  "installation" or "source", to keep them apart. Otherwise the database adds the
              metrics up, with -1 for all installations together; adding the rows in Python takes
              three times as long
    """
    during = [bulk.to_database_value(span.since), bulk.to_database_value(span.until)]
    one, other = ([pk] if pk is not None else [] for pk in (installation, source))
    sql = _select_sql(connection.vendor, bool(one), bool(other), group_by)
    values = [int(span.step), *during, *one, *other, *during, *other, *during, *one]
    for row in bulk.fetch_rows(bulk.Statement(sql, values)):
        for entry in decode_entries(*row):
            if installation in (None, entry[1]) and source in (None, entry[2]):
                yield entry


@cache
def _select_sql(vendor: str, of_one: bool, of_source: bool, group_by: str) -> str:
    """Return the SQL of `_read_entries`; Django would take longer to build it than it runs."""
    every = f"CASE installation WHEN {ALL_ID} THEN {ALL_ID} ELSE -1 END"
    join = "string_agg" if vendor == "postgresql" else "group_concat"
    sums = {name: f"CAST(SUM({name}) AS bigint)" for name in COUNT_FIELDS}
    rolled = select_columns(
        METRIC_ROW,
        "installation" if of_one or group_by == "installation" else every,
        "source" if of_source or group_by == "source" else str(ALL_ID),
        f"{join}(NULLIF(latency, '{{}}'), ',')",
        **sums | {"oldest_queued_s": "MAX(oldest_queued_s)"},
    )
    during = "at >= %s AND at < %s"
    one, other = " AND {} = %s" * of_one, " AND {} = %s" * of_source
    return (
        f"SELECT {rolled} FROM delivery_metric WHERE step = %s AND {during}"  # noqa: S608
        f"{one.format('installation')}{other.format('source')} GROUP BY 2, 3, 4 "
        f"UNION ALL SELECT {TALLY_COLUMNS_SQL} FROM delivery_tally WHERE {during}"
        f"{other.format('source_id')} "
        f"UNION ALL SELECT {SETTLEMENT_COLUMNS_SQL} FROM delivery_settlement WHERE {during}"
        f"{one.format('installation_id')}"
    )
