"""The health of an installation, as shown on its overview: success, response times, uptime."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from delivery.accounting import metrics
from delivery.accounting.metrics import MetricPoint, MetricSeries
from delivery.admin.charts import CHART_SPANS, ChartSpan, success_rate
from delivery.models import Attempt, Lane
from integrations.formatting import duration
from integrations.models import Installation

LATENCY_SAMPLE_ATTEMPTS = 200  # newest requests
# title, series, and how many of its newest points, including the incomplete one
HEALTH_PERIODS = (("1 h", "hour", 61), ("24 h", "week", 25), ("7 d", "week", 169))


@dataclass(frozen=True, slots=True)
class PeriodSuccess:
    """The success rate of the deliveries settled in a period that ends now."""

    title: str
    delivered: int
    failed: int

    @property
    def success(self) -> str:
        return success_rate(self.delivered, self.failed)


@dataclass(frozen=True, slots=True)
class InstallationHealth:
    """Success by period, the vendor's response times, and since when the state has lasted."""

    periods: Sequence[PeriodSuccess]
    response_times: str
    state_since: tuple[str, datetime]


def health_series(
    installation: Installation, span: ChartSpan, now: datetime
) -> dict[str, MetricSeries]:
    """Return the series of the shown period, and those that `installation_health` needs."""
    return {
        key: metrics.read_series(
            since=now - length, until=now, step=step, installation=installation.pk
        )
        for key, (_, length, step) in CHART_SPANS.items()
        if key in (span.key, "hour", "week")
    }


def installation_health(
    installation: Installation, found: dict[str, MetricSeries]
) -> InstallationHealth:
    """Return the health of an installation from with_state(), given its health_series()."""
    periods = [
        _period_success(title, found[key].points[-count:]) for title, key, count in HEALTH_PERIODS
    ]
    return InstallationHealth(periods, response_times(installation), state_since(installation))


def _period_success(title: str, points: Sequence[MetricPoint]) -> PeriodSuccess:
    return PeriodSuccess(
        title, sum(each.delivered for each in points), sum(each.failed for each in points)
    )


def state_since(installation: Installation) -> tuple[str, datetime]:
    """Return a label for the current state, and since when it has lasted."""
    lanes: list[Lane] = list(installation.lanes.all())
    if not installation.enabled and installation.paused_at:
        return "Paused since", installation.paused_at
    troubled = [each.changed_at for each in lanes if each.paused or each.failures]
    if troubled:
        return "Failing since", min(troubled)
    changes = [each.changed_at for each in lanes]
    return "Healthy since", max(changes, default=installation.created_at)


def response_times(installation: Installation) -> str:
    """Return the vendor's response times in its newest responses, or "" without any."""
    newest = Attempt.objects.newest_of(installation)
    rows = newest.values_list("duration_ms", "status", "is_test")
    times = sorted(
        ms for ms, status, is_test in rows[:LATENCY_SAMPLE_ATTEMPTS] if status and not is_test
    )
    if not times:
        return ""
    p50, p95 = (times[math.ceil(len(times) * share) - 1] for share in (0.5, 0.95))
    return f"p50 {duration(p50)}, p95 {duration(p95)}"
