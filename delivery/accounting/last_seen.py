"""Finds the time of each source's last event."""

from datetime import datetime

from django.db.models import OuterRef, QuerySet, Subquery

from delivery.models import Metric, Tally
from integrations.models import Source


def with_last_seen(sources: QuerySet[Source]) -> QuerySet[Source]:
    """Annotate sources with the columns of last_seen_at(), which come from small tables only."""
    minutes, days = (
        Metric.objects.filter(step=step, source=OuterRef("pk"), installation=0, accepted__gt=0)
        .order_by("-at")
        .values("at")[:1]
        for step in (Metric.Step.MINUTE, Metric.Step.DAY)
    )
    tallies = Tally.objects.filter(source=OuterRef("pk")).order_by("-pk").values("at")[:1]
    return sources.annotate(
        seen_in_tally=Subquery(tallies),
        seen_in_minute=Subquery(minutes),
        seen_on_day=Subquery(days),
    )


def last_seen_at(source: Source) -> datetime | None:
    """Return when the newest event was received, to the minute; after two days, to the day."""
    return source.seen_in_tally or source.seen_in_minute or source.seen_on_day
