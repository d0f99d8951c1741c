"""Requeues and cancels deliveries."""

from collections import Counter
from dataclasses import dataclass
from datetime import datetime

from django.db import transaction
from django.db.models import Exists, OuterRef, Q, QuerySet

from delivery.accounting import record
from delivery.lanes import routes, wakeups
from delivery.models import Delivery, Lane
from delivery.replay.selection import CURRENT_BLUEPRINT, LAST_BLUEPRINT
from integrations.access import audit
from integrations.humanize import format_count
from integrations.models import Installation

CANCEL_BATCH_SIZE = 2_000  # deliveries per transaction, so that locks are short


@dataclass(frozen=True, slots=True)
class RequeueResult:
    """The result of queueing deliveries again.

    count     deliveries that are queued again
    paused_installations       installations whose deliveries wait until they are resumed
    uninstalled_installations  installations whose deliveries were skipped
    unshaped  deliveries that were skipped because no blueprint has shaped them yet
    """

    count: int
    paused_installations: list[str]
    uninstalled_installations: list[str]
    unshaped: int = 0

    def describe(self) -> str:
        deliveries = format_count(self.count, "delivery is", "deliveries are")
        waiting = (
            f" {', '.join(self.paused_installations)} is paused, so they wait until it is resumed."
            if self.paused_installations
            else ""
        )
        gone = (
            f" Skipped deliveries to {', '.join(self.uninstalled_installations)}."
            if self.uninstalled_installations
            else ""
        )
        never = f" Skipped {self.unshaped:,} that no blueprint has shaped yet."
        return f"{deliveries} queued again.{waiting}{gone}{never if self.unshaped else ''}"


def deliver_again(
    rows: QuerySet[Delivery], now: datetime, *, blueprint: str = CURRENT_BLUEPRINT
) -> RequeueResult:
    """Queue settled deliveries again and wake their lanes; skip uninstalled installations.

    blueprint  CURRENT_BLUEPRINT, or LAST_BLUEPRINT for the revision that last shaped each
    """
    gone = rows.order_by().exclude(installation__uninstalled_at=None)
    names = sorted(set(gone.values_list("installation__name", flat=True)))
    rows, unshaped = rows.filter(installation__uninstalled_at=None), 0
    if blueprint == LAST_BLUEPRINT:
        unshaped = rows.filter(revision=None).exclude(state=Delivery.State.QUEUED).count()
        rows = rows.filter(revision__isnull=False)
    with transaction.atomic():
        first = list(rows.order_by()[:2])
        _change_lanes(rows.order_by().exclude(state=Delivery.State.QUEUED), blueprint)
        lane_ids = sorted(set(rows.order_by().values_list("lane", flat=True).distinct()))
        count = rows.order_by().deliver_again(now, Delivery.Trigger.HAND)
        if count:
            about = first[0] if len(first) == 1 else f"{count:,} deliveries"
            new = {"count": count, "blueprint": blueprint}
            audit.record("delivery.queued_again", about, new=new)
        transaction.on_commit(lambda: wakeups.wake_lanes(lane_ids))
    return RequeueResult(count, _paused_installations(lane_ids), names, unshaped)


def _change_lanes(settled: QuerySet[Delivery], blueprint: str) -> None:
    """Move deliveries into the lane that uses their last revision, or out of that lane."""
    number = (
        routes.ORIGINAL_REVISION_LANE_NUMBER
        if blueprint == LAST_BLUEPRINT
        else routes.REPLAY_LANE_NUMBER
    )
    away = (
        settled
        if blueprint == LAST_BLUEPRINT
        else settled.filter(lane__number=routes.ORIGINAL_REVISION_LANE_NUMBER)
    )
    for installation in set(away.values_list("installation", flat=True)):
        lane = routes.get_replay_lane(installation, number)
        away.filter(installation=installation).update(lane=lane)


def cancel_deliveries(
    rows: QuerySet[Delivery], reason: str, now: datetime, *, search: str = ""
) -> int:
    """Cancel queued deliveries and return how many. A request in progress is still sent.

    rows    no more than fit into one transaction
    search  the search that selected them, if they were not selected one by one
    """
    with transaction.atomic():
        queued = rows.order_by("pk").filter(state=Delivery.State.QUEUED)
        locked = queued.select_for_update(of=("self",))  # a delivery settled before stays settled
        found = list(locked.values_list("pk", "installation", "event__source"))
        if not found:
            return 0
        gone = Delivery.objects.filter(pk__in=[pk for pk, *_ in found]).update(
            state=Delivery.State.CANCELLED, settled_at=now, reason=reason
        )
        for installation, sums in _sum_cancelled(found).items():
            record.append_settlement(installation, sums, now)
        about = rows.first() if len(found) == 1 else f"{gone:,} deliveries"
        new = {"count": gone, "reason": reason, "search": search}
        audit.record("delivery.cancelled", about, new=new)
    return gone


def _sum_cancelled(
    found: list[tuple[int, int, int]],
) -> dict[int, dict[int, record.MetricCounts]]:
    """Count cancelled (delivery, installation, source) rows by installation and source."""
    sums: dict[int, dict[int, record.MetricCounts]] = {}
    for (installation, source), count in Counter(each[1:] for each in found).items():
        sums.setdefault(installation, {})[source] = record.MetricCounts(cancelled=count)
    return sums


def _paused_installations(lane_ids: list[int]) -> list[str]:
    standing_still = Q(paused=True) | Q(installation__enabled=False)
    names = Lane.objects.filter(standing_still, pk__in=lane_ids)
    return sorted(set(names.values_list("installation__name", flat=True)))


def cancel_orphans(now: datetime) -> int:
    """Cancel deliveries that were queued while their installation was being uninstalled."""
    gone = Installation.objects.filter(uninstalled_at__isnull=False).values("pk")
    queued = Delivery.objects.filter(lane=OuterRef("pk"), state=Delivery.State.QUEUED)
    lanes_left = Lane.objects.filter(Exists(queued), installation__in=gone)
    left = set(lanes_left.values_list("installation", flat=True))
    return sum(cancel_queued(pk, "The installation was uninstalled.", now) for pk in left)


def cancel_queued(installation_id: int, reason: str, now: datetime) -> int:
    """Cancel all queued deliveries of an installation in small batches; return how many."""
    lane_ids = list(Lane.objects.filter(installation=installation_id).values_list("pk", flat=True))
    return sum(_cancel_queue(installation_id, lane, reason, now) for lane in lane_ids)


def _cancel_queue(installation_id: int, lane_id: int, reason: str, now: datetime) -> int:
    queued = Delivery.objects.filter(lane=lane_id, state=Delivery.State.QUEUED).order_by("pk")
    total = 0
    while True:
        with transaction.atomic():
            rows = queued.select_for_update(of=("self",))
            batch = dict(rows.values_list("pk", "event__source")[:CANCEL_BATCH_SIZE])
            if not batch:
                return total
            Delivery.objects.filter(pk__in=list(batch)).update(
                state=Delivery.State.CANCELLED, settled_at=now, reason=reason
            )
            counts = Counter(batch.values())
            changed = {
                source: record.MetricCounts(cancelled=count) for source, count in counts.items()
            }
            record.append_settlement(installation_id, changed, now)
        total += len(batch)
