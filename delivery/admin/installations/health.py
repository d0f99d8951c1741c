"""How an installation has been doing: what its overview says beside its state."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from delivery.accounting import metrics
from delivery.accounting.metrics import Point, Series
from delivery.admin.charts import SPANS, Span, short, success
from delivery.models import Attempt, Lane
from integrations.models import Installation

LATELY = 200  # requests, the newest
# title, and the newest points of which series: with the one that is not over
LENGTHS = (("1 h", "hour", 61), ("24 h", "week", 25), ("7 d", "week", 169))


@dataclass(frozen=True, slots=True)
class Share:
    """How much was delivered of what was settled in the time before now."""

    title: str
    delivered: int
    failed: int

    @property
    def success(self) -> str:
        return success(self.delivered, self.failed)


@dataclass(frozen=True, slots=True)
class Health:
    """shares: by length of time; answers: how long the vendor took; standing: (how, since when)"""

    shares: Sequence[Share]
    answers: str
    standing: tuple[str, datetime]


def series_of(installation: Installation, span: Span, now: datetime) -> dict[str, Series]:
    """Return what happened in the time that is shown, and in those that `health` tells of."""
    return {
        key: metrics.series(since=now - length, until=now, step=step, installation=installation.pk)
        for key, (_, length, step) in SPANS.items()
        if key in (span.key, "hour", "week")
    }


def health(installation: Installation, found: dict[str, Series]) -> Health:
    """Return how an installation from with_state() has been doing, by what series_of() gave."""
    shares = [_share(title, found[key].points[-count:]) for title, key, count in LENGTHS]
    return Health(shares, answers(installation), standing(installation))


def _share(title: str, points: Sequence[Point]) -> Share:
    return Share(title, sum(each.delivered for each in points), sum(each.failed for each in points))


def standing(installation: Installation) -> tuple[str, datetime]:
    """Return whether it sends, and since when that is so."""
    lanes: list[Lane] = list(installation.lanes.all())
    if not installation.enabled and installation.paused_at:
        return "Paused since", installation.paused_at
    troubled = [each.changed_at for each in lanes if each.paused or each.failures]
    if troubled:
        return "In trouble since", min(troubled)
    changes = [each.changed_at for each in lanes]
    return "Without trouble since", max(changes, default=installation.created_at)


def answers(installation: Installation) -> str:
    """Return how long the vendor took for its newest answers, or "" when it gave none."""
    newest = Attempt.objects.newest_of(installation)
    rows = newest.values_list("duration_ms", "status", "is_test")
    times = sorted(ms for ms, status, is_test in rows[:LATELY] if status and not is_test)
    if not times:
        return ""
    p50, p95 = (times[math.ceil(len(times) * share) - 1] for share in (0.5, 0.95))
    return f"p50 {short(p50)}, p95 {short(p95)}"
