"""Retention: purges old rows in small batches and keeps their counts in the ledger.

Queued deliveries are never purged. Each batch is a transaction of its own, so that no lock lasts.
Batches go by key, oldest first, so that nothing is scanned. While the system is busy, the purge
pauses between them.
"""

import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta

from django.conf import settings
from django.db import transaction
from django.db.models import Exists, Max, Model, OuterRef, QuerySet
from django.utils import timezone

from delivery.accounting.ledger import PAST_DELIVERIES, PAST_EVENTS, add_to_totals
from delivery.models import (
    Attempt,
    AttemptBody,
    Carried,
    Delivery,
    Event,
    EventBody,
    Rejection,
    Replayed,
    Resolution,
    Settlement,
    Tally,
)
from delivery.worker.lane_threads import yielding_worker
from delivery.worker.stop import is_stopping
from integrations.keyset import first_id
from integrations.models import AuditEntry

PURGE_BATCH_ROWS = 2_000  # rows
PURGE_BUDGET = 20.0  # seconds that a purge may take, pauses included; the next sweep continues
REST_FACTOR, MAX_REST_SECONDS = (
    3.0,
    1.0,
)  # pause while the system is busy: a multiple of the time a batch took, and its limit in seconds
BUSY_PERIOD = timedelta(seconds=2)  # busy for this long after an event arrived or was settled


@dataclass(frozen=True, slots=True)
class PurgeBatch:
    """Old rows with ids above `after`, up to and including `last`."""

    rows: QuerySet
    after: int
    last: int

    def related_rows(self, model: type[Model], column: str) -> QuerySet:
        """Return the rows of another table whose column is in the batch's range of ids."""
        among = {f"{column}__gt": self.after, f"{column}__lte": self.last}
        return model._default_manager.filter(**among)


@dataclass(frozen=True, slots=True)
class PurgeStep:
    """The purge of one kind of row.

    days_setting  the setting that says how long it is kept, in days
    old_rows      returns the rows that are older than a moment
    purge         deletes a batch of rows with everything related; returns the number of rows
    """

    name: str
    days_setting: str
    old_rows: Callable[[datetime], QuerySet]
    purge: Callable[[PurgeBatch], int]


def purge_old_rows(now: datetime, *, budget: float = PURGE_BUDGET) -> Counter[str]:
    """Delete rows past their retention; return the number of deleted rows by kind."""
    until = time.monotonic() + budget
    purged: Counter[str] = Counter()
    for step in PURGE_STEPS:
        rows = step.old_rows(now - timedelta(days=getattr(settings, step.days_setting)))
        after = 0  # Continue after the last batch: its dead index entries would be read again.
        while time.monotonic() < until and not is_stopping():
            began = time.monotonic()
            batch = _next_batch(rows, after)
            if batch is None:
                break
            with transaction.atomic():
                purged[step.name] += step.purge(batch)
            after = batch.last
            _rest_if_busy(time.monotonic() - began)
    return purged


def _next_batch(rows: QuerySet, after: int) -> PurgeBatch | None:
    left = rows.filter(pk__gt=after)
    last = left.order_by("pk").values("pk")[:PURGE_BATCH_ROWS].aggregate(last=Max("pk"))["last"]
    return None if last is None else PurgeBatch(left.filter(pk__lte=last), after, last)


def _rest_if_busy(seconds: float) -> None:
    """After a batch that took that many seconds, pause if the system is busy."""
    if _is_system_busy(timezone.now()):
        with yielding_worker(at_once=True):
            time.sleep(min(REST_FACTOR * seconds, MAX_REST_SECONDS))


def _is_system_busy(now: datetime) -> bool:
    for model in (Tally, Settlement):
        newest = model._default_manager.order_by("-pk").values_list("at", flat=True).first()
        if newest and now - newest < BUSY_PERIOD:
            return True
    return False


# --- old rows ------------------------------------------------------------------------------------


def _older_than(model: type[Model], moment: str) -> Callable[[datetime], QuerySet]:
    """Return a function that returns the rows with ids below the first one since a moment."""
    return lambda before: model._default_manager.filter(pk__lt=first_id(model, moment, before))


def _old_bodies(before: datetime) -> QuerySet:
    return AttemptBody.objects.filter(pk__lt=first_id(Attempt, "started_at", before))


def _old_deliveries(before: datetime) -> QuerySet:
    end = first_id(Delivery, "event__received_at", before)
    return Delivery.objects.filter(pk__lt=end, settled_at__lt=before)


def _old_events(before: datetime) -> QuerySet:
    """Return old events without deliveries, because a delivery's page needs its event."""
    needed = Exists(Delivery.objects.filter(event=OuterRef("pk")))
    return Event.objects.filter(~needed, pk__lt=first_id(Event, "received_at", before))


# --- deletion ------------------------------------------------------------------------------------


def _delete(rows: QuerySet) -> int:
    # Related rows are deleted here by range; Django would cascade row by row.
    return rows._raw_delete("default")


def _purge_rows(batch: PurgeBatch) -> int:
    return _delete(batch.rows)


def _purge_attempts(batch: PurgeBatch) -> int:
    for model in (Carried, AttemptBody):
        _delete(batch.related_rows(model, "attempt"))
    return _delete(batch.rows)


def _purge_deliveries(batch: PurgeBatch) -> int:
    # Locked, so that a concurrent "deliver again" finds a delivery gone rather than queueing it
    # just before it is deleted.
    settled = batch.rows.select_for_update().order_by("pk").values_list("installation", "state")
    add_to_totals(Counter(f"{PAST_DELIVERIES}{where} {state}" for where, state in settled))
    for model in (Carried, Replayed, Resolution):
        _delete(batch.related_rows(model, "delivery").filter(delivery__in=batch.rows.values("pk")))
    return _delete(batch.rows)


def _purge_events(batch: PurgeBatch) -> int:
    # Locked, then checked again, because a backfill may have made a delivery of one by now.
    ids = batch.rows.select_for_update().order_by("pk").values_list("pk", flat=True)
    gone = _delete(batch.rows.filter(pk__in=list(ids)))
    left = Exists(Event.objects.filter(pk=OuterRef("event")))
    _delete(batch.related_rows(EventBody, "event").filter(~left))
    add_to_totals(Counter({PAST_EVENTS: gone}))
    return gone


PURGE_STEPS = (
    PurgeStep("attempt bodies", "KEEP_ATTEMPT_BODIES_DAYS", _old_bodies, _purge_rows),
    PurgeStep(
        "attempts", "KEEP_ATTEMPTS_DAYS", _older_than(Attempt, "started_at"), _purge_attempts
    ),
    PurgeStep("deliveries", "KEEP_DELIVERIES_DAYS", _old_deliveries, _purge_deliveries),
    PurgeStep("events", "KEEP_EVENTS_DAYS", _old_events, _purge_events),
    PurgeStep("rejections", "KEEP_EVENTS_DAYS", _older_than(Rejection, "received_at"), _purge_rows),
    PurgeStep("audit entries", "KEEP_AUDIT_DAYS", _older_than(AuditEntry, "at"), _purge_rows),
)
