"""Reads the counts since the beginning, for monitoring.

The days of Metric are kept for ten years, so their sum counts everything. It grows only, unlike the
ledger's states: a delivery that failed and was then delivered again counts as both.
"""

from collections import defaultdict
from dataclasses import dataclass

import msgspec

from delivery import bulk
from delivery.accounting.record import (
    ALL_ID,
    FLOW_FIELDS,
    METRIC_ROW,
    SETTLEMENT_ROW,
    TALLY_ROW,
    MetricCounts,
    MetricStep,
)


@dataclass(frozen=True, slots=True)
class Totals:
    """accepted       events, of all sources
    by_installation  the counts of each installation; its `accepted` are the events offered to it
    """

    accepted: int
    by_installation: dict[int, MetricCounts]


def _sums(**columns: str) -> str:
    return ", ".join(f"CAST(SUM({columns.get(name, '0')}) AS bigint)" for name in FLOW_FIELDS)


# One statement, because the roll-up moves rows from tallies and settlements to metrics. Equal texts
# are one row: without a roll-up, which needs a cluster, there may be millions of tallies.
TOTALS = bulk.Statement(
    f"SELECT {METRIC_ROW}, installation, '', COUNT(*), "  # noqa: S608
    f"{_sums(**{name: name for name in FLOW_FIELDS})} "
    f"FROM delivery_metric WHERE step = {int(MetricStep.DAY)} GROUP BY installation "
    f"UNION ALL SELECT {TALLY_ROW}, {ALL_ID}, unwanted, COUNT(*), {_sums(accepted='events')} "
    "FROM delivery_tally GROUP BY unwanted "
    f"UNION ALL SELECT {SETTLEMENT_ROW}, installation_id, by_source, COUNT(*), "
    f"{_sums(attempts='attempts', refused='refused')} "
    "FROM delivery_settlement GROUP BY installation_id, by_source"
)


def read_totals() -> Totals:
    """Return all counts since the beginning, without reading the log."""
    sums: dict[int, MetricCounts] = defaultdict(MetricCounts)
    for kind, installation, text, rows, *counts in bulk.fetch_rows(TOTALS):
        flow = MetricCounts(*counts)
        sums[installation].add(flow)
        if kind == TALLY_ROW:
            for pk, unwanted in msgspec.json.decode(text, type=dict[int, int]).items():
                sums[pk].add(MetricCounts(accepted=flow.accepted, unwanted=unwanted * rows))
        if kind == SETTLEMENT_ROW:
            for part in msgspec.json.decode(text, type=dict[int, MetricCounts]).values():
                sums[installation].add(_multiply(part, rows))
    accepted = sums.pop(ALL_ID, MetricCounts()).accepted
    return Totals(accepted, dict(sums))


def _multiply(counts: MetricCounts, factor: int) -> MetricCounts:
    return MetricCounts(**{name: getattr(counts, name) * factor for name in FLOW_FIELDS})
