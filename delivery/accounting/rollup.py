"""Rolls tallies and settlements up into metrics by minute, hour and day."""

import time
from collections import Counter, defaultdict
from collections.abc import Iterable
from datetime import datetime
from typing import Any

import msgspec
from django.db import transaction

from delivery import bulk
from delivery.accounting.ledger import ACCEPTED, OFFERED, UNWANTED, remember
from delivery.accounting.queues import queues
from delivery.accounting.record import (
    ALL,
    FLOWS,
    GAUGES,
    KEPT,
    OF_METRIC,
    OF_SETTLEMENT,
    OF_TALLY,
    PLACE,
    ROLLED,
    Entry,
    Step,
    Sums,
    entries_from,
    floor,
)
from delivery.models import Heartbeat, Metric, Settlement, Tally

BATCH = 5_000  # rows rolled up in one transaction

BUDGET = 5.0  # seconds a roll-up may take; the next sweep goes on

LOCK = "metrics"  # the heartbeat of the roll-up, and its lock

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
        came_in = [entry for _, *row in tallies for entry in entries_from(*row)]
        remember(_in_the_books(came_in))
        _write([*seen, *came_in, *(entry for _, *row in batches for entry in entries_from(*row))])
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
        for *place, sums in entries_from(ROLLED, *row):
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
