"""What a person can do to deliveries and installations, from the admin and the API alike."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from django.db import transaction
from django.db.models import Q, QuerySet

from delivery import lanes
from delivery.models import Delivery, Lane
from integrations import audit, installing, revising
from integrations.models import Installation, Revision


@dataclass(frozen=True, slots=True)
class Requeued:
    """How many deliveries are queued again, and the installations that send nothing for now."""

    count: int
    paused: list[str]

    def in_words(self) -> str:
        deliveries = "1 delivery is" if self.count == 1 else f"{self.count:,} deliveries are"
        waiting = f" {', '.join(self.paused)} is paused: there they wait." if self.paused else ""
        return f"{deliveries} queued again.{waiting}"


def deliver_again(rows: QuerySet[Delivery], now: datetime) -> Requeued:
    """Queue settled deliveries again and ring for their lanes."""
    lane_ids = sorted(set(rows.order_by().values_list("lane", flat=True).distinct()))
    with transaction.atomic():
        first = list(rows.order_by()[:2])
        count = rows.order_by().deliver_again(now)
        if count:
            about = first[0] if len(first) == 1 else f"{count:,} deliveries"
            audit.record("delivery.queued_again", about, new={"count": count})
        transaction.on_commit(lambda: lanes.wake(lane_ids))
    return Requeued(count, _paused(lane_ids))


def _paused(lane_ids: list[int]) -> list[str]:
    standing_still = Q(paused=True) | Q(installation__enabled=False)
    names = Lane.objects.filter(standing_still, pk__in=lane_ids)
    return sorted(set(names.values_list("installation__name", flat=True)))


def pause(installation: Installation) -> None:
    """Stop sending to an installation; what comes in waits in its queue."""
    with transaction.atomic():
        Installation.objects.filter(pk=installation.pk).update(enabled=False)
        audit.record("installation.paused", installation)


def resume(installation: Installation) -> None:
    """Send to an installation again, at once, whatever held it up."""
    with transaction.atomic():
        Installation.objects.filter(pk=installation.pk).update(enabled=True)
        audit.record("installation.resumed", installation)
        _go_on(installation)


def reconfigure(
    installation: Installation, *, name: str, config: Mapping[str, Any], **pace: Any
) -> None:
    """Change an installation and let its lanes try anew with what was changed.

    pace  whether and how fast it delivers: enabled, lane_count, give_up_days

    Raises InvalidInstallation with every wrong field at once, and NameTaken.
    """
    installing.reconfigure(installation, name=name, config=config, **pace)
    _go_on(installation)


def save_revision(installation: Installation, blueprint: Any, **how: Any) -> Revision:
    """Save a blueprint, as `revising.save_revision`, and let the lanes go on with it."""
    revision = revising.save_revision(installation, blueprint, **how)
    _go_on(installation)
    return revision


def roll_back(installation: Installation, number: int, *, by: Any) -> Revision:
    """Go back to an old revision, as `revising.roll_back`, and let the lanes go on with it."""
    revision = revising.roll_back(installation, number, by=by)
    _go_on(installation)
    return revision


def _go_on(installation: Installation) -> None:
    rows = Lane.objects.filter(installation=installation)
    rows.resume()
    lane_ids = list(rows.values_list("pk", flat=True))
    transaction.on_commit(lambda: lanes.wake(lane_ids))
