"""Estimates what a replay would queue, before it starts."""

import time
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from django.db.models import Count, Max, Min

from delivery.models import Delivery, Event, Replay
from delivery.replay import chunk as replay_chunk
from delivery.replay.pace import pace
from delivery.replay.selection import Kind, Range, Wanted, range_of
from integrations.models import Installation

LOOK = 2.0  # seconds that a preview may count


@dataclass(frozen=True, slots=True)
class Preview:
    """How many match; when it is not exact there are more.

    oldest_at, newest_at   when their events came in, as far as was counted; None without any
    seconds                how long it takes at the pace that is kept; None when nothing limits it
    unshaped               how many more are left out: they were never shaped, so that there is
                           nothing to send as before
    """

    count: int
    exact: bool
    oldest_at: datetime | None = None
    newest_at: datetime | None = None
    seconds: float | None = None
    unshaped: int = 0

    def in_words(self) -> str:
        return f"{self.count:,}" if self.exact else f"{self.count:,}+"


def preview(
    kind: str, installation: Installation, wanted: Wanted, *, rate: float | None = None
) -> Preview:
    """Count what a replay would queue, as far as that goes in LOOK seconds."""
    until, count, unshaped, exact = time.monotonic() + LOOK, 0, 0, True
    span, ids = range_of(kind, installation.pk, wanted), []
    others = span.unshaped()
    for after, end in span.windows():
        if time.monotonic() > until:
            exact = False
            break
        found, first, last = _count(span, after, end, installation.revision_id)
        count += found
        if others:
            unshaped += others.within(after, end).filter(revision=None).order_by().count()
        ids += [pk for pk in (first, last) if pk is not None]
    oldest_at, newest_at = _times(kind, ids)
    pace_kept = pace(Replay(installation=installation, rate=rate))
    seconds = count / pace_kept if pace_kept else None
    return Preview(count, exact, oldest_at, newest_at, seconds, unshaped)


def _count(
    span: Range, after: int, end: int, revision_id: int | None
) -> tuple[int, int | None, int | None]:
    """Return how many match in a window, and the first and the last id of these."""
    if span.kind == Kind.REPLAY:
        rows = span.within(after, end).order_by()
        found = rows.aggregate(count=Count("pk"), first=Min("pk"), last=Max("pk"))
        return found["count"], found["first"], found["last"]
    judged = replay_chunk.judged(span, after, end, revision_id)
    wanted = [pk for pk, wants in judged if wants]
    return len(wanted), min(wanted, default=None), max(wanted, default=None)


def _times(kind: str, ids: Sequence[int]) -> tuple[datetime | None, datetime | None]:
    """Return when the events of the first and the last of these deliveries or events came in."""
    if not ids:
        return None, None
    ends = min(ids), max(ids)
    if kind == Kind.BACKFILL:
        at = dict(Event.objects.filter(pk__in=ends).values_list("pk", "received_at"))
    else:
        rows = Delivery.objects.filter(pk__in=ends)
        at = dict(rows.values_list("pk", "event__received_at"))
    return at.get(ends[0]), at.get(ends[1])
