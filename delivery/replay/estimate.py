"""Estimates how much a replay would queue, before it starts."""

import time
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from django.db.models import Count, Max, Min

from delivery.models import Delivery, Event, Replay
from delivery.replay import chunk as replay_chunk
from delivery.replay.pace import replay_rate_limit
from delivery.replay.selection import ReplayKind, ReplayRange, ReplaySelection, build_replay_range
from integrations.models import Installation

ESTIMATE_BUDGET = 2.0  # seconds that a preview may count


@dataclass(frozen=True, slots=True)
class ReplayEstimate:
    """How many deliveries or events match; at least that many when not exact.

    oldest_at, newest_at   when the counted events were received; None without any
    seconds                the duration at the allowed rate; None without a limit
    unshaped               how many more are left out because they were never shaped, so that
                           there is no earlier revision to use
    """

    count: int
    exact: bool
    oldest_at: datetime | None = None
    newest_at: datetime | None = None
    seconds: float | None = None
    unshaped: int = 0

    def format_count(self) -> str:
        return f"{self.count:,}" if self.exact else f"{self.count:,}+"


def estimate_replay(
    kind: str, installation: Installation, wanted: ReplaySelection, *, rate: float | None = None
) -> ReplayEstimate:
    """Count what a replay would queue, within ESTIMATE_BUDGET seconds."""
    until, count, unshaped, exact = time.monotonic() + ESTIMATE_BUDGET, 0, 0, True
    span, ids = build_replay_range(kind, installation.pk, wanted), []
    others = span.unshaped()
    for after, end in span.windows():
        if time.monotonic() > until:
            exact = False
            break
        found, first, last = _count_window(span, after, end, installation.revision_id)
        count += found
        if others:
            unshaped += others.within(after, end).filter(revision=None).order_by().count()
        ids += [pk for pk in (first, last) if pk is not None]
    oldest_at, newest_at = _received_range(kind, ids)
    pace_kept = replay_rate_limit(Replay(installation=installation, rate=rate))
    seconds = count / pace_kept if pace_kept else None
    return ReplayEstimate(count, exact, oldest_at, newest_at, seconds, unshaped)


def _count_window(
    span: ReplayRange, after: int, end: int, revision_id: int | None
) -> tuple[int, int | None, int | None]:
    """Return the number of matches in a window, with the first and last id."""
    if span.kind == ReplayKind.REPLAY:
        rows = span.within(after, end).order_by()
        found = rows.aggregate(count=Count("pk"), first=Min("pk"), last=Max("pk"))
        return found["count"], found["first"], found["last"]
    matches = replay_chunk.match_events(span, after, end, revision_id)
    wanted = [pk for pk, wants in matches if wants]
    return len(wanted), min(wanted, default=None), max(wanted, default=None)


def _received_range(kind: str, ids: Sequence[int]) -> tuple[datetime | None, datetime | None]:
    """Return when the events with the lowest and highest of these ids were received."""
    if not ids:
        return None, None
    ends = min(ids), max(ids)
    if kind == ReplayKind.BACKFILL:
        at = dict(Event.objects.filter(pk__in=ends).values_list("pk", "received_at"))
    else:
        rows = Delivery.objects.filter(pk__in=ends)
        at = dict(rows.values_list("pk", "event__received_at"))
    return at.get(ends[0]), at.get(ends[1])
