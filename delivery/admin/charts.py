"""Turns metrics into the figures and charts of pages."""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from django.utils.html import format_html, format_html_join

from delivery.accounting.bounded_count import QUEUE_COUNT_LIMIT, format_bounded_count
from delivery.accounting.metrics import MetricPoint, MetricSeries
from delivery.accounting.queues import QueueSize
from delivery.models import Metric
from integrations.formatting import bar_path, duration
from integrations.humanize import format_duration

ChartStep = Metric.Step

# key → (title, length, step); the keys appear in URLs
CHART_SPANS = {
    "hour": ("Hour", timedelta(hours=1), ChartStep.MINUTE),
    "day": ("Day", timedelta(days=1), ChartStep.HOUR),
    "week": ("Week", timedelta(days=7), ChartStep.HOUR),
}

DELIVERY_DATASETS = {
    "Delivered": ("well", "delivered"),
    "Failed": ("attention", "failed"),
    "Filtered": ("off", "filtered"),
}
TRAFFIC_DATASETS = {
    **DELIVERY_DATASETS,
    "Accepted": ("busy", "accepted", "line"),
}


@dataclass(frozen=True, slots=True)
class Figure:
    """A key figure. `level` gives it the colour of a status."""

    label: str
    value: Any
    note: Any = ""
    level: str = ""


@dataclass(frozen=True, slots=True)
class ChartSpan:
    """The period that a page covers, as named in its URL."""

    key: str

    @property
    def length(self) -> timedelta:
        return CHART_SPANS[self.key][1]

    @property
    def step(self) -> ChartStep:
        return CHART_SPANS[self.key][2]

    @property
    def minutes(self) -> float:
        return self.length / timedelta(minutes=1)

    @property
    def choices(self) -> list[tuple[str, str, bool]]:
        return [
            (title, f"?span={key}", key == self.key) for key, (title, *_) in CHART_SPANS.items()
        ]


def chart_span_of_request(request: Any) -> ChartSpan:
    key = request.GET.get("span", "")
    return ChartSpan(key if key in CHART_SPANS else "hour")


def chart_json(series: MetricSeries, datasets: Mapping[str, tuple[str, ...]], now: datetime) -> str:
    """Return metrics as the JSON that penstock.js draws: bars with lines on top.

    The last step is incomplete while it lasts. Its bars are marked as such, and lines end before
    it, because they would seem to fall.

    datasets  label → (the level that gives its colour, the field of a point, "line" or nothing)
    """
    is_open = series.until > now
    drawn = [
        {
            "label": label,
            "level": level,
            "kind": own[0] if own else "bar",
            "values": _values(series.points, field, cut=is_open and bool(own)),
        }
        for label, (level, field, *own) in datasets.items()
    ]
    at = [each.at.isoformat() for each in series.points]
    return json.dumps({"at": at, "isOpen": is_open, "sets": drawn})


def _values(points: Sequence[MetricPoint], field: str, *, cut: bool) -> list[float | None]:
    values = [round(getattr(each, field) or 0, 1) for each in points]
    return [*values[:-1], None] if cut else values


TREND_LAYERS = (("well", "delivered"), ("attention", "failed"), ("off", "others"))


def trend_svg(bars: Sequence[Any]) -> str:
    """Return stacked bars as an SVG without axes, or "" if all of them are empty."""
    most = max((bar.delivered + bar.failed + bar.others for bar in bars), default=0)
    if not most:
        return ""
    paths = (
        (level, bar_path(_stacked_layer(bars, n, 100 / most), 0.8))
        for n, (level, _) in enumerate(TREND_LAYERS)
    )
    return format_html(
        '<svg class="log-bars" viewBox="0 0 {} 100" preserveAspectRatio="none" aria-hidden="true">'
        "{}</svg>",
        len(bars),
        format_html_join("", '<path class="ps-{}" d="{}"/>', paths),
    )


def _stacked_layer(
    bars: Sequence[Any], number: int, scale: float
) -> Iterator[tuple[int, float, float]]:
    """Yield one layer of each bar: its place, its start above the layers below, and its height."""
    for place, bar in enumerate(bars):
        heights = [getattr(bar, field) * scale for _, field in TREND_LAYERS[: number + 1]]
        yield place, 100 - sum(heights[:-1]), -heights[-1]


def traffic_figures(
    sums: MetricPoint, queue: QueueSize, span: ChartSpan, now: datetime
) -> list[Figure]:
    """Return the key figures of a period, and of the queue now."""
    failed = "attention" if sums.failed > sums.delivered / 100 else ""
    oldest = format_duration(queue.oldest_queued_s(now))
    return [
        Figure("Accepted", compact_number(sums.accepted), rate_per_minute(sums.accepted, span)),
        Figure("Delivered", compact_number(sums.delivered), rate_per_minute(sums.delivered, span)),
        Figure(
            "Success rate",
            success_rate(sums.delivered, sums.failed),
            f"{sums.failed:,} failed",
            failed,
        ),
        Figure(
            "Queued",
            format_bounded_count(min(queue.queued, QUEUE_COUNT_LIMIT + 1)),
            f"oldest {oldest}" if queue.queued else "queue is empty",
        ),
        Figure("Latency, p95", duration(sums.p95_ms), f"median {duration(sums.p50_ms)}"),
    ]


def describe_chart(sums: MetricPoint, span: ChartSpan) -> str:
    """Return what a chart shows, as text for screen readers."""
    return (
        f"{sums.accepted:,} accepted, {sums.delivered:,} delivered, {sums.failed:,} failed, "
        f"{sums.filtered:,} filtered "
        f"in the last {span.key}."
    )


def compact_number(number: float) -> str:
    """Return 950, 12.3k or 4.1M."""
    for limit, unit in ((1e6, "M"), (1e4, "k")):
        if number >= limit:
            size = 1e6 if unit == "M" else 1e3
            return f"{number / size:.1f}{unit}"
    return f"{number:,.0f}"


def rate_per_minute(count: int, span: ChartSpan) -> str:
    rate = count / span.minutes
    return f"{rate:,.1f} per minute" if rate < 100 else f"{rate:,.0f} per minute"


def success_rate(delivered: int, failed: int) -> str:
    """Return the share of settled deliveries that was delivered; never 100 % after a failure."""
    settled = delivered + failed
    if not settled:
        return "–"
    share = 100 * delivered / settled
    return f"{min(share, 99.99) if failed else share:.4g} %"
