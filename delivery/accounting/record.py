"""Records counts in the transaction that causes them, and reads the rows back."""

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec

from delivery import bulk
from delivery.accounting.histogram import latency_bucket
from delivery.models import Delivery, Metric, Settlement

MetricStep = Metric.Step

METRIC_RETENTION = {
    MetricStep.MINUTE: timedelta(days=2),
    MetricStep.HOUR: timedelta(days=90),
    MetricStep.DAY: timedelta(3_660),
}

ALL_ID = 0  # in place of an id, for counts of no single installation or source

FLOW_FIELDS = (
    "accepted", "unwanted", "delivered", "filtered", "failed", "cancelled", "attempts", "refused",
)  # fmt: skip

GAUGE_FIELDS = ("queued", "oldest_queued_s")

METRIC_KEY_FIELDS = ("step", "at", "installation", "source")


class MetricCounts(msgspec.Struct, omit_defaults=True):
    """The counts of a time span, as in Metric; `latency` counts by bucket of histogram.py."""

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

    def add(self, other: "MetricCounts") -> None:
        """Add the flow counts and keep the maximum of the gauges."""
        # Written out, because a page adds up thousands and getattr() takes three times as long.
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


MetricEntry = tuple[datetime, int, int, MetricCounts]  # time, installation, source, counts


def record_settled_batch(
    installation_id: int, settled: Iterable[Any], outcomes: Sequence[str], at: datetime
) -> None:
    """Append the counts of a settled batch. Call in the transaction that settles it.

    settled   delivery results (worker.results.DeliveryResult); those still queued do not count yet
    outcomes  the outcome of each attempt
    """
    groups: dict[tuple[int, str, datetime], int] = defaultdict(int)
    for each in settled:
        if each.state != Delivery.State.QUEUED:
            groups[each.source_id, each.state, each.queued_at] += 1
    by_source: dict[int, MetricCounts] = defaultdict(MetricCounts)
    for (source, state, queued_at), count in groups.items():
        sums = by_source[source]
        setattr(sums, state, getattr(sums, state) + count)
        if state == Delivery.State.DELIVERED:
            number = latency_bucket((at - queued_at).total_seconds())
            sums.latency[number] = sums.latency.get(number, 0) + count
    refused = sum(outcome != "accepted" for outcome in outcomes)
    append_settlement(installation_id, by_source, at, attempts=len(outcomes), refused=refused)


def append_settlement(
    installation_id: int,
    by_source: Mapping[int, MetricCounts],
    at: datetime,
    *,
    attempts: int = 0,
    refused: int = 0,
) -> None:
    """Append the settled counts of an installation. Call in the transaction that settles them."""
    if by_source or attempts:
        text = msgspec.json.encode(by_source).decode()
        names = ("installation_id", "at", "attempts", "refused", "by_source")
        bulk.insert(Settlement, names, [(installation_id, at, attempts, refused, text)])


METRIC_ROW, TALLY_ROW, SETTLEMENT_ROW = range(3)

COUNT_FIELDS = (*FLOW_FIELDS, *GAUGE_FIELDS)

METRIC_COLUMNS = ("at", "installation", "source", "latency", *COUNT_FIELDS)


def select_columns(kind: int, installation: str, source: str, text: str, **counts: str) -> str:
    """Return the SQL columns, common to all three tables, that `decode_entries` takes."""
    numbers = (counts.get(name, "0") for name in COUNT_FIELDS)
    return ", ".join((str(kind), "at", installation, source, text, *numbers))


TALLY_COLUMNS_SQL = select_columns(
    TALLY_ROW, str(ALL_ID), "source_id", "unwanted", accepted="events"
)

SETTLEMENT_COLUMNS_SQL = select_columns(
    SETTLEMENT_ROW,
    "installation_id",
    str(ALL_ID),
    "by_source",
    attempts="attempts",
    refused="refused",
)


def decode_entries(
    kind: int, at: Any, installation: int, source: int, text: str | None, *numbers: Any
) -> Iterator[MetricEntry]:
    """Yield the entries of a row of any of the three tables.

    text  JSON; the counts by installation (tally) or by source (settlement), or the latencies of
          metrics
    """
    at, sums = bulk.from_database_time(at), MetricCounts(*numbers)
    if kind == METRIC_ROW:
        sums.latency = _merge_latencies(
            msgspec.json.decode(f"[{text or ''}]", type=list[dict[int, int]])
        )
    yield at, installation, source, sums
    if kind == TALLY_ROW:
        for each, unwanted in msgspec.json.decode(text or "", type=dict[int, int]).items():
            yield at, each, source, MetricCounts(accepted=sums.accepted, unwanted=unwanted)
    if kind == SETTLEMENT_ROW:
        for each, part in msgspec.json.decode(text or "", type=dict[int, MetricCounts]).items():
            yield at, installation, each, part


def _merge_latencies(latencies: Sequence[dict[int, int]]) -> dict[int, int]:
    if len(latencies) == 1:
        return latencies[0]
    whole: dict[int, int] = {}
    for each in latencies:
        for number, count in each.items():
            whole[number] = whole.get(number, 0) + count
    return whole


def floor_to_step(moment: datetime, step: int) -> datetime:
    """Return the start of the step that contains a moment. Days are in UTC."""
    seconds = moment.timestamp()
    return datetime.fromtimestamp(seconds - seconds % step, UTC)


def ceil_to_step(moment: datetime, step: int) -> datetime:
    begun = floor_to_step(moment, step)
    return begun if begun == moment else begun + timedelta(seconds=step)
