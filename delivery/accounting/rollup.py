"""Rolls tallies and settlements up into metrics by minute, hour and day."""

import time
from collections import Counter, defaultdict
from collections.abc import Iterable
from datetime import datetime
from typing import Any

import msgspec
from django.db import transaction

from delivery import bulk
from delivery.accounting.ledger import PAST_ACCEPTED, PAST_OFFERED, PAST_UNWANTED, add_to_totals
from delivery.accounting.queues import read_queues
from delivery.accounting.record import (
    ALL_ID,
    FLOW_FIELDS,
    GAUGE_FIELDS,
    METRIC_COLUMNS,
    METRIC_KEY_FIELDS,
    METRIC_RETENTION,
    METRIC_ROW,
    SETTLEMENT_COLUMNS_SQL,
    TALLY_COLUMNS_SQL,
    MetricCounts,
    MetricEntry,
    MetricStep,
    decode_entries,
    floor_to_step,
)
from delivery.models import Heartbeat, Metric, Settlement, Tally

ROLLUP_BATCH_ROWS = 5_000  # rows of each table rolled up in one transaction

ROLLUP_BUDGET_SECONDS = 5.0  # seconds a roll-up may take; the next sweep continues

ROLLUP_LOCK = "metrics"  # the heartbeat of the roll-up, and its lock

OLDEST_TALLIES = bulk.Statement(
    f"SELECT id, {TALLY_COLUMNS_SQL} FROM delivery_tally ORDER BY id LIMIT {ROLLUP_BATCH_ROWS}"  # noqa: S608
)

OLDEST_SETTLEMENTS = bulk.Statement(
    f"SELECT id, {SETTLEMENT_COLUMNS_SQL} FROM delivery_settlement "  # noqa: S608
    f"ORDER BY id LIMIT {ROLLUP_BATCH_ROWS}"
)


def needs_rollup() -> bool:
    """Return whether there are tallies or settlements to roll up."""
    return Settlement.objects.exists() or Tally.objects.exists()


def roll_up_metrics(
    now: datetime, *, budget: float = ROLLUP_BUDGET_SECONDS, gauges: bool = True
) -> int:
    """Move tallies and settlements into metrics; return how many rows were moved.

    gauges  whether to record the queue lengths and delete expired metrics as well
    """
    until, moved = time.monotonic() + budget, 0
    waiting = read_queues().items() if gauges else ()
    seen = [(now, pk, ALL_ID, queue.as_sums(now)) for pk, queue in waiting]
    while count := _move_oldest_rows(seen, now):
        moved, seen = moved + count, []
        if time.monotonic() > until:
            break
    for step, age in METRIC_RETENTION.items() if gauges else ():
        Metric.objects.filter(step=step, at__lt=now - age)._raw_delete("default")
    return moved


def _move_oldest_rows(seen: list[MetricEntry], now: datetime) -> int:
    """Move the oldest rows and add the sampled gauges; return how many rows were moved."""
    Heartbeat.objects.get_or_create(name=ROLLUP_LOCK, defaults={"at": now})
    with transaction.atomic():
        Heartbeat.objects.filter(name=ROLLUP_LOCK).update(at=now)  # a concurrent roll-up waits here
        tallies, batches = bulk.fetch_rows(OLDEST_TALLIES), bulk.fetch_rows(OLDEST_SETTLEMENTS)
        came_in = [entry for _, *row in tallies for entry in decode_entries(*row)]
        add_to_totals(_ledger_totals(came_in))
        _add_to_metrics(
            [*seen, *came_in, *(entry for _, *row in batches for entry in decode_entries(*row))]
        )
        for model, rows in ((Tally, tallies), (Settlement, batches)):
            model.objects.filter(pk__in=[pk for pk, *_ in rows])._raw_delete("default")
    return len(tallies) + len(batches)


def _ledger_totals(came_in: Iterable[MetricEntry]) -> Counter[str]:
    """Return the totals that the ledger keeps for deleted tallies."""
    past: Counter[str] = Counter()
    for _, installation, _, sums in came_in:
        if installation == ALL_ID:
            past[PAST_ACCEPTED] += sums.accepted
        else:
            past[f"{PAST_OFFERED}{installation}"] += sums.accepted
            past[f"{PAST_UNWANTED}{installation}"] += sums.unwanted
    return past


def _add_to_metrics(entries: Iterable[MetricEntry]) -> None:
    """Add to the metrics of every step. Only one process may call this at a time."""
    new: dict[tuple[Any, ...], MetricCounts] = defaultdict(MetricCounts)
    for at, installation, source, sums in entries:
        for step in MetricStep:
            new[step, floor_to_step(at, step), installation, source].add(sums)
    if not new:
        return
    among = {f"{name}__in": {place[n] for place in new} for n, name in enumerate(METRIC_KEY_FIELDS)}
    for step, *row in Metric.objects.filter(**among).values_list("step", *METRIC_COLUMNS):
        for *place, sums in decode_entries(METRIC_ROW, *row):
            if (step, *place) in new:
                new[step, *place].add(sums)
    Metric.objects.bulk_create(
        (_build_metric(place, sums) for place, sums in new.items()),
        update_conflicts=True,
        unique_fields=METRIC_KEY_FIELDS,
        update_fields=[*FLOW_FIELDS, *GAUGE_FIELDS, "latency"],
        batch_size=1_000,
    )


def _build_metric(place: tuple[Any, ...], sums: MetricCounts) -> Metric:
    values = {name: getattr(sums, name) for name in (*FLOW_FIELDS, *GAUGE_FIELDS)}
    latency = msgspec.json.encode(sums.latency).decode()
    return Metric(**dict(zip(METRIC_KEY_FIELDS, place, strict=True)), **values, latency=latency)
